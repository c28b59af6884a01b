"""The store: records, index, artifacts and traces of every user, sealed with that user's own key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from idiolect.errors import InputError, NotFound, RecordTooLarge
from idiolect.store import bodies, cells, checkpoints, chunks, states, versions
from idiolect.store.cache import IndexCache
from idiolect.store.index import CHUNK, Entry, Snapshot
from idiolect.store.keys import DataKey, Keyring, MasterKey
from idiolect.store.rows import MAX_NUMBER, Plane, Reader, Rows, UserRow, Writer
from idiolect.store.sealed import SealedReader, SealedWriter
from idiolect.store.sqlite import SqliteRows
from idiolect.types import EVERYONE, Artifact, Embedder, Floats, Learnt, Record

BATCH = 2000
GROUP_CHARS = 200
"""So long may the name of a group be."""
_REMEMBERED = 4096  # users whose opened facts and artifacts are held


@dataclass(frozen=True, slots=True)
class Added:
    """How many records were new and how many were there already."""

    added: int = 0
    known: int = 0

    def __add__(self, other: Added) -> Added:
        return Added(self.added + other.added, self.known + other.known)


@dataclass(frozen=True, slots=True)
class UserInfo:
    """A line of the list of users."""

    id: str
    records: int
    artifacts: int
    groups: tuple[str, ...]
    shares: bool = False
    """Whether their records may serve other people."""


class Store:
    """Users' data over one database and one keyring. Safe to use from several threads and processes."""

    def __init__(self, rows: Rows, keyring: Keyring, embedder: Embedder | None, cache_bytes: int, folder: Path) -> None:
        self.rows, self.keyring, self.embedder, self.folder = rows, keyring, embedder, folder
        self._cache = IndexCache(cache_bytes)
        self._abouts: dict[int, tuple[bytes, Mapping[str, Any]]] = {}
        self._artifacts: dict[int, tuple[tuple[int, int], tuple[Artifact, ...]]] = {}
        self.dropped: Callable[[Sequence[str]], object] = lambda artifact_ids: None
        """Told the ids of artifacts with weights that this process has deleted, after the commit and in its thread."""

    @staticmethod
    def open(
        data: Path, keys: Path, master: MasterKey, embedder: Embedder | None = None, *, cache_bytes: int = 512 << 20
    ) -> Store:
        """Open or create the store under the folders ``data`` and ``keys``."""
        keyring = Keyring(keys / "keyring.db", master)
        return Store(SqliteRows(data / "data.db"), keyring, embedder, cache_bytes, data)

    def close(self) -> None:
        """Close the database and forget all keys."""
        self.rows.close()
        self.keyring.close()

    # -- writing -----------------------------------------------------------------------------------------------

    def add(self, records: Iterable[Record], *, embed: bool = True) -> Added:
        """Append records of any number of users; durable when this returns.

        A record whose id the user already has is counted as known and changes nothing. With ``embed`` off, or
        without an embedder, the records are found by their words until :meth:`embed` is run. Raises
        :class:`RecordTooLarge` before anything of a batch is written.
        """
        total = Added()
        source = iter(records)
        while batch := list(islice(source, BATCH)):
            total += self._add_batch(batch, embed)
        return total

    def _add_batch(self, batch: list[Record], embed: bool) -> Added:
        if any(record.user_id == EVERYONE for record in batch):
            raise InputError(f"{EVERYONE!r} stands for what was learnt from many people; no user can be called so")
        sealed = [cells.dump_record(record) for record in batch]
        entries = self._entries(batch, embed)
        groups: dict[str, list[int]] = {}
        for position, record in enumerate(batch):
            groups.setdefault(record.user_id, []).append(position)
        keys = self.keyring.ensure(groups)
        total = Added()
        with self.rows.write() as tx:
            for (user_id, positions), key in zip(groups.items(), keys, strict=True):
                rows = [(batch[i].id, sealed[i], entries[i]) for i in positions]
                total += self._append(tx, user_id, key, rows, embed and self.embedder is not None)
        return total

    def row(self, tx: Writer, user_id: str, key: DataKey) -> tuple[DataKey, UserRow]:
        """Return the user's row for writing, made where it does not exist."""
        row = tx.user(key.uid)
        if row is None:
            # Another process may have erased the user since the key was cached: never write under a destroyed key.
            self.keyring.forget(user_id)
            key = self.keyring.ensure([user_id])[0]
            row = tx.user(key.uid)
        if row is None:
            about = {"id": user_id, "groups": [], "embedder": "", "dim": 0}
            row = UserRow(key.uid, about=key.box.seal(orjson.dumps(about), b"about|%d" % key.uid))
        return key, row

    def _append(
        self, tx: Writer, user_id: str, key: DataKey, rows: list[tuple[str, bytes, Entry]], embedded: bool
    ) -> Added:
        key, row = self.row(tx, user_id, key)
        if embedded:
            row = self._claim_embedder(tx, key, row)
        macs = {key.mac(rid): position for position, (rid, _, _) in reversed(list(enumerate(rows)))}
        known = tx.find(key.uid, list(macs))
        fresh = sorted((position, mac) for mac, position in macs.items() if mac not in known)
        if not fresh:
            return Added(0, len(rows))
        first = row.items
        if first + len(fresh) >= MAX_NUMBER:
            raise RecordTooLarge(f"user {user_id!r} would have more than {MAX_NUMBER:,} records")
        own = SealedWriter(tx, key)
        own.put(Plane.ITEM, [(n, rows[p][1]) for n, (p, _) in enumerate(fresh, first)])
        tx.link(key.uid, [(mac, n) for n, (_, mac) in enumerate(fresh, first)])
        row = chunks.append(own, row, [rows[p][2] for p, _ in fresh], int(self.about(key, row)["dim"]))
        tx.put_user(replace(row, version=row.version + 1, live=row.live + len(fresh)))
        return Added(len(fresh), len(rows) - len(fresh))

    def delete(self, user_id: str, record_ids: Iterable[str]) -> tuple[int, list[str]]:
        """Delete records and every artifact made from one of them; return how many, and the artifacts' ids.

        Unfinished training may hold something of them: it goes first, all of this user's.
        """
        key = self.known(user_id)
        ids = set(record_ids)
        checkpoints.forget(self, key)
        with self.rows.write() as tx:
            row = tx.user(key.uid)
            if row is None:
                raise NotFound(f"no user {user_id!r}")
            found = tx.find(key.uid, [key.mac(rid) for rid in ids])
            if not found:
                return 0, []
            own = SealedWriter(tx, key)
            row = states.clear(self, own, row, states.record_at(own, user_id, found.values()))
            chunks.blank(own, row, sorted(found.values()), int(self.about(key, row)["dim"]))
            own.delete(Plane.ITEM, found.values())
            tx.unlink(key.uid, found)
            stale = {n: a for n, a in bodies.load(self, own, user_id) if ids.intersection(a.record_ids)}
            bodies.drop(own, stale)
            tx.put_user(replace(row, version=row.version + 1, epoch=row.epoch + 1, live=row.live - len(found)))
        self._cache.drop(key.uid)
        self.dropped(bodies.weights_among(stale.values()))
        return len(found), [artifact.id for artifact in stale.values()]

    def learn(self, user_id: str, learnt: Learnt, job: int = 0) -> Added | None:
        """Keep what was learnt from a turn and take the turn from the queue, all of it or nothing.

        ``None`` where the turn is no longer in the queue: another process has learnt from it, or the user is gone.
        """
        if not (job or learnt.records or learnt.states or learnt.artifacts):
            return Added()
        entries = self._entries(learnt.records)
        rows = [(r.id, cells.dump_record(r), entry) for r, entry in zip(learnt.records, entries, strict=True)]
        artifacts = [bodies.fetched(artifact) for artifact in learnt.artifacts]
        key = self.keyring.ensure([user_id])[0]
        with self.rows.write() as tx:
            if job and not tx.dequeue(job):
                return None
            added = self._append(tx, user_id, key, rows, self.embedder is not None) if rows else Added()
            key, row = self.row(tx, user_id, key)
            own = SealedWriter(tx, key)
            own.delete(Plane.TURN, [job % MAX_NUMBER] if job else [])
            row = states.merge(self, own, row, learnt.states, learnt.records)
            tx.put_user(row)
            kept = [versions.put(self, tx, *self.row(tx, user_id, key), artifact) for artifact in artifacts]
        self.dropped([name for gone in kept for name in gone or ()])
        return added

    def _entries(self, records: Sequence[Record], embed: bool = True) -> list[Entry]:
        vectors: Sequence[Floats | None] = [None] * len(records)
        if embed and records and self.embedder is not None:
            vectors = list(self.embedder.embed([cells.index_text(record) for record in records]))
        return [cells.make_entry(record, vector) for record, vector in zip(records, vectors, strict=True)]

    # -- embedding ---------------------------------------------------------------------------------------------

    def about(self, key: DataKey, row: UserRow) -> Mapping[str, Any]:
        """Return the sealed facts about a user: id, groups, embedder, dim."""
        sealed, about = self._abouts.get(key.uid, (b"", {}))
        if sealed != row.about:
            about = orjson.loads(key.box.open(row.about, b"about|%d" % key.uid))
            if len(self._abouts) >= _REMEMBERED:
                self._abouts.clear()
            self._abouts[key.uid] = row.about, about
        return about

    def with_about(self, key: DataKey, row: UserRow, **changes: Any) -> UserRow:
        """Return the row with sealed facts changed."""
        about = {**self.about(key, row), **changes}
        return replace(row, about=key.box.seal(orjson.dumps(about), b"about|%d" % key.uid))

    def _claim_embedder(self, tx: Writer, key: DataKey, row: UserRow) -> UserRow:
        """Make the store's embedder the user's; vectors of another embedder are dropped, to be made again."""
        assert self.embedder is not None
        about = self.about(key, row)
        if about["embedder"] == self.embedder.fingerprint:
            return row
        if about["embedder"]:
            chunks.drop_vectors(SealedWriter(tx, key), row)
        row = self.with_about(key, row, embedder=self.embedder.fingerprint, dim=self.embedder.dim)
        return replace(row, epoch=row.epoch + 1)

    def embed(self, user_id: str, progress: Callable[[int, int], None] | None = None) -> int:
        """Embed the records that have no vector yet; return how many. Durable chunk by chunk, so it resumes."""
        if self.embedder is None:
            return 0
        key = self.known(user_id)
        with self.rows.write() as tx:
            row = tx.user(key.uid)
            if row is None:
                return 0
            row = self._claim_embedder(tx, key, row)
            if row.items > row.tail:  # pack the tail, so that only chunks are left to fill
                row = chunks.pack(SealedWriter(tx, key), row, (), self.embedder.dim)
            tx.put_user(replace(row, version=row.version + 1))
        done = 0
        for number in range((row.items + CHUNK - 1) // CHUNK):
            done += self._embed_chunk(user_id, key, number)
            if progress is not None:
                progress(min(row.items, (number + 1) * CHUNK), row.items)
        return done

    def _embed_chunk(self, user_id: str, key: DataKey, number: int) -> int:
        assert self.embedder is not None
        dim = self.embedder.dim
        with self.rows.read() as tx:
            missing = chunks.not_embedded(chunks.read_chunk(SealedReader(tx, key), number, dim))
            base = number * CHUNK
            records = self.records(user_id, [base + row for row in missing], tx, key)
        if not records:
            return 0
        made = dict(zip(missing, self.embedder.embed([cells.index_text(r) for r in records]), strict=True))
        with self.rows.write() as tx:
            row = tx.user(key.uid)
            if row is None:
                return 0
            own = SealedWriter(tx, key)
            segment = chunks.read_chunk(own, number, dim)  # again: it may have changed in the meantime
            still = {r: made[r] for r in chunks.not_embedded(segment) if r in made}
            chunks.put_chunk(own, number, chunks.with_vectors(segment, still, dim))
            tx.put_user(replace(row, version=row.version + 1, epoch=row.epoch + 1))
        return len(still)

    # -- reading -----------------------------------------------------------------------------------------------

    def key(self, user_id: str) -> DataKey | None:
        """Return the user's key, ``None`` for an unknown user."""
        return self.keyring.get(user_id)

    def number(self, user_id: str) -> int:
        """Return the user's number, 0 for an unknown user; it is never given to anybody else."""
        key = self.key(user_id)
        return 0 if key is None else key.uid

    def exists(self, user_id: str, number: int) -> bool:
        """Whether a user still has that number; one may have a key and no row yet, where a process died in between."""
        with self.rows.read() as tx:
            if tx.user(number) is not None:
                return True
        self.keyring.forget(user_id)  # another process may have erased the user since the key was cached
        return self.number(user_id) == number

    def known(self, user_id: str) -> DataKey:
        """Return the user's key; raises :class:`NotFound` for an unknown user."""
        key = self.keyring.get(user_id)
        if key is None:
            raise NotFound(f"no user {user_id!r}; see: idiolect users")
        return key

    def snapshot(self, tx: Reader, key: DataKey, row: UserRow) -> Snapshot:
        """Return the user's index as of ``row``, reading only what the cache does not hold."""
        dim = int(self.about(key, row)["dim"])
        index = self._cache.get(key.uid, row, dim)
        with index.lock:
            grown = index.n < row.items
            if grown:
                index.extend(chunks.segments(SealedReader(tx, key), row, index.n, dim), row.items)
            snapshot = index.snapshot()
        if grown:
            self._cache.grew(key.uid, index)
        # Another thread may have read further than this transaction sees.
        return snapshot if snapshot.n <= row.items else snapshot.first(row.items)

    def records(self, user_id: str, numbers: Iterable[int], tx: Reader, key: DataKey) -> list[Record]:
        """Read records by number."""
        wanted = list(numbers)
        found = SealedReader(tx, key).pick(Plane.ITEM, wanted)
        missing = [n for n in wanted if n not in found]
        if missing:
            raise NotFound(f"record number {missing[0]} of user {user_id!r} is gone")
        return [cells.load_record(found[n], user_id) for n in wanted]

    def all_records(self, user_id: str) -> Iterator[Record]:
        """Yield every record of a user in the order in which they came; nothing for an unknown user."""
        key = self.key(user_id)
        start = 0
        while key is not None:
            with self.rows.read() as tx:
                row = tx.user(key.uid)
                found = SealedReader(tx, key).all(Plane.ITEM, start, start + 1000)
                end = 0 if row is None else row.items
            for _, data in found:
                yield cells.load_record(data, user_id)
            start += 1000
            if start >= end:
                return

    def page(self, user_id: str, start: int = 0, limit: int = 100) -> tuple[list[Record], int | None]:
        """Return up to ``limit`` records in the order in which they came, and where the next page starts, if any."""
        key = self.known(user_id)
        found: list[tuple[int, bytes]] = []
        with self.rows.read() as tx:
            row = tx.user(key.uid)
            end = 0 if row is None else row.items
            while start < end and len(found) < limit:
                stop = min(end, start + limit - len(found))
                found += SealedReader(tx, key).all(Plane.ITEM, start, stop)
                start = stop
        return [cells.load_record(data, user_id) for _, data in found], start if start < end else None

    def find(self, user_id: str, record_id: str) -> Record:
        """Return one record by id."""
        key = self.known(user_id)
        with self.rows.read() as tx:
            number = tx.find(key.uid, [key.mac(record_id)])
            if not number:
                raise NotFound(f"user {user_id!r} has no record {record_id!r}")
            return self.records(user_id, number.values(), tx, key)[0]

    def newest(self, user_id: str) -> float:
        """Return the time of the newest record; minus infinity for none."""
        key = self.key(user_id)
        if key is None:
            return -np.inf
        with self.rows.read() as tx:
            row = tx.user(key.uid)
            return -np.inf if row is None else self.snapshot(tx, key, row).newest

    def users(self, after: str = "", limit: int = 1000) -> list[UserInfo]:
        """List users, oldest first, for paging by the last id seen."""
        last = self.key(after)
        out: list[UserInfo] = []
        for uid in self.rows.uids(last.uid if last else 0, limit):
            key = self.keyring.by_uid(uid)
            if key is None:
                continue  # the key is destroyed; the rows of a crashed erase are swept by the next one
            with self.rows.read() as tx:
                row = tx.user(uid)
                made = tx.count(uid, Plane.ARTIFACT)
            about = {} if row is None else self.about(key, row)
            if row is not None and about["id"] != EVERYONE:
                out.append(UserInfo(about["id"], row.live, made, tuple(about["groups"]), about.get("shares", False)))
        return out

    def everybody(self) -> Iterator[UserInfo]:
        """Yield every user, oldest first, read page by page."""
        after = ""
        while page := self.users(after):
            yield from page
            after = page[-1].id

    def facts(self, user_id: str) -> Mapping[str, Any]:
        """Return the sealed facts about a user; nothing for an unknown one."""
        key = self.key(user_id)
        if key is None:
            return {}
        with self.rows.read() as tx:
            row = tx.user(key.uid)
        return {} if row is None else self.about(key, row)

    def set_groups(self, user_id: str, groups: Sequence[str]) -> None:
        """Set the persona-level groups of a user, the narrowest first; :class:`InputError` for a name that is none."""
        for name in groups:
            if not name.strip() or len(name) > GROUP_CHARS or not name.isprintable():
                raise InputError(f"a group is 1 to {GROUP_CHARS} printable characters, not {name!r:.60}")
        self.set_about(user_id, groups=list(dict.fromkeys(groups)))

    def set_about(self, user_id: str, **facts: Any) -> None:
        """Change sealed facts about a user."""
        key = self.keyring.ensure([user_id])[0]
        with self.rows.write() as tx:
            key, row = self.row(tx, user_id, key)
            tx.put_user(replace(self.with_about(key, row, **facts), version=row.version + 1))

    # -- artifacts ---------------------------------------------------------------------------------------------

    def put_artifacts(self, artifacts: Iterable[Artifact]) -> int:
        """Keep artifacts, each as soon as it comes; one that is there already changes nothing. Return how many are new.

        Of one method with the same settings the newest 20 are kept, of those with weights 3, of what else is large or
        of everyone 2.
        """
        added = 0
        for artifact in map(bodies.fetched, artifacts):
            key = self.keyring.ensure([artifact.user_id])[0]
            with self.rows.write() as tx:
                gone = versions.put(self, tx, *self.row(tx, artifact.user_id, key), artifact)
            self.dropped(gone or [])
            added += gone is not None
        return added

    def artifacts(self, user_id: str) -> list[Artifact]:
        """Return a user's artifacts, newest first.

        Bodies are not read until they are asked for; ``read`` then raises :class:`NotFound` where the artifact was
        deleted meanwhile, :class:`StoreCorrupt` where the body does not verify.
        """
        key = self.key(user_id)
        if key is None:
            return []
        with self.rows.read() as tx:
            row = tx.user(key.uid)
            state = (0, 0) if row is None else (row.epoch, row.artifacts)
            held = self._artifacts.get(key.uid)
            if held is None or held[0] != state:
                if len(self._artifacts) >= _REMEMBERED:
                    self._artifacts.clear()
                found = tuple(a for _, a in reversed(bodies.load(self, SealedReader(tx, key), user_id)))
                held = self._artifacts[key.uid] = (state, found)
        return list(held[1])

    def delete_artifacts(self, user_id: str, artifact_ids: Iterable[str]) -> int:
        """Delete artifacts by id; return how many there were."""
        key, ids = self.known(user_id), set(artifact_ids)
        with self.rows.write() as tx:
            row = tx.user(key.uid)
            own = SealedWriter(tx, key)
            gone = {n: a for n, a in bodies.load(self, own, user_id) if a.id in ids}
            bodies.drop(own, gone)
            if row is not None and gone:
                tx.put_user(replace(row, version=row.version + 1, epoch=row.epoch + 1))
        self.dropped(bodies.weights_among(gone.values()))
        return len(gone)

    # -- traces ------------------------------------------------------------------------------------------------

    def trace(self, trace_id: str) -> dict[str, Any]:
        """Return a trace by id."""
        missing = NotFound(f"no trace {trace_id!r}; traces of erased users are gone, and old ones are dropped")
        try:
            raw = bytes.fromhex(trace_id)
        except ValueError:
            raise missing from None
        with self.rows.read() as tx:
            at = tx.trace(raw)
            data = None if at is None else tx.cell(at[0], Plane.TRACE, at[1])
        key = None if at is None else self.keyring.by_uid(at[0])
        if at is None or data is None or key is None:
            raise missing
        return dict(orjson.loads(key.box.open(data, cells.place(at[0], Plane.TRACE, at[1]))))

    def traces(self, user_id: str) -> list[dict[str, Any]]:
        """Return a user's traces, oldest first."""
        key = self.key(user_id)
        if key is None:
            return []
        with self.rows.read() as tx:
            return [orjson.loads(data) for _, data in SealedReader(tx, key).all(Plane.TRACE)]

    def drop_cached(self, user_id: str) -> None:
        """Forget a user's key and index in this process."""
        key = self.key(user_id)
        if key is not None:
            self._cache.drop(key.uid)
            self._abouts.pop(key.uid, None)
            self._artifacts.pop(key.uid, None)
        self.keyring.forget(user_id)
