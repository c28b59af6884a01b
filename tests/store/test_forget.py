"""Forgetting one thing takes what was derived from it and every place of its words; nothing is left in any file."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.backends.toy import ToyBackend
from idiolect.config import Settings
from idiolect.errors import NotFound
from idiolect.memory.feedback import Feedback
from idiolect.pipeline import Idiolect
from idiolect.store import keys
from idiolect.store.erase import erase
from idiolect.store.export import export
from idiolect.store.finishing import Finished, keep_finished, waiting
from idiolect.store.forget import forget
from idiolect.store.states import set_state, states_of
from idiolect.store.view import view
from idiolect.turns import dump
from idiolect.types import Artifact, Learnt, State

SAID = "Marzipan pralines remind me of Lübeck harbour"


def memory(text=SAID, time=2e9, **meta):
    return say("ana", text, time, kind="profile", source="memory", meta=meta)


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path, HashEmbedder())


def ids(store, user="ana"):
    return {record.id for record in store.all_records(user)}


def test_a_memory_goes_with_the_exchanges_in_which_it_was_said(store):
    first, second = say("ana", f"Oh, {SAID}!", 1e9), say("ana", "As I said, marzipan.", 1.1e9)
    other = say("ana", "The trains are late again", 1.2e9)
    kept = memory(sources=[first.id])
    store.add([first, second, other, kept])
    store.learn("ana", Learnt(states={kept.id: State(sources=(second.id,))}))
    gone = forget(store, "ana", kept.id)
    assert set(gone.records) == {first.id, second.id, kept.id}
    assert ids(store) == {other.id}
    assert [hit.record.id for hit in view(store, "ana").search("marzipan trains", 9)] == [other.id]
    assert states_of(store, "ana", [kept.id]) == {}
    with pytest.raises(NotFound, match="no record"):
        forget(store, "ana", kept.id)


def test_an_exchange_goes_with_the_memories_that_rest_on_it_alone(store):
    one, two = say("ana", "I sing alto and I row", 1e9), say("ana", "I row a lot", 1.1e9)
    alto, row = memory("I sing alto", sources=[one.id]), memory("I row", sources=[one.id, two.id])
    store.add([one, two, alto, row])
    assert set(forget(store, "ana", one.id).records) == {one.id, alto.id}
    assert ids(store) == {two.id, row.id}


@pytest.mark.parametrize(
    "meta",
    [
        {"answer": f"You said: {SAID}."},
        {"feedback": {"comment": f"no, {SAID}", "edit": "another text"}},
        {"feedback": {"drafts": ["a", SAID], "chosen": 0}},
    ],
)
def test_every_record_that_quotes_it_goes(store, meta):
    kept, quoting = memory(), say("ana", "well", 1e9, kind="preference", meta=meta)
    store.add([kept, quoting])
    assert set(forget(store, "ana", kept.id).records) == {kept.id, quoting.id}


def test_a_short_word_takes_nothing_else_along(store):
    kept, other = memory("Yes"), say("ana", "Yes, the trains are late", 1e9)
    store.add([kept, other])
    assert forget(store, "ana", kept.id).records == (kept.id,)


def test_what_was_learnt_from_it_goes(store):
    source = say("ana", f"Oh, {SAID}!", 1e9)
    kept, other = memory(sources=[source.id]), say("ana", "The trains are late again", 1.2e9)
    store.add([source, kept, other])
    made = [
        Artifact.new("ana", "k", method="m", payload=b"%d" % n, record_ids=[record.id], time=1.0)
        for n, record in enumerate((kept, source, other))
    ]
    store.put_artifacts(made)
    assert set(forget(store, "ana", kept.id).artifacts) == {made[0].id, made[1].id}
    assert [artifact.id for artifact in store.artifacts("ana")] == [made[2].id]


def test_traces_and_waiting_turns_that_name_or_quote_it_go(store):
    source = say("ana", "[left out] and marzipan", 1e9, meta={"trace": "dd" * 16})
    kept, other = memory(sources=[source.id]), say("ben", SAID, 1e9)
    store.add([source, kept, other])
    traces = {
        "aa" * 16: {"used": [{"id": kept.id}]},
        "bb" * 16: {"base": [{"content": f'"{SAID}"'}]},
        "cc" * 16: {"answer": "The trains are late"},
        "dd" * 16: {"id": "dd" * 16, "base": [{"content": "the exchange itself, with what was left out"}]},
    }
    keep_finished(store, [Finished("ana", 0, tid, dump(trace)) for tid, trace in traces.items()], 0.0)
    keep_finished(store, [Finished("ben", 0, "ee" * 16, dump({"base": SAID}))], 0.0)
    turns = [{"messages": [SAID]}, {"messages": ["The trains are late"]}]
    keep_finished(store, [Finished("ana", turn=dump(turn)) for turn in turns], 0.0)
    gone = forget(store, "ana", kept.id)
    assert (gone.traces, gone.turns) == (3, 1)
    assert store.trace("cc" * 16) == traces["cc" * 16]
    for tid in ("aa" * 16, "bb" * 16, "dd" * 16):
        with pytest.raises(NotFound):
            store.trace(tid)
    assert len(waiting(store, "ana")) == 1
    assert store.trace("ee" * 16) == {"base": SAID}  # somebody else's words are theirs


def test_what_it_had_closed_holds_again(store):
    old, new = memory("I live in Porto", 1e9, slot="home"), memory("I live in Lisbon", 2e9, slot="home")
    new = say("ana", new.output, 2e9, kind="profile", meta={"slot": "home", "closes": [old.id]})
    store.learn("ana", Learnt((old,)))
    store.learn("ana", Learnt((new,), states={old.id: State(closed=2e9, closed_by=new.id)}))
    assert view(store, "ana").slots == {"home": new.id}
    forget(store, "ana", new.id)
    assert states_of(store, "ana", [old.id])[old.id] == State()
    assert view(store, "ana").slots == {"home": old.id}


def test_a_later_closing_by_another_record_stands(store):
    old = memory("I live in Porto", 1e9)
    new = say("ana", "I live in Lisbon", 2e9, kind="profile", meta={"closes": [old.id]})
    store.learn("ana", Learnt((old, new), states={old.id: State(closed=1.5e9, closed_by="another")}))
    forget(store, "ana", new.id)
    assert states_of(store, "ana", [old.id])[old.id].closed_by == "another"


def test_what_is_forgotten_is_no_longer_in_mind(store):
    kept = memory(always=True)
    store.learn("ana", Learnt((kept,)))
    set_state(store, "ana", kept.id, pinned=True)
    assert [record.id for record in view(store, "ana").standing] == [kept.id]
    forget(store, "ana", kept.id)
    assert list(view(store, "ana").standing) == []
    assert store.facts("ana").get("standing") == []


# -- no byte is left ---------------------------------------------------------------------------------------------------


@pytest.fixture
def plain(monkeypatch):
    """Let nothing be sealed, so that what is on the disk can be read."""
    monkeypatch.setattr(keys.Box, "seal", lambda self, data, place: data)
    monkeypatch.setattr(keys.Box, "open", lambda self, cell, place: cell)


def files_with(folder: Path, *marks: str) -> list[str]:
    """Return the names of the files in which one of the texts stands, as it is or inside a JSON document."""
    wanted = [form for mark in marks for form in (mark.encode(), orjson.dumps(mark)[1:-1])]
    found = [p for p in folder.rglob("*") if p.is_file()]
    return [p.name for p in found if any(mark in p.read_bytes() for mark in wanted)]


def house(folder: Path) -> Idiolect:
    """Build a house in which the sentence stands wherever it can: records, artifacts, traces, feedback, a turn."""
    clock = iter(range(1_700_000_000, 1_800_000_000, 60))
    settings = Settings(methods=("profile", "memory", "retrieval"))
    app = Idiolect(open_store(folder, HashEmbedder()), ToyBackend(), settings, clock=lambda: float(next(clock)))
    app.store.add([say("ana", f"Diary, page {n}: the trains were late", 1e9 + n) for n in range(300)])
    answer = app.ask(f"Remember: {SAID}.", "ana", session="s")
    app.drain()
    app.feedback(answer.trace_id, Feedback(edit=f"Noted: {SAID}"))
    app.ask("What reminds me of Lübeck harbour?", "ana")
    app.drain()
    app.fit("profile", ["ana"])
    keep_finished(app.store, [Finished("ana", turn=dump({"messages": [f"again: {SAID}"]}))], 0.0)
    return app


def test_no_byte_of_it_is_left_in_any_file(tmp_path, plain):
    app = house(tmp_path)
    assert "data.db" in files_with(tmp_path, SAID) or "data.db-wal" in files_with(tmp_path, SAID)
    kept = next(r for r in app.store.all_records("ana") if r.kind == "profile")
    gone = forget(app.store, "ana", kept.id)
    assert gone.artifacts
    assert gone.turns == 1
    assert files_with(tmp_path, SAID, "Marzipan", "marzipan", kept.id) == []
    assert len(list(app.store.all_records("ana"))) >= 300
    app.close()
    assert files_with(tmp_path, SAID, "Marzipan", "marzipan", kept.id) == []


def test_no_byte_is_left_while_other_connections_are_open(tmp_path, plain):
    app, other = house(tmp_path), open_store(tmp_path, HashEmbedder())
    kept = next(r for r in other.all_records("ana") if r.kind == "profile")
    forget(app.store, "ana", kept.id)
    assert files_with(tmp_path, SAID, "Marzipan") == []
    assert kept.id not in {r.id for r in other.all_records("ana")}


def test_no_byte_of_an_erased_person_is_left_in_any_file(tmp_path, plain):
    app = house(tmp_path)
    app.store.add([say("ben", "Ben climbs", 1e9)])
    export(app.store, "ben", tmp_path / "ben.zip", now=1e9)
    erase(app.store, "ana", 1e9)
    assert files_with(tmp_path, SAID, "Marzipan", "Diary, page", "trains were late") == []
    assert [record.output for record in app.store.all_records("ben")] == ["Ben climbs"]
    app.close()
    assert files_with(tmp_path, SAID, "Marzipan", "Diary, page", "trains were late") == []
