"""What a database must do for the store: sealed cells addressed by (user, plane, number).

A driver knows nothing of encryption, vectors or records. Everything of one user lies together because the address
begins with the user; a second driver (Postgres) implements the two protocols below and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

MAX_UID = 1 << 31
MAX_NUMBER = 1 << 28


class Plane(IntEnum):
    """What kind of cell it is."""

    ITEM = 0  # one record
    TAIL = 1  # index entry of a record that is not in a chunk yet
    SCAN = 2  # a chunk's columns and postings
    COARSE = 3  # a chunk's int8 vectors
    FINE = 4  # a chunk's int16 remainders
    ARTIFACT = 5
    TRACE = 6
    STATE = 7  # what happened to a record since it was written
    TURN = 8  # a finished turn that waits to be learnt from
    BODY = 9  # weights of the artifact with the same number


@dataclass(frozen=True, slots=True)
class UserRow:
    """The one plain row of a user: counters only.

    ``version`` rises with every change, ``epoch`` with every change that is not an append. Items ``[0, tail)`` are in
    chunks, ``[tail, items)`` in the tail. ``about`` is a sealed cell (name, groups, embedder).
    """

    uid: int
    version: int = 0
    epoch: int = 0
    items: int = 0
    tail: int = 0
    live: int = 0
    artifacts: int = 0
    traces: int = 0
    about: bytes = b""


@dataclass(frozen=True, slots=True)
class Job:
    """A turn that waits to be learnt from: ``due`` [s since the epoch] is infinite for one that was given up."""

    id: int
    uid: int
    due: float
    tries: int

    @property
    def cell(self) -> int:
        """Number of its cell."""
        return self.id % MAX_NUMBER


class Reader(Protocol):
    """A consistent snapshot."""

    def user(self, uid: int) -> UserRow | None:
        """Return the user's row."""

    def cells(self, uid: int, plane: Plane, start: int = 0, stop: int = MAX_NUMBER) -> list[tuple[int, bytes]]:
        """Return the cells with ``start <= number < stop`` in rising order."""

    def cell(self, uid: int, plane: Plane, number: int) -> bytes | None:
        """Return one cell."""

    def pick(self, uid: int, plane: Plane, numbers: Sequence[int]) -> dict[int, bytes]:
        """Return some cells by number; those that do not exist are left out."""

    def count(self, uid: int, plane: Plane) -> int:
        """Return the number of cells."""

    def find(self, uid: int, macs: Sequence[bytes]) -> dict[bytes, int]:
        """Return the item numbers of those keyed record hashes that are known."""

    def trace(self, trace_id: bytes) -> tuple[int, int] | None:
        """Return (user, number) of a trace."""

    def jobs(self, uid: int | None = None) -> list[Job]:
        """Return the turns that wait, of one user or of all, in the order in which they came."""


class Writer(Reader, Protocol):
    """A write transaction: all of it becomes durable, or nothing."""

    def put_user(self, row: UserRow) -> None:
        """Insert or replace a user's row."""

    def put(self, uid: int, plane: Plane, cells: Iterable[tuple[int, bytes]]) -> None:
        """Insert or replace cells."""

    def delete(self, uid: int, plane: Plane, numbers: Iterable[int]) -> None:
        """Delete cells."""

    def link(self, uid: int, pairs: Iterable[tuple[bytes, int]]) -> None:
        """Remember keyed record hashes."""

    def unlink(self, uid: int, macs: Iterable[bytes]) -> None:
        """Forget keyed record hashes."""

    def link_trace(self, trace_id: bytes, uid: int, number: int) -> None:
        """Remember where a trace lies."""

    def unlink_traces(self, uid: int, below: int) -> None:
        """Forget a user's traces with a smaller number."""

    def unlink_some(self, uid: int, numbers: Iterable[int]) -> None:
        """Forget some of a user's traces by number."""

    def enqueue(self, uid: int, due: float) -> Job:
        """Let a turn wait; its number is never given again."""

    def claim(self, now: float, until: float) -> list[Job]:
        """Take the due turns of the user whose turn has waited longest; nobody else takes that user's before ``until``.

        Users of whom somebody else holds turns are passed over.
        """

    def postpone(self, job: Job, due: float, tries: int) -> None:
        """Give a turn back, to be taken again at ``due``."""

    def dequeue(self, job_id: int) -> bool:
        """Take a turn from the queue for good; return whether it was still there."""

    def drop(self, uid: int) -> dict[str, int]:
        """Delete everything of a user; return how many rows of what."""


class Rows(Protocol):
    """A database."""

    def read(self) -> AbstractContextManager[Reader]:
        """Open a snapshot."""

    def write(self) -> AbstractContextManager[Writer]:
        """Open a write transaction; it is durable when the block ends without an error."""

    def uids(self, after: int = 0, limit: int = 1000) -> list[int]:
        """User numbers in rising order, for paging."""

    def check(self) -> None:
        """Raise :class:`StoreCorrupt` where the database is damaged."""

    def size(self) -> int:
        """Bytes on disk."""

    def scrub(self) -> None:
        """Let nothing of what was deleted stay on the disk, not even sealed."""

    def close(self) -> None:
        """Close all connections."""
