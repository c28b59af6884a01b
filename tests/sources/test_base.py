from __future__ import annotations

import io
import json
import sqlite3
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idiolect import sources
from idiolect.errors import ConfigError, InputError, SourceError, UnknownName
from idiolect.registry import Registry, source
from idiolect.registry import sources as registry
from idiolect.sources import archive, base


def test_every_format_is_registered_with_what_it_reads():
    assert registry.names() == [
        "chatgpt", "claude", "csv", "folder", "jsonl", "lamp", "langgraph", "locomo", "mail", "mem0", "memobase",
    ]  # fmt: skip
    for entry in registry:
        assert entry.summary
        assert entry.info["files"]
        assert entry.make() == sources.make_source(entry.name)


def test_a_format_must_be_a_frozen_dataclass():
    with pytest.raises(ConfigError, match="frozen dataclass"):
        source("open", files="")(Registry)


def test_wrong_names_and_settings_have_near_misses():
    with pytest.raises(UnknownName, match="Did you mean 'chatgpt'"):
        sources.make_source("chatgtp")
    with pytest.raises(ConfigError, match="Did you mean 'address'"):
        sources.make_source("mail", {"adress": "a@b.c"})


def test_nothing_there_and_nothing_known(tmp_path):
    with pytest.raises(SourceError, match="there is no file"):
        sources.detect(tmp_path / "absent")
    (tmp_path / "a.bin").write_bytes(b"\x00\x01")
    with pytest.raises(SourceError, match=r"--format(.|\n)*chatgpt"):
        sources.detect(tmp_path / "a.bin")
    with pytest.raises(SourceError):
        sources.detect(tmp_path)


@pytest.mark.parametrize("name", ["chatgpt", "claude", "mail", "folder"])
def test_exports_of_one_person_need_the_user(tmp_path, name):
    (tmp_path / "a.md").write_text("x")
    with pytest.raises(InputError, match="pass --user"):
        next(sources.read(tmp_path, format=name))


VALUES = st.recursive(
    st.text(max_size=8) | st.integers() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(VALUES), st.integers(1, 9), st.booleans())
def test_split_gives_back_what_is_in_a_list(values, chunk, spaced):
    values = [value if isinstance(value, list | dict) else {"a": value} for value in values]
    stream = io.BytesIO(b"\xef\xbb\xbf" * spaced + json.dumps(values, indent=2 if spaced else None).encode())
    found = list(archive.split(lambda _: stream.read(chunk)))
    assert [json.loads(raw) for _, raw in found] == values
    whole = stream.getvalue()
    assert all(whole[offset : offset + len(raw)] == raw for offset, raw in found)


def test_split_shows_what_is_wrong_in_a_list():
    def pieces(text):
        stream = io.BytesIO(text)
        return [raw for _, raw in archive.split(stream.read)]

    assert pieces(b'[1, {"a": "]"}, "x", [2]]') == [b"1", b'{"a": "]"}', b'"x"', b"[2]"]
    assert pieces(b'[{"a": 1}, {"b": ') == [b'{"a": 1}', b'{"b": ']
    assert pieces(b'[{"a": 1}') == [b'{"a": 1}', b""]
    assert pieces(b'{"a": 1}\n{"b": 2}') == [b'{"a": 1}', b'{"b": 2}']
    assert pieces(b"hello") == [b"hello"]
    assert pieces(b"") == pieces(b"[]") == []


@pytest.mark.parametrize("tail", [b"", b'\\"', b"\\\\"])
def test_an_item_that_is_too_large_is_passed_in_little_memory(monkeypatch, tail):
    monkeypatch.setattr(archive, "MAX_ITEM", 1000)
    big = b'{"a": "' + (b'x\\"[' * 3 + b"\\\\") * 2000 + tail + b'", "b": [{}]}'
    stream = io.BytesIO(b'[{"n": 1}, ' + big + b', {"n": 2}]')
    cutter = archive._Cutter()
    found, held = [], 0
    while chunk := stream.read(97):
        found += cutter.feed(chunk)
        held = max(held, cutter.held)
    assert [raw for _, raw in [*found, *cutter.end()]] == [b'{"n": 1}', None, b'{"n": 2}']
    assert held < 3000


def test_a_bomb_and_a_locked_zip_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "MAX_DOCUMENT", 1 << 20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("conversations.json", '[{"mapping": {}}' + " " * (8 << 20) + "]")
    with pytest.raises(SourceError, match="unpacks to more than"):
        list(sources.read(path, "anna", format="chatgpt"))
    raw = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        raw[raw.index(mark) + place] |= 1
    path.write_bytes(raw)
    with pytest.raises(SourceError, match="password"):
        list(sources.read(path, "anna", format="chatgpt"))


def test_a_damaged_zip_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("conversations.json", '[{"mapping": {}, "title": "aaaaaaaaaaaa"}]')
    path.write_bytes(path.read_bytes().replace(b"aaaa", b"bbbb", 1))
    with pytest.raises(SourceError, match="damaged"):
        list(sources.read(path, "anna", format="chatgpt"))


def test_names_inside_a_zip_reach_nothing_outside(tmp_path):
    path = tmp_path / "in" / "a.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("../../conversations.json", "[]")
    before = sorted(tmp_path.rglob("*"))
    list(sources.read(path, "anna", format="chatgpt"))
    assert sorted(tmp_path.rglob("*")) == before


def test_seconds():
    assert (
        base.seconds("2023-05-08T13:56:00Z") == base.seconds(1683554160) == base.seconds("1683554160000") == 1683554160
    )
    assert base.seconds("2023-05-08 13:56:00") == 1683554160
    assert base.seconds("2023-05-08") == 1683504000
    assert [base.seconds(value) for value in ("", "soon", None, True, float("nan"), "inf")] == [None] * 6


def test_a_database_is_never_written(tmp_path):
    path = tmp_path / "a?b#.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("CREATE VIEW v AS SELECT 1 AS a")
    connection.close()
    with base.database(path) as opened:
        assert base.columns(opened, "t") == {"a"}
        assert base.columns(opened, "v") == set()
    with pytest.raises(SourceError, match="SQLite"), base.database(path) as opened:
        opened.execute("INSERT INTO t VALUES (1)")
    path.write_bytes(path.read_bytes()[:100])
    assert base.table_columns(path, "t") == set()
