"""What has happened to records: merged in any order, set by the person, kept with the records, and exported."""

from __future__ import annotations

import itertools
import math
import zipfile

import orjson
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.errors import NotFound
from idiolect.store.export import export, restore
from idiolect.store.states import (
    SLOTS,
    STANDING,
    parse,
    plain,
    set_state,
    set_wishes,
    standing_of,
    states_of,
    wishes_of,
)
from idiolect.store.view import view
from idiolect.types import Learnt, State, Wishes

FULL = State(3, 5.0, ("a", "b"), 9.0, "c", True)


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "a", HashEmbedder())


def told(n, **meta):
    return say("ana", f"statement number {n}", 1e9 + n, kind="profile", meta=meta)


def test_a_state_survives_being_written(store):
    for state in (State(), FULL, State(closed=0.0), State(pinned=True)):
        assert parse(orjson.loads(orjson.dumps(plain(state)))) == state
    assert plain(State()) == {}


def test_merging_is_the_same_in_any_order():
    news = [State(1, 5.0, ("a",)), State(2, 3.0, ("b",), 9.0, "x"), State(0, 0.0, (), 7.0, "y", True)]
    found = set()
    for order in itertools.permutations(news):
        state = State()
        for one in order:
            state = state.merged(one)
        assert sorted(state.sources) == ["a", "b"]
        found.add((state.uses, state.used, state.closed, state.closed_by, state.pinned))
    assert found == {(3, 5.0, 7.0, "y", True)}  # the earliest closing stands


def test_a_state_holds_up_to_its_closing():
    state = State(closed=10.0)
    assert state.holds(9.9)
    assert not state.holds(10.0)
    assert not state.holds(math.inf)
    assert State().holds(math.inf)


def test_learning_adds_to_states_and_passes_over_what_is_gone(store):
    one, two = told(1), told(2)
    store.add([one, two])
    for _ in range(2):
        store.learn("ana", Learnt(states={one.id: State(1, 5.0), "0" * 32: State(1)}))
    assert states_of(store, "ana", [one.id, two.id]) == {one.id: State(2, 5.0)}
    assert states_of(store, "nobody", [one.id]) == {}
    reopened = open_store(store.rows.path.parents[1])
    assert states_of(reopened, "ana", [one.id]) == {one.id: State(2, 5.0)}


def test_a_person_sets_a_state(store):
    one = told(1)
    store.add([one])
    assert set_state(store, "ana", one.id, pinned=True) == State(pinned=True)
    assert [record.id for record in view(store, "ana").standing] == [one.id]
    set_state(store, "ana", one.id, closed=2e9)
    assert [record.id for record in view(store, "ana", 1.9e9).standing] == [one.id]
    assert list(view(store, "ana", 2e9).standing) == []
    set_state(store, "ana", one.id, pinned=False, closed=math.inf)
    assert standing_of(store, "ana")[0] == []
    with pytest.raises(NotFound, match="no record"):
        set_state(store, "ana", "0" * 32, pinned=True)
    with pytest.raises(NotFound, match="no user"):
        set_state(store, "nobody", one.id, pinned=True)


def test_of_what_is_always_in_mind_there_is_an_end_and_pinned_ones_stay(store):
    many = [told(n, always=True) for n in range(STANDING + 5)]
    store.learn("ana", Learnt(tuple(many[:STANDING])))
    set_state(store, "ana", many[0].id, pinned=True)
    set_state(store, "ana", many[9].id, closed=1.0)
    store.learn("ana", Learnt(tuple(many[STANDING:])))
    kept = {record.id for record in standing_of(store, "ana")[0]}
    assert len(kept) == STANDING
    assert many[0].id in kept  # pinned, though the oldest
    assert many[-1].id in kept
    assert many[9].id not in kept  # no longer holds


def test_the_newest_of_each_slot_is_known_and_slots_have_an_end(store):
    store.learn("ana", Learnt(tuple(told(n, slot=f"taste:{n}") for n in range(SLOTS + 3))))
    slots = view(store, "ana").slots
    assert len(slots) == SLOTS
    assert "taste:0" not in slots
    newer = told(9999, slot="taste:9")
    store.learn("ana", Learnt((newer,)))
    assert view(store, "ana").slots["taste:9"] == newer.id


def test_wishes_are_kept_and_can_be_changed(store):
    assert wishes_of(store, "ana") == Wishes()
    set_wishes(store, "ana", Wishes(("health",), ("sister",)))
    assert view(store, "ana").wishes == Wishes(("health",), ("sister",))
    set_wishes(store, "ana", Wishes())
    assert wishes_of(store, "ana") == Wishes()


# -- export ------------------------------------------------------------------------------------------------------------


def full(store):
    old, new, pinned = told(1, slot="home"), told(2, slot="home"), told(3)
    store.add([told(4)])
    store.learn("ana", Learnt((old, new, pinned), states={old.id: State(2, 5.0, ("s",), 1e9 + 2, new.id)}))
    set_state(store, "ana", pinned.id, pinned=True)
    set_wishes(store, "ana", Wishes(("rain",), ("sister",)))
    return [old.id, new.id, pinned.id]


def memory_of(store, ids, user="ana"):
    seen = view(store, user)
    return dict(seen.states(ids)), [r.id for r in seen.standing], dict(seen.slots), seen.wishes


def test_an_export_carries_states_wishes_slots_and_what_is_in_mind(store, tmp_path):
    ids = full(store)
    export(store, "ana", tmp_path / "ana.zip", now=1e9)
    other = open_store(tmp_path / "b")
    assert restore(other, tmp_path / "ana.zip").states == 2
    assert memory_of(other, ids) == memory_of(store, ids)
    assert restore(other, tmp_path / "ana.zip").states == 0
    assert memory_of(other, ids) == memory_of(store, ids)
    export(other, "ana", tmp_path / "again.zip", now=1e9)
    with zipfile.ZipFile(tmp_path / "ana.zip") as one, zipfile.ZipFile(tmp_path / "again.zip") as two:
        assert orjson.loads(one.read("manifest.json")) == orjson.loads(two.read("manifest.json"))
    restore(other, tmp_path / "ana.zip", user="ben")
    assert memory_of(other, ids, "ben") == memory_of(store, ids)


def test_what_is_there_already_stays_as_it_is(store, tmp_path):
    ids = full(store)
    export(store, "ana", tmp_path / "ana.zip", now=1e9)
    store.learn("ana", Learnt(states={ids[0]: State(7, 9.0)}))
    set_wishes(store, "ana", Wishes(("snow",)))
    before = view(store, "ana").states(ids)
    restore(store, tmp_path / "ana.zip")
    assert view(store, "ana").states(ids) == before
    assert wishes_of(store, "ana") == Wishes(("snow", "rain"), ("sister",))


def test_an_export_of_before_there_were_states_still_restores(store, tmp_path):
    full(store)
    export(store, "ana", tmp_path / "new.zip", now=1e9)
    with zipfile.ZipFile(tmp_path / "new.zip") as new, zipfile.ZipFile(tmp_path / "old.zip", "w") as old:
        for name in set(new.namelist()) - {"states.jsonl", "manifest.json"}:
            old.writestr(name, new.read(name))
        manifest = orjson.loads(new.read("manifest.json"))
        del manifest["memory"], manifest["files"]["states.jsonl"]
        old.writestr("manifest.json", orjson.dumps(manifest))
    other = open_store(tmp_path / "b")
    found = restore(other, tmp_path / "old.zip")
    assert (found.records.added, found.states) == (4, 0)
    assert view(other, "ana").wishes == Wishes()
