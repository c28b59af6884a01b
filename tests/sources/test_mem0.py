from __future__ import annotations

import json
import os
import pickle
import sqlite3
import sys
import types

import pytest

from idiolect import sources
from idiolect.errors import InputError
from idiolect.sources.mem0 import _payload

TIME = "2026-11-20T07:03:14.939745+00:00"


@pytest.fixture
def qdrant(monkeypatch):
    """The pickles of qdrant-client's points, without qdrant-client: classes of the same name and state."""

    def setstate(self, state):
        raise AssertionError("the real class must never be filled")

    module = types.ModuleType("qdrant_client.http.models.models")
    for name in ("PointStruct", "SparseVector", "Other"):
        cls = type(name, (), {"__module__": module.__name__, "__setstate__": setstate})
        cls.__getstate__ = lambda self: {
            "__dict__": self.fields,
            "__pydantic_extra__": None,
            "__pydantic_fields_set__": set(self.fields),
        }
        setattr(module, name, cls)
    for name in ("qdrant_client", "qdrant_client.http", "qdrant_client.http.models"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def point(identity, payload, kind="PointStruct"):
        sparse, made = module.SparseVector(), getattr(module, kind)()
        sparse.fields = {"indices": [1], "values": [0.5]}
        made.fields = {"id": identity, "vector": {"": [0.1, 0.2], "bm25": sparse}, "payload": payload}
        return pickle.dumps(made)

    return point


def store(path, points):
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE points (id TEXT PRIMARY KEY, point BLOB)")
        db.executemany("INSERT INTO points VALUES (?, ?)", [(str(i), blob) for i, blob in enumerate(points)])
    db.close()


def memory(text, user="anna", created=TIME, **more):
    return {
        "data": text,
        "user_id": user,
        "created_at": created,
        "updated_at": created,
        "hash": "x",
        "role": "user",
        **more,
    }


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/idiolect-was-here",)


def test_a_qdrant_folder(tmp_path, qdrant, read):
    later = "2026-11-21T00:00:00Z"
    points = [
        qdrant("m3", memory("Third", created=later, topic="t", tags=["x"], run_id="r1")),
        qdrant("m1", memory("old text")),
        qdrant("m2", memory("Second \U0001f600", "ben", text_lemmatized="second")),
        qdrant("m1", memory("First")),
        qdrant("m4", memory("from the bot", role="assistant", created=later)),
        qdrant("e1", {"data": "Oslo", "entity_type": "city", "linked_memory_ids": ["m1"], "user_id": "anna"}),
        qdrant("a1", memory("agent's", None, agent_id="bot")),
        qdrant("a2", memory("  ")),
        qdrant("a3", memory("x"), kind="Other"),
        pickle.dumps(Evil()),
        pickle.dumps({"payload": memory("x")}),
        b"junk",
    ]
    store(tmp_path / "qdrant" / "collection" / "mem" / "storage.sqlite", points)
    records, skipped = read(tmp_path / "qdrant", expect="mem0")
    assert sorted((record.user_id, record.output) for record in records) == [
        ("anna", "First"),
        ("anna", "Third"),
        ("anna", "from the bot"),
        ("ben", "Second \U0001f600"),
    ]
    assert [record.time for record in records] == sorted(record.time for record in records)
    assert {(record.kind, record.source) for record in records} == {("profile", "mem0")}
    by_text = {record.output: record for record in records}
    assert by_text["Third"].meta == {"topic": "t", "session": "r1"}
    assert by_text["from the bot"].meta == {"speaker": "assistant"}
    assert not os.path.exists("/tmp/idiolect-was-here")
    reasons = "\n".join(item.reason for item in skipped)
    for part in (
        "row 7: no user_id",
        "row 8: no text",
        "qdrant_client.http.models.models.Other",
        "system",
        "no payload in it",
        "row 12: not a Qdrant point",
        "1 x entry of mem0's entity index",
        "1 x older copy of a point",
    ):
        assert part in reasons
    assert {item.file for item in skipped} == {"collection/mem/storage.sqlite"}
    assert sources.detect(tmp_path) == "mem0"
    assert sources.detect(tmp_path / "qdrant" / "collection" / "mem" / "storage.sqlite") == "mem0"


@pytest.mark.parametrize(
    "blob",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x011\x85R.",
        b"cqdrant_client.http.models.models\nPointStruct.__init__\n.",
        b"c__builtin__\nobject\n.",
        b"P1\n.",
        b"\x80\x04\x82\x01.",
        b"",
        b"(" * 100,
        b"\x80\x05\x8c",
        b"I1\n}b.",
    ],
)
def test_no_pickle_reaches_code(blob):
    with pytest.raises(ValueError, match="not a Qdrant point"):
        _payload(blob)


def test_a_dump_of_get_all(tmp_path, read):
    path = tmp_path / "dump.json"
    row = {
        "id": "m1",
        "memory": "Likes tea",
        "user_id": "anna",
        "hash": "h",
        "metadata": {"topic": "t"},
        "created_at": TIME,
    }
    path.write_text(json.dumps({"results": [row, 5, {"id": "m2", "memory": "x"}]}))
    records, skipped = read(path, expect="mem0")
    assert [(r.user_id, r.output, r.meta, r.time) for r in records] == [
        ("anna", "Likes tea", {"topic": "t"}, 1795158194.939745)
    ]
    assert [item.reason.split(":")[0] for item in skipped] == ["item 1", "item 2"]
    path.write_text('{"results": 5}')
    with pytest.raises(sources.SourceError, match="no dump of mem0"):
        list(sources.read(path, format="mem0"))


def test_the_history_file(tmp_path, read):
    path = tmp_path / "history.db"
    with sqlite3.connect(path) as db:
        db.execute(
            """CREATE TABLE history (id TEXT PRIMARY KEY, memory_id TEXT, old_memory TEXT, new_memory TEXT, event TEXT,
            created_at DATETIME, updated_at DATETIME, is_deleted INTEGER, actor_id TEXT, role TEXT)"""
        )
        db.execute(
            """CREATE TABLE messages (id TEXT PRIMARY KEY, session_scope TEXT, role TEXT, content TEXT, name TEXT,
            created_at DATETIME)"""
        )
        history = [
            ("h1", "m1", "old", "ADD", 1, 0),
            ("h2", "m1", "new", "UPDATE", 2, 0),
            ("h3", "m2", "x", "ADD", 3, 0),
            ("h4", "m2", None, "DELETE", 4, 1),
        ]
        for name, identity, text, event, day, deleted in history:
            date = f"2026-01-0{day}T00:00:00+00:00"
            row = (name, identity, None, text, event, "2026-01-01T00:00:00+00:00", date, deleted, None, "user")
            db.execute("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        for name, role, text in (("s1", "assistant", "Hi"), ("s2", "user", "Hello")):
            db.execute(
                "INSERT INTO messages VALUES (?, 'run_id=r&user_id=an%3Dna', ?, ?, NULL, '2026-01-05')",
                (name, role, text),
            )
    db.close()
    with pytest.raises(InputError, match="pass --user"):
        list(sources.read(path))
    records, skipped = read(path, "anna", "mem0")
    assert [(r.kind, r.input, r.output, r.user_id) for r in records] == [
        ("profile", "", "new", "anna"),
        ("dialogue", "Hi", "Hello", "anna"),
    ]
    assert records[0].time == 1767312000.0
    assert skipped[0].reason == "note: 1 memories had been deleted in mem0 and stay deleted"
    store(tmp_path / "collection" / "mem" / "storage.sqlite", [])
    ((message,), _) = read(tmp_path, expect="mem0")
    assert (message.user_id, message.output) == ("an=na", "Hello")
