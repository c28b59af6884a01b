from __future__ import annotations

import json

import pytest

from idiolect import sources
from idiolect.errors import InputError

PROFILE = {"id": "p1", "content": "Anna", "attributes": {"topic": "basic_info", "sub_topic": "name"}}
TIMES = {"created_at": "2025-01-01T00:00:00", "updated_at": "2025-01-02T00:00:00Z"}
EVENT = {
    "id": "e1",
    "event_data": {
        "profile_delta": [{"content": "moved"}],
        "event_tip": "Moved to Oslo",
        "event_tags": [{"tag": "city", "value": "Oslo"}],
    },
    "created_at": "2025-01-01T12:00:00Z",
}
CHAT = {
    "id": "b1",
    "blob_type": "chat",
    "blob_data": {
        "messages": [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Hello"}, {"role": "user"}]
    },
    "created_at": "2025-01-03T00:00:00Z",
}


def test_profiles_events_and_blobs_of_an_answer(tmp_path, read):
    path = tmp_path / "anna.json"
    blobs = [
        CHAT,
        {"id": "b2", "blob_type": "image", "blob_data": {"url": "x"}},
        {"id": "b3", "blob_type": "doc", "blob_data": {"content": "Notes"}},
    ]
    path.write_text(json.dumps({"user_id": "anna", "profiles": [PROFILE | TIMES], "events": [EVENT], "blobs": blobs}))
    records, skipped = read(path, expect="memobase")
    assert [(record.kind, record.input, record.output, record.time) for record in records] == [
        ("content", "", "Notes", 0.0),
        ("profile", "", "Moved to Oslo", 1735732800.0),
        ("profile", "", "Anna", 1735776000.0),
        ("dialogue", "Hi", "Hello", 1735862401.0),
    ]
    assert records[2].meta == {"topic": "basic_info", "sub_topic": "name"}
    assert records[1].meta == {"topic": "event", "tag:city": "Oslo"}
    assert [item.reason for item in skipped] == [
        "blob b1: message 2 has no text",
        "blob b2 of type 'image': no text in it",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        {"data": {"profiles": [PROFILE | TIMES]}, "errno": 0, "errmsg": ""},
        [PROFILE | TIMES],
        {"basic_info": {"name": {"id": "p1", "content": "Anna", **TIMES}}},
        [{"user_id": "anna", "profiles": [PROFILE | TIMES], "events": []}],
    ],
)
def test_every_envelope_gives_the_same_record(tmp_path, answer):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(answer))
    (record,) = sources.read(path, "anna", format="memobase")
    assert (record.output, record.time, record.meta["sub_topic"]) == ("Anna", 1735776000.0, "name")


def test_json_lines_and_a_missing_user(tmp_path, read):
    path = tmp_path / "a.jsonl"
    path.write_text(
        json.dumps({"user_id": "anna", "profiles": [PROFILE]}) + "\nnope\n" + json.dumps({"profiles": [PROFILE]})
    )
    with pytest.raises(InputError, match="pass --user"):
        list(sources.read(path, format="memobase"))
    path.write_text(json.dumps({"user_id": "anna", "profiles": [PROFILE, 5, {"id": 1}]}) + "\nnope\n")
    records, skipped = read(path, expect="memobase")
    assert len(records) == 1
    assert [item.line for item in skipped] == [1, 1, 2]
