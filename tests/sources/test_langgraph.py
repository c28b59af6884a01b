from __future__ import annotations

import json
import sqlite3

import pytest

ROWS = [
    ("memories.anna", "k1", {"text": "Likes tea \U0001f600"}, "2026-01-02 00:00:00"),
    ("memories.ben", "k2", {"kind": "Memory", "content": {"content": "Rides"}}, "2026-01-01 00:00:00"),
    ("carl.memories", "k3", {"name": "Carl", "age": 3}, "2026-01-03 00:00:00"),
    ("app.dora.prefs", "k4", {"data": "x"}, "2026-01-04 00:00:00"),
    ("memories", "k5", {"text": "whose?"}, "2026-01-05 00:00:00"),
    ("memories.eve", "k6", {}, "2026-01-06 00:00:00"),
]


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as db:
        db.execute(
            """CREATE TABLE store (prefix text NOT NULL, key text NOT NULL, value text NOT NULL,
            created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
            expires_at TIMESTAMP, ttl_minutes REAL, PRIMARY KEY (prefix, key))"""
        )
        for prefix, key, value, time in ROWS:
            values = (prefix, key, json.dumps(value).encode(), "2025-01-01 00:00:00", time, None)
            db.execute("INSERT INTO store VALUES (?, ?, ?, ?, ?, ?, NULL)", values)
        bad = [
            ("m.u", "broken", b"{", "2026-01-07", "2026-01-07", None),
            ("m.u", "expired", b'{"text":"x"}', "2026-01-08", "2026-01-08", "2026-01-08 00:00:01"),
            ("m.u", "latin", b'{"text":"\xff"}', "2026-01-09", "2026-01-09", None),
        ]
        db.execute("UPDATE store SET expires_at='2999-01-01' WHERE key='k1'")
        db.executemany("INSERT INTO store VALUES (?, ?, ?, ?, ?, ?, NULL)", bad)
    db.close()
    return path


def test_items_become_profile_records_in_time(store, read):
    records, skipped = read(store, expect="langgraph")
    assert [(record.user_id, record.output) for record in records] == [
        ("ben", "Rides"),
        ("anna", "Likes tea \U0001f600"),
        ("carl", '{"name":"Carl","age":3}'),
        ("prefs", "x"),
    ]
    assert records[0].time == 1767225600.0
    assert records[0].meta == {"namespace": "memories.ben", "key": "k2"}
    assert {(record.kind, record.source) for record in records} == {("profile", "langgraph")}
    assert [item.reason.split(":")[0] for item in skipped] == [
        "memories/k5",
        "memories.eve/k6",
        "m.u/broken",
        "m.u/expired",
        "m.u/latin",
    ]
    assert "set user_index" in skipped[0].reason
    assert "byte 0xff at offset 9" in skipped[4].reason


def test_the_user_is_where_the_setting_says(store, read):
    records, skipped = read(store, user_index=1)
    assert [record.user_id for record in records] == ["ben", "anna", "memories", "dora"]
    assert len(skipped) == 5


def test_rows_as_json_lines(tmp_path, read):
    path = tmp_path / "store.jsonl"
    rows = [{"prefix": p, "key": k, "value": v, "updated_at": f"{t}+00:00"} for p, k, v, t in ROWS[:2]]
    path.write_text("\n".join(map(json.dumps, rows)) + '\n5\n{"key": "x"}\n')
    records, skipped = read(path, expect="langgraph")
    assert [record.user_id for record in records] == ["anna", "ben"]
    assert [item.line for item in skipped] == [3, 4]
