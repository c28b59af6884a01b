"""One user's index in memory: columns, postings and vectors of all their records, exact and complete.

It is built from sealed chunks and tail entries, kept for as long as the store's cache has room, and brought up to date
by reading only what was appended since. Row ``i`` is item ``i``; nothing here ever sees another user.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from idiolect.store.packing import pack, unpack
from idiolect.text.planes import Planes
from idiolect.text.postings import Postings
from idiolect.types import KINDS

CHUNK = 256
"""Records in a full chunk."""

GAP = 2
"""Empty positions between sessions in a :class:`Layout`: the reach of the windows."""

DEAD = 255
"""Kind code of a deleted record."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index holds of one record."""

    time: float
    session: int  # hash of the session, 0 for none
    speaker: int  # hash of the speaker's name, 0 for the user
    kind: int  # position in KINDS, or DEAD
    terms: Sequence[int]
    vector: Floats | None


@dataclass(frozen=True, slots=True)
class Segment:
    """The entries of consecutive records as arrays."""

    time: npt.NDArray[np.float64]
    session: npt.NDArray[np.int64]
    speaker: npt.NDArray[np.int64]
    kind: npt.NDArray[np.uint8]
    postings: Postings
    planes: Planes | None

    @property
    def n(self) -> int:
        """Number of records."""
        return len(self.time)

    @staticmethod
    def build(entries: Sequence[Entry], dim: int) -> Segment:
        """Make a segment; ``dim`` 0 leaves vectors out."""
        planes = None
        if dim:
            vectors = np.zeros((len(entries), dim), np.float32)
            for row, entry in enumerate(entries):
                if entry.vector is not None and len(entry.vector) == dim:
                    vectors[row] = entry.vector
            planes = Planes.encode(vectors)
        return Segment(
            np.array([e.time for e in entries], np.float64),
            np.array([e.session for e in entries], np.int64),
            np.array([e.speaker for e in entries], np.int64),
            np.array([e.kind for e in entries], np.uint8),
            Postings.build([() if e.kind == DEAD else e.terms for e in entries]),
            planes,
        )

    @staticmethod
    def concat(parts: Sequence[Segment]) -> Segment:
        """Join segments of consecutive records."""
        if len(parts) == 1:
            return parts[0]
        planes = [p.planes for p in parts if p.planes is not None]
        return Segment(
            np.concatenate([p.time for p in parts]),
            np.concatenate([p.session for p in parts]),
            np.concatenate([p.speaker for p in parts]),
            np.concatenate([p.kind for p in parts]),
            Postings.concat([p.postings for p in parts]),
            Planes.concat(planes) if len(planes) == len(parts) else None,
        )

    def part(self, start: int, stop: int) -> Segment:
        """Return the rows ``start:stop``."""
        if start == 0 and stop == self.n:
            return self
        rows = slice(start, stop)
        planes = None if self.planes is None else self.planes.part(start, stop)
        return Segment(
            self.time[rows], self.session[rows], self.speaker[rows], self.kind[rows],
            self.postings.part(start, stop), planes,
        )  # fmt: skip

    def without(self, rows: Sequence[int]) -> Segment:
        """Return the segment with some rows emptied: no terms, no vector, no session."""
        keep = np.ones(self.n, bool)
        keep[list(rows)] = False
        planes = self.planes
        if planes is not None:
            planes = Planes(
                planes.hi * keep[:, None], planes.lo * keep[:, None], planes.scale * keep, planes.error * keep
            )
        kind = np.where(keep, self.kind, np.uint8(DEAD))
        postings = self.postings.without(rows)
        return Segment(self.time * keep, self.session * keep, self.speaker * keep, kind, postings, planes)

    def scan_cell(self) -> bytes:
        """Pack columns and postings."""
        p = self.postings
        return pack(
            {
                "time": self.time, "session": self.session, "speaker": self.speaker, "kind": self.kind,
                "vocab": p.vocab, "starts": p.starts, "docs": p.docs.astype(np.uint16), "counts": p.counts,
                "lengths": p.lengths,
            }
        )  # fmt: skip

    def vector_cells(self) -> tuple[bytes, bytes] | None:
        """Pack the coarse and the fine plane."""
        if self.planes is None:
            return None
        v = self.planes
        return pack({"scale": v.scale, "error": v.error, "hi": v.hi}), pack({"lo": v.lo})

    @staticmethod
    def from_cells(scan: bytes, coarse: bytes | None, fine: bytes | None) -> Segment:
        """Unpack what :meth:`scan_cell` and :meth:`vector_cells` made."""
        a = unpack(scan)
        postings = Postings(a["vocab"], a["starts"], a["docs"].astype(np.uint32), a["counts"], a["lengths"])
        planes = None
        if coarse is not None and fine is not None:
            c = unpack(coarse)
            planes = Planes(c["hi"], unpack(fine)["lo"], c["scale"], c["error"])
        return Segment(a["time"], a["session"], a["speaker"], a["kind"], postings, planes)


class Growing:
    """A column that grows in place; readers hold views of its first ``n`` rows, which never change."""

    __slots__ = ("_data", "n")

    def __init__(self, width: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._data = np.zeros((0, *width), dtype)
        self.n = 0

    def extend(self, rows: npt.NDArray[Any]) -> None:
        """Append rows."""
        need = self.n + len(rows)
        if need > len(self._data):
            grown = np.zeros((max(need, len(self._data) * 3 // 2), *self._data.shape[1:]), self._data.dtype)
            grown[: self.n] = self._data[: self.n]
            self._data = grown
        self._data[self.n : need] = rows
        self.n = need

    @property
    def view(self) -> npt.NDArray[Any]:
        """The rows so far."""
        return self._data[: self.n]

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self._data.nbytes


@dataclass(frozen=True, slots=True)
class Layout:
    """The rows in conversation order, with gaps, so that a window over neighbours is a plain shift.

    ``order`` [n] lists the rows session by session, by time within one; rows without a session come last. ``place``
    [n] is where ``order``'s entries stand among ``size`` positions: ``GAP`` empty ones lie between sessions and none
    between the rows without a session, which start at ``solo`` (a position) and at ``joined`` (an entry of ``order``).
    ``starts`` are the first entries of the sessions, ``rank`` [joined] the session number of each entry.
    """

    order: npt.NDArray[np.intp]
    place: npt.NDArray[np.intp]
    place_of_row: npt.NDArray[np.intp]
    size: int
    solo: int
    joined: int
    starts: npt.NDArray[np.intp]
    rank: npt.NDArray[np.intp]

    @staticmethod
    def of(session: npt.NDArray[np.int64], time: npt.NDArray[np.float64]) -> Layout:
        """Lay out rows by session and time."""
        order = np.lexsort((time, session, session == 0))
        sorted_session = session[order]
        joined = int(np.count_nonzero(sorted_session))
        head = sorted_session[:joined]
        new = np.concatenate([[True], head[1:] != head[:-1]]) if joined else np.zeros(0, bool)
        rank = np.cumsum(new) - 1
        solo = joined + GAP * (int(rank[-1]) + 2) if joined else GAP
        place = np.concatenate([np.arange(joined) + GAP * (rank + 1), solo + np.arange(len(order) - joined)])
        place_of_row = np.empty(len(order), np.intp)
        place_of_row[order] = place
        return Layout(order, place, place_of_row, solo + len(order) - joined, solo, joined, np.flatnonzero(new), rank)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The index at one moment; safe to search while another thread appends."""

    time: npt.NDArray[np.float64]
    session: npt.NDArray[np.int64]
    speaker: npt.NDArray[np.int64]
    kind: npt.NDArray[np.uint8]
    layout: Layout
    postings: tuple[Postings, ...]
    lengths: npt.NDArray[np.uint32]  # [n] terms
    planes: Planes | None
    speakers: frozenset[int]
    oldest: float
    newest: float
    dead: int
    memo: dict[Any, Any] = field(default_factory=dict)
    """What a search worked out that depends on the rows alone."""

    @property
    def n(self) -> int:
        """Number of rows, deleted ones included."""
        return len(self.time)

    def visible(self, now: float, kinds: Sequence[str] = ()) -> npt.NDArray[np.bool_] | None:
        """Return which rows a query at ``now`` may see; ``None`` means all."""
        if not self.dead and not kinds and now > self.newest:
            return None
        mask: npt.NDArray[np.bool_] = (self.time < now) & (self.kind != DEAD)
        if kinds:
            mask &= np.isin(self.kind, [KINDS.index(kind) for kind in kinds])
        return mask

    def neighbours(self, row: int, before: int, after: int) -> list[int]:
        """Return the rows around one in its session, oldest first, itself included."""
        layout = self.layout
        at = int(layout.place_of_row[row])
        if at >= layout.solo:
            return [row]
        entry = at - GAP * (int(layout.rank[np.searchsorted(layout.place[: layout.joined], at)]) + 1)
        rank = layout.rank[entry]
        span = range(max(0, entry - before), min(layout.joined, entry + after + 1))
        return [int(layout.order[e]) for e in span if layout.rank[e] == rank]


class UserIndex:
    """The growing index of one user, with the user row's counters it stands for."""

    def __init__(self, epoch: int, dim: int) -> None:
        self.epoch, self.dim = epoch, dim
        self.lock = threading.Lock()
        self._columns = {
            "time": Growing((), np.float64),
            "session": Growing((), np.int64),
            "speaker": Growing((), np.int64),
            "kind": Growing((), np.uint8),
        }
        self._vectors = (
            (Growing((dim,), np.int8), Growing((dim,), np.int16), Growing((), np.float32), Growing((), np.float32))
            if dim
            else None
        )
        self._segments: list[Postings] = []
        self._snapshot: Snapshot | None = None

    @property
    def n(self) -> int:
        """Rows so far."""
        return self._columns["time"].n

    @property
    def nbytes(self) -> int:
        """Memory held, roughly."""
        postings = sum(p.vocab.nbytes + p.starts.nbytes + p.docs.nbytes + p.counts.nbytes for p in self._segments)
        vectors = sum(g.nbytes for g in self._vectors) if self._vectors else 0
        return postings + vectors + sum(c.nbytes for c in self._columns.values()) + 16 * self.n

    def extend(self, segments: Iterable[Segment]) -> None:
        """Append segments; the caller holds ``lock``."""
        new = list(segments)
        if not new:
            return
        for segment in new:
            for name, column in self._columns.items():
                column.extend(getattr(segment, name))
            if self._vectors:
                planes = segment.planes or Planes.missing(segment.n, self.dim)
                arrays: list[npt.NDArray[Any]] = [planes.hi, planes.lo, planes.scale, planes.error]
                for column, rows in zip(self._vectors, arrays, strict=True):
                    column.extend(rows)
        self._segments.append(Postings.concat([s.postings for s in new]))
        # Geometric merging: a handful of postings segments whatever the number of appends.
        while len(self._segments) > 1 and self._segments[-2].n < 4 * self._segments[-1].n:
            tail = self._segments.pop()
            self._segments[-1] = Postings.concat([self._segments[-1], tail])
        self._snapshot = None

    def snapshot(self) -> Snapshot:
        """Return the current rows as one consistent value; the caller holds ``lock``."""
        if self._snapshot is None:
            time, session, speaker, kind = (self._columns[c].view for c in ("time", "session", "speaker", "kind"))
            planes = Planes(*(column.view for column in self._vectors)) if self._vectors else None
            lengths = np.concatenate([np.zeros(0, np.uint32), *(p.lengths for p in self._segments)])
            self._snapshot = Snapshot(
                time, session, speaker, kind, Layout.of(session, time),
                tuple(self._segments), lengths, planes, frozenset(np.unique(speaker).tolist()),
                float(time.min(initial=np.inf)), float(time.max(initial=-np.inf)), int((kind == DEAD).sum()),
            )  # fmt: skip
        return self._snapshot
