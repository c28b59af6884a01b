from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idiolect import sources
from idiolect.sources.base import MAX_RECORD
from idiolect.sources.jsonl import parse_record, to_line
from idiolect.types import KINDS, Record

TEXT = st.text(st.characters(codec="utf-8"))
NUMBER = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.builds(
    lambda user, output, **rest: Record.new(user, output, **rest),
    TEXT.filter(bool),
    TEXT,
    time=st.floats(-1e11, 1e11),
    kind=st.sampled_from(KINDS),
    input=TEXT,
    source=TEXT,
    meta=st.dictionaries(TEXT, JSON, max_size=3),
    key=TEXT,
)


@settings(max_examples=300, deadline=None)
@given(RECORDS)
def test_a_record_survives_the_line(record):
    line = to_line(record)
    assert line.count(b"\n") == 1
    assert parse_record(json.loads(line), None, 0.0) == record


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(RECORDS, max_size=5))
def test_a_file_survives_export_and_import(tmp_path, records):
    for name, opener in (("a.jsonl", open), ("a.jsonl.gz", gzip.open)):
        path = tmp_path / name
        with opener(path, "wb") as file:
            file.writelines(map(to_line, records))
        assert list(sources.read(path, format="jsonl")) == records


def test_surrogates_become_replacement_characters(tmp_path):
    record = Record.new("anna", "half \ud83d emoji, whole \U0001f600", time=1.0, input="\udfff")
    (tmp_path / "a.jsonl").write_bytes(
        to_line(record) + b'{"user_id":"anna","output":"a\\ud83d b\\\\ud83d c\\ud83d\\ude00","time":2}\n'
    )
    first, second = sources.read(tmp_path / "a.jsonl")
    assert (first.output, first.input, first.id) == ("half \ufffd emoji, whole \U0001f600", "\ufffd", record.id)
    assert second.output == "a\ufffd b\\ud83d c\U0001f600"


def test_fields_and_defaults(tmp_path, read):
    rows = [
        {"user_id": "anna", "output": "plain"},
        {"user_id": "anna", "output": "x", "time": "2024-05-08T13:56:00+02:00", "kind": "dialogue", "input": "hi"},
        {"user_id": "anna", "output": "x", "time": 5, "colour": "red", "meta": {"session": "s"}, "id": "mine-1"},
    ]
    (tmp_path / "a.jsonl").write_text("\ufeff" + "\n\n".join(map(json.dumps, rows)))
    records, skipped = read(tmp_path / "a.jsonl", expect="jsonl")
    assert not skipped
    assert [record.time for record in records] == [0.0, 1715169360.0, 5.0]
    assert records[0].source == "jsonl"
    assert records[0].kind == "content"
    assert records[0] == Record.new("anna", "plain", time=0.0, source="jsonl")
    assert records[2].id == "mine-1"
    assert records[2].meta == {"session": "s", "colour": "red"}
    assert {record.user_id for record in read(tmp_path / "a.jsonl", "ben")[0]} == {"ben"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"user_id":"a","output":"\xff"}', "not UTF-8: byte 0xff at offset 51"),
        (b'{"user_id":"a","output":', "not JSON"),
        (b"[1]", "a record is a JSON object, not list"),
        (b'{"user_id":"a"}', "no output"),
        (b'{"user_id":"a","output":5}', "output must be text, got 5"),
        (b'{"user_id":"a","output":"x","input":null}', "input must be text, got None"),
        (b'{"output":"x"}', "no user_id"),
        (b'{"user_id":"a","output":"x","kind":"song"}', "unknown kind 'song'"),
        (b'{"user_id":"a","output":"x","time":1715169360000}', "milliseconds?"),
        (b'{"user_id":"a","output":"x","time":"soon"}', "neither a number of seconds nor ISO 8601"),
        (b'{"user_id":"a","output":"x","time":true}', "time must be a number"),
        (b'{"user_id":"a","output":"x","meta":[]}', "meta must be a JSON object"),
        (b'{"user_id":"a","output":"x","id":""}', "id must be text"),
    ],
)
def test_a_bad_line_is_skipped_with_its_number_and_reason(tmp_path, line, reason):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"user_id":"a","output":"1"}\n' + line + b'\n{"user_id":"a","output":"3"}\n')
    first, bad, last = sources.read(path)
    assert (first.output, last.output) == ("1", "3")
    assert (bad.file, bad.line) == ("a.jsonl", 2)
    assert reason.replace("offset 51", "offset 54") in bad.reason


def test_too_large_records_and_lines_are_skipped(tmp_path):
    path = tmp_path / "a.jsonl"
    with open(path, "wb") as file:
        for size in (MAX_RECORD + 1, 3 * MAX_RECORD, 1):
            file.write(b'{"user_id":"a","output":"' + b"x" * size + b'"}\n')
    record, long_line, fine = sources.read(path, format="jsonl")
    assert (record.line, record.reason) == (1, "the record is larger than 16 MB")
    assert (long_line.line, long_line.reason) == (2, "the line is longer than 32 MB")
    assert fine.output == "x"


def test_progress_reaches_the_size(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"user_id":"a","output":"x"}\n' * 20000)
    seen = []
    count = sum(1 for _ in sources.read(path, progress=lambda done, total: seen.append((done, total))))
    assert count == 20000
    assert len(seen) > 3
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {path.stat().st_size}


def test_a_damaged_gz_is_an_error_that_says_so(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"user_id":"a","output":"x"}\n' * 1000)[:-20])
    with pytest.raises(sources.SourceError, match="damaged"):
        list(sources.read(path, format="jsonl"))
