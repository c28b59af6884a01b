from __future__ import annotations

import json

import pytest


def turn(number, speaker, text, **more):
    return {"speaker": speaker, "dia_id": number, "text": text, **more}


def test_turns_in_time_with_speaker_and_caption(tmp_path, read):
    talk = {
        "speaker_a": "Ada",
        "session_10_date_time": "12:05 am on 9 May, 2023",
        "session_10": [turn("D10:1", "Ada", "Ten")],
        "session_2_date_time": "1:56 pm on 8 May, 2023",
        "session_2": [turn("D2:1", "Ada", "Hi"), turn("D2:2", "Bob", "Look", blip_caption="a dog"), {"dia_id": "D2:3"}],
        "session_3": [turn("D3:1", "Bob", "Undated")],
        "session_9_date_time": "1:00 pm on 8 May, 2023",
    }
    path = tmp_path / "locomo.json"
    path.write_text(json.dumps([{"sample_id": "conv-1", "conversation": talk, "qa": []}, {"sample_id": "x"}]))
    records, skipped = read(path, expect="locomo")
    assert [(record.output, record.time) for record in records] == [
        ("Hi", 1683554160.0),
        ("Look", 1683554161.0),
        ("Undated", 1683554164.0),
        ("Ten", 1683590700.0),
    ]
    assert records[1].meta == {"speaker": "Bob", "session": "session_2", "dia_id": "D2:2", "caption": "a dog"}
    assert {(record.user_id, record.kind, record.input) for record in records} == {("conv-1", "dialogue", "")}
    assert [item.reason for item in skipped] == [
        "conv-1 session_2: a turn without text",
        "note: conv-1 session_3: no date in None; placed after the session before",
        "item 1: no conversation in it",
    ]


@pytest.mark.data
def test_counts_of_the_public_file(data, read):
    records, skipped = read(data / "locomo" / "locomo10.json", expect="locomo")
    assert (len(records), len({record.user_id for record in records}), skipped) == (5882, 10, [])
    assert sum("caption" in record.meta for record in records) == 1226
    for user in {record.user_id for record in records}:
        times = [record.time for record in records if record.user_id == user]
        assert times == sorted(times)
