from __future__ import annotations

import pytest

from idiolect import sources
from idiolect.errors import ConfigError, InputError, UnknownName
from idiolect.sources import csv_table


def test_usual_column_names_need_no_mapping(tmp_path, read):
    path = tmp_path / "a.csv"
    path.write_text(
        "\ufeffuser_id,timestamp,input,output,kind,session\r\n"
        'anna,2024-05-08,"line one\nline two","said ""so""",dialogue,s1\r\n'
        "ben,1715126400000,,x,,\r\n"
    )
    first, second = read(path, expect="csv")[0]
    assert (first.input, first.output, first.kind) == ("line one\nline two", 'said "so"', "dialogue")
    assert first.meta == {"session": "s1"}
    assert (second.user_id, second.time, second.kind, second.meta) == ("ben", 1715126400.0, "content", {})
    assert first.time == second.time


def test_columns_are_mapped_and_the_delimiter_guessed(tmp_path, read):
    path = tmp_path / "a.tsv"
    path.write_text("who\twhat, exactly\tstars\nanna\tsoup; cold\t5\nanna\ttea\t4\n")
    settings = {"user": "who", "input": "what, exactly", "output": "stars", "default_kind": "interaction"}
    records, _ = read(path, expect="csv", **settings)
    assert [(r.input, r.output, r.kind, r.time) for r in records] == [
        ("soup; cold", "5", "interaction", 0.0),
        ("tea", "4", "interaction", 1.0),
    ]


def test_wrong_mappings_are_refused_with_a_near_miss(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user,rating\nanna,5\n")
    with pytest.raises(UnknownName, match="Did you mean 'rating'"):
        list(sources.read(path, settings={"output": "ratings"}))
    with pytest.raises(ConfigError, match=r"output=.*columns: user, rating"):
        list(sources.read(path))
    (tmp_path / "b.csv").write_text("text\nx\n")
    with pytest.raises(InputError, match="pass --user"):
        list(sources.read(tmp_path / "b.csv"))


def test_bad_rows_are_skipped_with_their_first_line(tmp_path, monkeypatch, read):
    monkeypatch.setattr(csv_table, "MAX_RECORD", 200)
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'user,time,output\nanna,1,"two\nlines"\nanna,2\nanna,soon,x\n,3,x\nanna,4,\nanna,5,"a\nb\xff"\nanna,6,fine\n'
    )
    records, skipped = read(path)
    assert [record.output for record in records] == ["two\nlines", "fine"]
    assert [(item.line, item.reason) for item in skipped] == [
        (4, "2 cells where the header has 3"),
        (5, "time 'soon' is neither ISO 8601 nor a number"),
        (6, "no user id in the row"),
        (7, "the output cell is empty"),
        (8, f"not UTF-8 at byte offset {path.read_bytes().index(0xFF)}"),
    ]


def test_an_unknown_kind_and_no_header(tmp_path, read):
    path = tmp_path / "a.csv"
    path.write_text("output,kind\nx,song\n")
    assert "unknown kind 'song'" in read(path, "anna")[1][0].reason
    path.write_text("")
    with pytest.raises(sources.SourceError, match="no header"):
        list(sources.read(path, "anna"))
