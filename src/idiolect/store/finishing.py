"""Finished answers: the trace of what shaped each, and the turn that waits to be learnt from, in one commit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from idiolect.store.rows import Job, Plane, Reader
from idiolect.store.sealed import SealedReader, SealedWriter

if TYPE_CHECKING:
    from idiolect.store.store import Store

TRACES_KEPT = 1000
LEASE = 120.0
"""Seconds for which a process has a user's waiting turns to itself; learning twice would be lost work only."""
TRIES = 6
"""After so many failures a turn waits for somebody to look at it."""
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 3600.0


@dataclass(frozen=True, slots=True)
class Finished:
    """One answer: ``turn`` is there where it is to be learnt from, ``number`` is the user's number when it was planned.

    A user who was erased since, and maybe came anew, has another number: nothing is kept then. 0 is for a new user.
    """

    user_id: str
    number: int = 0
    trace_id: str = ""
    trace: bytes = b""
    turn: bytes = b""
    """Both as JSON: what cannot be written so must not hold up what others said."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A turn taken from the queue, or looked at."""

    job: Job
    user_id: str
    turn: Mapping[str, Any]


def keep_finished(store: Store, finished: Sequence[Finished], now: float) -> None:
    """Keep traces and turns of any number of users in one transaction; durable when this returns."""
    of_user: dict[str, list[Finished]] = {}
    for one in finished:
        if one.number == 0 or store.exists(one.user_id, one.number):
            of_user.setdefault(one.user_id, []).append(one)
    keys = store.keyring.ensure(of_user)
    with store.rows.write() as tx:
        for key, (user_id, new) in zip(keys, of_user.items(), strict=True):
            key, row = store.row(tx, user_id, key)
            own = SealedWriter(tx, key)
            traced = [one for one in new if one.trace]
            first, end = row.traces, row.traces + len(traced)
            own.put(Plane.TRACE, [(n, one.trace) for n, one in enumerate(traced, first)])
            for n, one in enumerate(traced, first):
                tx.link_trace(bytes.fromhex(one.trace_id), key.uid, n)
            if end > TRACES_KEPT:
                own.delete(Plane.TRACE, range(max(0, first - TRACES_KEPT), end - TRACES_KEPT))
                tx.unlink_traces(key.uid, end - TRACES_KEPT)
            turns = [one.turn for one in new if one.turn]
            own.put(Plane.TURN, [(tx.enqueue(key.uid, now).cell, turn) for turn in turns])
            tx.put_user(replace(row, traces=end))


def claim(store: Store, now: float) -> list[Waiting]:
    """Take the due turns of the user who has waited longest, in order; nobody else gets them for :data:`LEASE` s."""
    with store.rows.write() as tx:
        jobs = tx.claim(now, now + LEASE)
        found = [_opened(store, tx, job) for job in jobs]
        for job, one in zip(jobs, found, strict=True):
            if one is None:  # the key is gone, and with it whatever the turn said
                tx.dequeue(job.id)
    return [one for one in found if one is not None]


def put_back(store: Store, job: Job, now: float) -> float:
    """Let a turn wait again after a failure, longer each time; return until when, infinite for one given up."""
    tries = job.tries + 1
    due = now + min(_LONGEST_PAUSE, _FIRST_PAUSE * 4**job.tries) if tries < TRIES else float("inf")
    with store.rows.write() as tx:
        tx.postpone(job, due, tries)
    return due


def retry(store: Store, now: float) -> int:
    """Let every turn that failed be tried again at once; return how many."""
    with store.rows.write() as tx:
        failed = [job for job in tx.jobs() if job.tries]
        for job in failed:
            tx.postpone(job, now, 0)
    return len(failed)


def waiting(store: Store, user_id: str | None = None) -> list[Job]:
    """Return the turns that wait, of one user or of all; they name nobody and hold no text."""
    key = None if user_id is None else store.known(user_id)
    with store.rows.read() as tx:
        return tx.jobs(None if key is None else key.uid)


@dataclass(frozen=True, slots=True)
class Queue:
    """How many turns wait: ``new`` ones, ``failed`` ones that are tried again, and those that were ``given_up``.

    ``next_try`` [s since the epoch] is when the first of the failed ones is due, ``None`` where there is none.
    """

    new: int
    failed: int
    given_up: int
    next_try: float | None


def queue(store: Store) -> Queue:
    """Return how many turns of all users wait to be learnt from."""
    jobs = waiting(store)
    due = [job.due for job in jobs if job.tries and not math.isinf(job.due)]
    given_up = sum(math.isinf(job.due) for job in jobs)
    return Queue(len(jobs) - len(due) - given_up, len(due), given_up, min(due, default=None))


def _opened(store: Store, tx: Reader, job: Job) -> Waiting | None:
    key = store.keyring.by_uid(job.uid)
    row = tx.user(job.uid)
    if key is None or row is None:
        return None
    data = SealedReader(tx, key).get(Plane.TURN, job.cell)
    return None if data is None else Waiting(job, str(store.about(key, row)["id"]), orjson.loads(data))
