"""The read-only view of one user that methods are handed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from idiolect.store.index import Snapshot
from idiolect.store.keys import DataKey
from idiolect.store.search import HYBRID, LEXICAL, Ranker, search
from idiolect.store.states import standing_of, states_of, wishes_of
from idiolect.store.store import Store
from idiolect.text.planes import Matrix, Planes
from idiolect.types import EVERYONE, Artifact, Floats, Hit, Kind, Record, State, Wishes


@dataclass
class StoredUser:
    """A :class:`idiolect.types.User` over the store, as of ``now``."""

    store: Store
    id: str
    now: float = float("inf")
    vectors: dict[str, Floats] = field(default_factory=dict)
    """Query vectors already made, by text; several methods ask for the same one."""
    asked: float | None = None
    """The moment of asking, which "yesterday" in a query means; ``now`` counts before it, and without both the wall
    clock does."""

    @cached_property
    def _key(self) -> DataKey | None:
        return self.store.key(self.id)

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Persona-level groups, the narrowest first."""
        if self._key is None:
            return ()
        with self.store.rows.read() as tx:
            row = tx.user(self._key.uid)
        return () if row is None else tuple(self.store.about(self._key, row)["groups"])

    @cached_property
    def count(self) -> int:
        """Number of records before ``now``; without a limit the history is not read for it."""
        if self._key is None or np.isfinite(self.now):
            return len(self.history)
        with self.store.rows.read() as tx:
            row = tx.user(self._key.uid)
        return 0 if row is None else row.live

    @cached_property
    def history(self) -> Sequence[Record]:
        """All records before ``now``, oldest first."""
        found = [record for record in self.store.all_records(self.id) if record.time < self.now]
        return sorted(found, key=lambda record: (record.time, record.id))

    @cached_property
    def artifacts(self) -> Sequence[Artifact]:
        """Artifacts made before ``now``, newest first; after the own ones those of everyone."""
        found = [*self.store.artifacts(self.id), *self.store.artifacts(EVERYONE)]
        return [artifact for artifact in found if artifact.time < self.now]

    def before(self, time: float) -> StoredUser:
        """Return the same person as of ``time``, never later than ``now``."""
        return StoredUser(self.store, self.id, min(time, self.now), self.vectors, self.asked)

    def mean_vector(self, latest: int = 100, only: Collection[str] | None = None) -> Floats | None:
        """Return the mean of the newest records' vectors as a unit vector ``[dim]``, ``None`` without any.

        ``only`` limits it to the records of these ids.
        """
        found = self._vectors_and_rows(only or ())
        if found is None:
            return None
        snap, vectors, numbers = found
        seen = snap.visible(self.now)
        rows = np.flatnonzero(vectors.present if seen is None else seen & vectors.present)
        if only is not None:
            rows = np.intersect1d(rows, np.array(list(numbers.values()), np.int64))
        rows = rows[np.argsort(snap.time[rows], kind="stable")][-latest:]
        mean = vectors.take(rows).sum(axis=0, dtype=np.float32)  # [dim]
        norm = float(np.linalg.norm(mean))
        return None if norm == 0 else (mean / norm).astype(np.float32)

    @property
    def _asked(self) -> float:
        if np.isfinite(self.now):
            return self.now
        return time.time() if self.asked is None else self.asked

    def _vector(self, query: str) -> Floats | None:
        embedder = self.store.embedder
        if embedder is None or not query.strip():
            return None
        if query not in self.vectors:
            self.vectors[query] = embedder.embed([query])[0]
        return self.vectors[query]

    def search(self, query: str, k: int = 10, *, kinds: Sequence[Kind] = (), ranker: Ranker | None = None) -> list[Hit]:
        """Return the ``k`` best records for ``query`` in falling score, exactly."""
        key = self._key
        if key is None:
            return []
        vector = self._vector(query)
        with self.store.rows.read() as tx:
            row = tx.user(key.uid)
            if row is None:
                self.store.keyring.forget(self.id)
                return []
            about = self.store.about(key, row)
            same = self.store.embedder is not None and about["embedder"] == self.store.embedder.fingerprint
            snap = self.store.snapshot(tx, key, row)
            chosen = ranker or (HYBRID if vector is not None and same else LEXICAL)
            found = search(
                snap, query, vector if same else None, k, now=self.now, asked=self._asked, kinds=kinds, ranker=chosen
            )
            records = self.store.records(self.id, (f.row for f in found), tx, key)
        return [Hit(record, f.score, f.parts) for record, f in zip(records, found, strict=True)]

    def since(self, time: float) -> list[Record]:
        """Return the records from ``time`` on and before ``now``, oldest first; the others are not read."""
        key = self._key
        if key is None:
            return []
        with self.store.rows.read() as tx:
            row = tx.user(key.uid)
            if row is None:
                return []
            snap = self.store.snapshot(tx, key, row)
            seen = snap.visible(self.now)
            wanted = snap.time >= time if seen is None else seen & (snap.time >= time)
            found = self.store.records(self.id, np.flatnonzero(wanted).tolist(), tx, key)
        return sorted(found, key=lambda record: (record.time, record.id))

    def states(self, record_ids: Sequence[str]) -> Mapping[str, State]:
        """Return what has happened to some records, to this day; :meth:`State.holds` says what held at ``now``."""
        return states_of(self.store, self.id, record_ids)

    @cached_property
    def standing(self) -> Sequence[Record]:
        """The records that are always in mind and hold now, oldest first."""
        records, states = standing_of(self.store, self.id)
        held = [r for r in records if r.time < self.now and states.get(r.id, State()).holds(self._asked)]
        return sorted(held, key=lambda record: (record.time, record.id))

    @cached_property
    def slots(self) -> Mapping[str, str]:
        """For what a person has one of at a time the id of the newest record."""
        return dict(self.store.facts(self.id).get("slots", {}))

    @cached_property
    def wishes(self) -> Wishes:
        """What the person wants of their memory."""
        return wishes_of(self.store, self.id)

    def neighbours(self, record_id: str, before: int = 1, after: int = 1) -> list[Record]:
        """Return the records around one, in its own session, oldest first, itself included."""
        key = self._key
        if key is None:
            return []
        with self.store.rows.read() as tx:
            row = tx.user(key.uid)
            number = tx.find(key.uid, [key.mac(record_id)])
            if row is None or not number:
                return []
            snap = self.store.snapshot(tx, key, row)
            rows = snap.neighbours(next(iter(number.values())), before, after)
            records = self.store.records(self.id, rows, tx, key)
        return [record for record in records if record.time < self.now]

    def embedded(self, record_ids: Sequence[str]) -> Floats | None:
        """Return the stored vectors ``[len(record_ids), dim]``, zeros for a record without one or not before ``now``.

        ``None`` where the store keeps no vectors of the embedder that is in use.
        """
        found, embedder = self._vectors_and_rows(record_ids), self.store.embedder
        if found is None or embedder is None:
            return None
        snap, vectors, numbers = found
        at = [(place, numbers[rid]) for place, rid in enumerate(record_ids) if rid in numbers]
        at = [(place, n) for place, n in at if snap.time[n] < self.now]
        out = np.zeros((len(record_ids), embedder.dim), np.float32)
        out[[place for place, _ in at]] = vectors.take(np.array([n for _, n in at], np.intp))
        return out

    def _vectors_and_rows(self, record_ids: Collection[str]) -> tuple[Snapshot, Planes | Matrix, dict[str, int]] | None:
        """Return the index, its vectors if they are of the embedder in use, and the rows of some records."""
        key, embedder = self._key, self.store.embedder
        if key is None or embedder is None:
            return None
        with self.store.rows.read() as tx:
            row = tx.user(key.uid)
            if row is None or self.store.about(key, row)["embedder"] != embedder.fingerprint:
                return None
            snap = self.store.snapshot(tx, key, row)
            macs = {key.mac(rid): rid for rid in record_ids}
            found = tx.find(key.uid, list(macs))
        return None if snap.vectors is None else (snap, snap.vectors, {macs[mac]: n for mac, n in found.items()})


def view(store: Store, user_id: str, now: float | None = None, asked: float | None = None) -> StoredUser:
    """Open a view; without ``now`` everything is visible. ``asked`` is the moment of asking."""
    return StoredUser(store, user_id, np.inf if now is None else now, asked=asked)


@dataclass(frozen=True)
class Views:
    """Views of many people, each opened when it is asked for; how many there are is known before."""

    store: Store
    users: Sequence[str]
    asked: float | None = None

    def __iter__(self) -> Iterator[StoredUser]:
        return (view(self.store, user, asked=self.asked) for user in self.users)

    def __length_hint__(self) -> int:
        return len(self.users)

    def told(self, progress: Callable[[int, int], None] | None) -> Iterator[StoredUser]:
        """Yield the views, and tell of each (done, of all) once the next is asked for."""
        for done, user in enumerate(self, 1):
            yield user
            if progress is not None:
                progress(done, len(self.users))
