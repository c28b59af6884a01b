"""What has happened to records since they were written: one small sealed cell beside each record that has a state."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from idiolect.errors import NotFound
from idiolect.store import cells
from idiolect.store.keys import DataKey
from idiolect.store.rows import Plane, Reader, UserRow
from idiolect.store.sealed import SealedReader, SealedWriter
from idiolect.types import Record, State, Wishes

if TYPE_CHECKING:
    from idiolect.store.store import Store

STANDING = 64
"""So many records of a person are always in mind; the oldest beyond that are found by search alone."""

SLOTS = 512
"""Of so many things a person has one at a time (a home, a favourite film) the newest statement is known at once."""


def plain(state: State) -> dict[str, Any]:
    """Return a state as a JSON value; what is as it was at first is left out."""
    given = {
        "uses": state.uses, "used": state.used, "sources": list(state.sources),
        "closed": None if math.isinf(state.closed) else state.closed, "closed_by": state.closed_by,
        "pinned": state.pinned,
    }  # fmt: skip
    return {name: value for name, value in given.items() if value or (name == "closed" and value is not None)}


def parse(table: Mapping[str, Any]) -> State:
    """Inverse of :func:`plain`."""
    state = State(**{**table, "sources": tuple(table.get("sources", ()))})
    return replace(state, closed=table.get("closed", math.inf))


def set_wishes(store: Store, user_id: str, wishes: Wishes) -> None:
    """Keep what a person wants of their memory."""
    store.set_about(user_id, muted=list(wishes.muted), never=list(wishes.never))


def states_of(store: Store, user_id: str, record_ids: Sequence[str]) -> dict[str, State]:
    """Return what has happened to some records; those to which nothing has are left out."""
    key = store.key(user_id)
    if key is None or not record_ids:
        return {}
    with store.rows.read() as tx:
        numbers = _numbers(tx, key, record_ids)
        found = SealedReader(tx, key).pick(Plane.STATE, list(numbers.values()))
    return {rid: parse(orjson.loads(found[n])) for rid, n in numbers.items() if n in found}


def about_memory(store: Store, user_id: str) -> dict[str, Any]:
    """Return what the store keeps of a person's memory as a whole: wishes, what is always in mind, the slots."""
    facts = store.facts(user_id)
    return {name: facts[name] for name in ("muted", "never", "standing", "slots") if facts.get(name)}


def bring_back(store: Store, user_id: str, states: Mapping[str, State], about: Mapping[str, Any]) -> int:
    """Set states of records that have none yet and add to :func:`about_memory`; return how many states were new."""
    key = store.known(user_id)
    with store.rows.write() as tx:
        row, own = tx.user(key.uid), SealedWriter(tx, key)
        if row is None:
            raise NotFound(f"no user {user_id!r}")
        numbers = _numbers(tx, key, list(states))
        there = _read(own, list(numbers.values()))
        fresh = {n: states[rid] for rid, n in numbers.items() if n not in there}
        _write(own, fresh)
        facts = store.about(key, row)
        lists = {
            name: list(dict.fromkeys((*facts.get(name, ()), *about[name])))
            for name in ("muted", "never", "standing") if name in about
        }  # fmt: skip
        slots = {**about.get("slots", {}), **facts.get("slots", {})}
        tx.put_user(store.with_about(key, row, **lists, **({"slots": slots} if slots else {})))
    return len(fresh)


def set_state(store: Store, user_id: str, record_id: str, **changes: Any) -> State:
    """Change a record's state as a person demands it (``pinned``, ``closed`` ...), and return the new one."""
    key = store.known(user_id)
    with store.rows.write() as tx:
        row, own = tx.user(key.uid), SealedWriter(tx, key)
        numbers = _numbers(tx, key, [record_id])
        if row is None or not numbers:
            raise NotFound(f"user {user_id!r} has no record {record_id!r}")
        number = numbers[record_id]
        state = replace(_read(own, [number]).get(number, State()), **changes)
        _write(own, {number: state})
        record = record_at(own, user_id, [number])[number]
        listed = {"add" if state.pinned or record.meta.get("always") else "drop": [record_id]}
        tx.put_user(_with_standing(store, own, key, row, **listed))
    return state


def merge(
    store: Store, own: SealedWriter, row: UserRow, patches: Mapping[str, State], new: Sequence[Record]
) -> UserRow:
    """Add what happened to records within a transaction; records that are gone are passed over."""
    numbers = _numbers(own.tx, own.key, list(patches))
    before = _read(own, list(numbers.values()))
    _write(own, {n: before.get(n, State()).merged(patches[rid]) for rid, n in numbers.items()})
    always = [record.id for record in new if record.meta.get("always")]
    row = _with_standing(store, own, own.key, row, add=always) if always else row
    return _with_slots(store, own.key, row, {r.meta["slot"]: r.id for r in new if r.meta.get("slot")})


def clear(store: Store, own: SealedWriter, row: UserRow, gone: Mapping[int, Record]) -> UserRow:
    """Take back what deleted records had done: what they closed holds again, and they are no longer in mind."""
    own.delete(Plane.STATE, gone)
    row = _with_slots(store, own.key, row, {}, drop=[record.id for record in gone.values()])
    closed_by = {rid: record.id for record in gone.values() for rid in record.meta.get("closes", ())}
    numbers = _numbers(own.tx, own.key, list(closed_by))
    before, again = _read(own, list(numbers.values())), dict[int, State]()
    for rid, number in numbers.items():
        state = before.get(number, State())
        if state.closed_by == closed_by[rid]:
            again[number] = replace(state, closed=math.inf, closed_by="")
    _write(own, again)
    back = {r.meta["slot"]: r.id for r in record_at(own, "", again).values() if r.meta.get("slot")}
    row = _with_slots(store, own.key, row, back)
    return _with_standing(store, own, own.key, row, drop=[record.id for record in gone.values()])


def standing_of(store: Store, user_id: str) -> tuple[list[Record], dict[str, State]]:
    """Return the records that are always in mind, whatever became of them, and their states."""
    key = store.key(user_id)
    if key is None:
        return [], {}
    with store.rows.read() as tx:
        row = tx.user(key.uid)
        ids = [] if row is None else list(store.about(key, row).get("standing", ()))
        numbers = _numbers(tx, key, ids)
        records = store.records(user_id, numbers.values(), tx, key) if numbers else []
        found = _read(SealedReader(tx, key), list(numbers.values()))
    return records, {rid: found[n] for rid, n in numbers.items() if n in found}


def wishes_of(store: Store, user_id: str) -> Wishes:
    """Return what a person wants of their memory."""
    facts = store.facts(user_id)
    return Wishes(tuple(facts.get("muted", ())), tuple(facts.get("never", ())))


def _with_standing(
    store: Store, own: SealedWriter, key: DataKey, row: UserRow, add: Sequence[str] = (), drop: Iterable[str] = ()
) -> UserRow:
    """Return the user's row with the list of what is always in mind brought up to date."""
    before = list(store.about(key, row).get("standing", ()))
    gone = set(drop)
    after = [rid for rid in dict.fromkeys((*before, *add)) if rid not in gone]
    if len(after) > STANDING:
        after = _holding(own, after)[-STANDING:]
    return row if after == before else store.with_about(key, row, standing=after)


def _with_slots(store: Store, key: DataKey, row: UserRow, news: Mapping[str, str], drop: Sequence[str] = ()) -> UserRow:
    """Return the user's row with the newest record of each slot; the slots that were set longest ago go first."""
    before = dict(store.about(key, row).get("slots", {}))
    after = {slot: rid for slot, rid in before.items() if slot not in news and rid not in drop} | dict(news)
    after = dict(list(after.items())[-SLOTS:])
    return row if after == before else store.with_about(key, row, slots=after)


def _holding(own: SealedReader, ids: Sequence[str]) -> list[str]:
    """Return those that still hold, or are pinned, which come last."""
    numbers = _numbers(own.tx, own.key, ids)
    states = _read(own, list(numbers.values()))
    held = [rid for rid, n in numbers.items() if math.isinf(states.get(n, State()).closed)]
    return sorted(held, key=lambda rid: states.get(numbers[rid], State()).pinned)


def _numbers(tx: Reader, key: DataKey, record_ids: Sequence[str]) -> dict[str, int]:
    macs = {key.mac(rid): rid for rid in record_ids}
    found = tx.find(key.uid, list(macs))
    return {rid: found[mac] for mac, rid in macs.items() if mac in found}


def _read(own: SealedReader, numbers: Sequence[int]) -> dict[int, State]:
    return {n: parse(orjson.loads(data)) for n, data in own.pick(Plane.STATE, numbers).items()}


def _write(own: SealedWriter, states: Mapping[int, State]) -> None:
    own.put(Plane.STATE, [(n, orjson.dumps(plain(state))) for n, state in states.items()])


def record_at(own: SealedReader, user_id: str, numbers: Iterable[int]) -> dict[int, Record]:
    """Return some records by number; those that are gone are left out."""
    found = own.pick(Plane.ITEM, list(numbers))
    return {n: cells.load_record(data, user_id) for n, data in found.items()}
