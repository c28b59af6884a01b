"""Forgetting one thing: the record, what was derived from it, where its words stand, and the space they took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from idiolect.errors import NotFound
from idiolect.store.rows import Plane
from idiolect.store.sealed import SealedWriter
from idiolect.store.states import states_of
from idiolect.store.store import Store
from idiolect.types import Record


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What went: record ids, artifact ids, and how many traces and waiting turns."""

    records: tuple[str, ...]
    artifacts: tuple[str, ...]
    traces: int
    turns: int

    def as_json(self) -> dict[str, Any]:
        """Return a plain mapping."""
        return asdict(self)


def forget(store: Store, user_id: str, record_id: str) -> Forgotten:
    """Delete a record with everything derived from it, and every place of this user where its words stand.

    Of a memory these are the exchanges in which it was said; of an exchange the memories that rest on it alone. What a
    forgotten memory had closed holds again. Traces and waiting turns in which the record or its text appears go too.
    Raises :class:`NotFound`.
    """
    wanted = store.find(user_id, record_id)
    doomed = {record.id: record for record in _with_derived(store, user_id, wanted)}
    gone, artifacts = store.delete(user_id, doomed)
    if not gone:
        raise NotFound(f"user {user_id!r} has no record {record_id!r}")
    texts = [text for record in doomed.values() for text in (record.output, record.input) if len(text) > _SHORT]
    answers = {str(r.meta["trace"]) for r in doomed.values() if r.kind == "dialogue" and r.meta.get("trace")}
    traces, turns = _drop_mentions(store, user_id, {*doomed, *answers}, [*texts, wanted.output])
    store.rows.scrub()
    return Forgotten(tuple(doomed), tuple(artifacts), traces, turns)


_SHORT = 12
"""Shorter texts (yes, thanks) stand everywhere and tell nothing."""


def sources_of(store: Store, user_id: str, record: Record) -> list[str]:
    """Return the ids of the exchanges in which a memory was said."""
    state = states_of(store, user_id, [record.id]).get(record.id)
    return list(dict.fromkeys((*record.meta.get("sources", ()), *(state.sources if state else ()))))


def _with_derived(store: Store, user_id: str, wanted: Record) -> Iterable[Record]:
    yield wanted
    for rid in sources_of(store, user_id, wanted):
        try:
            yield store.find(user_id, rid)
        except NotFound:  # it was deleted before, or the operator keeps no turns
            continue
    for record in store.all_records(user_id):
        rests = wanted.kind != "profile" and _rests_on(store, user_id, record, wanted.id)
        if rests or _quotes(record, wanted.output):
            yield record


def _quotes(record: Record, text: str) -> bool:
    said = orjson.dumps([record.output, record.input, record.meta], option=orjson.OPT_NON_STR_KEYS)
    return len(text) > _SHORT and _written(text) in said.lower()


def _rests_on(store: Store, user_id: str, record: Record, source: str) -> bool:
    return source in record.meta.get("sources", ()) and sources_of(store, user_id, record) == [source]


def _drop_mentions(store: Store, user_id: str, ids: set[str], texts: Sequence[str]) -> tuple[int, int]:
    """Delete the traces and waiting turns in which one of the records or texts appears; return how many of each."""
    key = store.known(user_id)
    marks = [*(rid.encode() for rid in ids), *filter(None, map(_written, texts))]
    with store.rows.write() as tx:
        own = SealedWriter(tx, key)
        found = {plane: _mentioning(own, plane, marks) for plane in (Plane.TRACE, Plane.TURN)}
        for plane, numbers in found.items():
            own.delete(plane, numbers)
        tx.unlink_some(key.uid, found[Plane.TRACE])
        for job in tx.jobs(key.uid):
            if job.cell in found[Plane.TURN]:
                tx.dequeue(job.id)
    return len(found[Plane.TRACE]), len(found[Plane.TURN])


def _mentioning(own: SealedWriter, plane: Plane, marks: Sequence[bytes]) -> list[int]:
    return [number for number, data in own.all(plane) if any(mark in data.lower() for mark in marks)]


def _written(text: str) -> bytes:
    """Return a text as it stands inside a JSON document in small letters, whatever mark ends it."""
    return orjson.dumps(text.strip(" .!?;,"))[1:-1].lower()
