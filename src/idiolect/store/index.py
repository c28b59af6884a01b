"""One user's index in memory: columns, postings and vectors of all their records, exact and complete.

It is built from sealed chunks and tail entries, kept for as long as the store's cache has room, and brought up to date
by reading only what was appended since. Row ``i`` is item ``i``; nothing here ever sees another user.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from idiolect.store.packing import pack, unpack
from idiolect.text.planes import Matrix, Planes
from idiolect.text.postings import Postings
from idiolect.types import KINDS

CHUNK = 256
"""Records in a full chunk."""

GAP = 2
"""Empty positions between sessions in a :class:`Layout`: the reach of the windows."""

DEAD = 255
"""Kind code of a deleted record."""

_FEW = 64  # new rows are put in their places one by one up to so many, else all are sorted again
_NBYTES_A_ROW = 80  # the layout, and what searches remember of it

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
        self._data = np.empty((0, *width), dtype)
        self.n = 0

    def reserve(self, rows: int) -> None:
        """Make room for so many rows in all, and for some more to come."""
        if rows > len(self._data):
            grown = np.empty((rows + rows // 8, *self._data.shape[1:]), self._data.dtype)
            grown[: self.n] = self._data[: self.n]
            self._data = grown

    def extend(self, rows: npt.NDArray[Any]) -> None:
        """Append rows."""
        need = self.n + len(rows)
        self.reserve(need)
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

    ``order`` [n] lists the rows session by session, by time within one; rows without a session come last.
    ``place_of_row`` [n] is where a row stands among ``size`` positions: ``GAP`` empty ones lie around every session,
    none between the rows without a session, which begin at position ``solo``, entry ``joined`` of ``order``.
    ``starts`` [sessions + 1] are the sessions' first positions, then ``solo``; ``session_at`` [solo] is the number of
    the session that a position, or the one before its gap, belongs to. ``row_at`` [size] is the row, 0 in a gap.
    """

    order: npt.NDArray[np.intp]
    place_of_row: npt.NDArray[np.intp]
    row_at: npt.NDArray[np.intp]
    size: int
    solo: int
    joined: int
    starts: npt.NDArray[np.intp]
    session_at: npt.NDArray[np.intp]

    @staticmethod
    def of(session: npt.NDArray[np.int64], time: npt.NDArray[np.float64]) -> Layout:
        """Lay out rows by session and time."""
        return Layout._of(np.lexsort((time, session, session == 0)), session)

    def grown(self, session: npt.NDArray[np.int64], time: npt.NDArray[np.float64]) -> Layout:
        """Lay out the same rows and the ones that came after them; equal to :meth:`of`."""
        old = len(self.order)
        if not 0 < len(session) - old <= _FEW:
            return self if len(session) == old else Layout.of(session, time)
        added = old + np.lexsort((time[old:], session[old:], session[old:] == 0))
        at = [self._entry(session, time, int(row)) for row in added]
        return Layout._of(np.insert(self.order, at, added), session)

    def _entry(self, session: npt.NDArray[np.int64], time: npt.NDArray[np.float64], row: int) -> int:
        """Return which entry of ``order`` a newer row comes before."""
        if session[row]:
            first, stop = self._span(session, int(session[row]))
        else:
            first, stop = self.joined, len(self.order)
        return first + int(np.searchsorted(time[self.order[first:stop]], time[row], "right"))

    def _span(self, session: npt.NDArray[np.int64], wanted: int) -> tuple[int, int]:
        """Return the entries of a session, empty where it would come if it is not there."""
        number = int(np.searchsorted(session[self.row_at[self.starts[:-1]]], wanted))
        first = int(self.starts[number]) - GAP * (number + 1)
        if number + 1 == len(self.starts) or session[self.row_at[self.starts[number]]] != wanted:
            return first, first
        return first, int(self.starts[number + 1]) - GAP * (number + 2)

    @staticmethod
    def _of(order: npt.NDArray[np.intp], session: npt.NDArray[np.int64]) -> Layout:
        in_order = session[order]
        joined = int(np.count_nonzero(in_order))
        new = np.empty(joined, np.bool_)
        new[:1] = True
        np.not_equal(in_order[1:joined], in_order[: max(0, joined - 1)], out=new[1:])
        number = np.cumsum(new)  # from 1
        heads = np.flatnonzero(new)
        solo = joined + GAP * (len(heads) + 1)
        starts = np.empty(len(heads) + 1, np.intp)
        starts[:-1] = heads + GAP * number[heads]
        starts[-1] = solo
        place = np.arange(len(order))
        place[:joined] += GAP * number
        place[joined:] += solo - joined
        size = solo + len(order) - joined
        place_of_row, row_at = np.empty(len(order), np.intp), np.zeros(size, np.intp)
        place_of_row[order] = place
        row_at[place] = order
        session_at = np.zeros(solo, np.intp)
        session_at[GAP:] = np.repeat(np.arange(len(heads)), starts[1:] - starts[:-1])
        return Layout(order, place_of_row, row_at, size, solo, joined, starts, session_at)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a few numbers say about all rows."""

    oldest: float = np.inf
    newest: float = -np.inf
    dead: int = 0
    speakers: frozenset[int] = frozenset()
    kinds: frozenset[int] = frozenset()

    @property
    def years(self) -> range:
        """The last 50 calendar years that have a row."""
        return range(_year(self.oldest), _year(self.newest) + 1)[-50:]

    def plus(
        self, time: npt.NDArray[np.float64], kind: npt.NDArray[np.uint8], speaker: npt.NDArray[np.int64]
    ) -> Summary:
        """Return the summary with more rows."""
        if not len(time):
            return self
        counts = np.bincount(kind, minlength=DEAD + 1)
        return Summary(
            min(self.oldest, float(time.min())),
            max(self.newest, float(time.max())),
            self.dead + int(counts[DEAD]),
            self.speakers.union(speaker.tolist()),
            self.kinds.union(np.flatnonzero(counts).tolist()),
        )


@lru_cache(maxsize=1024)
def _year(time: float) -> int:
    try:
        return datetime.fromtimestamp(time, UTC).year
    except (ValueError, OverflowError):
        return 1970


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
    vectors: Planes | Matrix | None
    summary: Summary
    memo: dict[Any, Any] = field(default_factory=dict)
    """What a search worked out that depends on the rows alone."""

    @property
    def n(self) -> int:
        """Number of rows, deleted ones included."""
        return len(self.time)

    @property
    def newest(self) -> float:
        """Time of the newest row; minus infinity for none."""
        return self.summary.newest

    def first(self, n: int) -> Snapshot:
        """Return the index of the first ``n`` rows alone."""
        time, session, speaker, kind = self.time[:n], self.session[:n], self.speaker[:n], self.kind[:n]
        bases = np.cumsum([0, *(part.n for part in self.postings)]).tolist()
        parts = [p.part(0, min(p.n, n - base)) for p, base in zip(self.postings, bases, strict=False) if base < n]
        vectors = None if self.vectors is None else self.vectors.part(0, n)
        summary = Summary().plus(time, kind, speaker)
        layout = Layout.of(session, time)
        return Snapshot(time, session, speaker, kind, layout, tuple(parts), self.lengths[:n], vectors, summary)

    def visible(self, now: float, kinds: Sequence[str] = ()) -> npt.NDArray[np.bool_] | None:
        """Return which rows a query at ``now`` may see; ``None`` means all."""
        codes = [KINDS.index(kind) for kind in kinds]
        if not self.summary.dead and now > self.newest and (not codes or self.summary.kinds.issubset(codes)):
            return None
        mask: npt.NDArray[np.bool_] = (self.time < now) & (self.kind != DEAD)
        if codes:
            mask &= np.isin(self.kind, codes)
        return mask

    def neighbours(self, row: int, before: int, after: int) -> list[int]:
        """Return the rows around one in its session, oldest first, itself included."""
        layout = self.layout
        at = int(layout.place_of_row[row])
        if at >= layout.solo:
            return [row]
        number = int(layout.session_at[at])
        first, stop = int(layout.starts[number]), int(layout.starts[number + 1]) - GAP
        rows: list[int] = layout.row_at[max(first, at - before) : min(stop, at + after + 1)].tolist()
        return rows


class UserIndex:
    """The growing index of one user, with the user row's counters it stands for."""

    def __init__(self, epoch: int, dim: int, *, short: bool = False) -> None:
        self.epoch, self.dim, self.short = epoch, dim, short
        self.lock = threading.Lock()
        self._columns = {
            "time": Growing((), np.float64),
            "session": Growing((), np.int64),
            "speaker": Growing((), np.int64),
            "kind": Growing((), np.uint8),
        }
        self._lengths = Growing((), np.uint32)
        self._vectors = self._vector_columns() if dim else ()
        self._segments: list[Postings] = []
        self._summary = Summary()
        self._layout: Layout | None = None
        self._snapshot: Snapshot | None = None

    def _vector_columns(self) -> tuple[Growing, ...]:
        if self.short:
            return Growing((self.dim,), np.float32), Growing((), np.bool_)
        planes = Growing((self.dim,), np.int8), Growing((self.dim,), np.int16)
        return *planes, Growing((), np.float32), Growing((), np.float32)

    @property
    def n(self) -> int:
        """Rows so far."""
        return self._lengths.n

    @property
    def nbytes(self) -> int:
        """Memory held, roughly."""
        postings = sum(p.vocab.nbytes + p.starts.nbytes + p.docs.nbytes + p.counts.nbytes for p in self._segments)
        columns = sum(column.nbytes for column in (*self._columns.values(), *self._vectors))
        return postings + columns + _NBYTES_A_ROW * self.n

    def extend(self, segments: Iterable[Segment], total: int) -> None:
        """Append segments, ``total`` rows in all when done; the caller holds ``lock``."""
        for column in (*self._columns.values(), self._lengths, *self._vectors):
            column.reserve(total)
        postings: list[Postings] = []
        try:
            for segment in segments:
                self._extend_columns(segment)
                postings.append(segment.postings)
        finally:  # a segment that cannot be read leaves the index short, not askew
            self._snapshot = None
            # The last one is often a short tail: kept apart, it costs no merging now.
            for part in (postings[:-1], postings[-1:]):
                if part:
                    self._extend_postings(Postings.concat(part))

    def _extend_columns(self, segment: Segment) -> None:
        for name, column in self._columns.items():
            column.extend(getattr(segment, name))
        self._lengths.extend(segment.postings.lengths)
        if self.dim:
            planes = segment.planes or Planes.missing(segment.n, self.dim)
            arrays: tuple[npt.NDArray[Any], ...] = planes.hi, planes.lo, planes.scale, planes.error
            if self.short:
                arrays = planes.decode(), planes.present
            for column, rows in zip(self._vectors, arrays, strict=True):
                column.extend(rows)
        self._summary = self._summary.plus(segment.time, segment.kind, segment.speaker)

    def _extend_postings(self, new: Postings) -> None:
        """Append with geometric merging: a handful of parts whatever the number of appends."""
        self._segments.append(new)
        while len(self._segments) > 1 and self._segments[-2].n < 4 * self._segments[-1].n:
            tail = self._segments.pop()
            self._segments[-1] = Postings.concat([self._segments[-1], tail])

    def snapshot(self) -> Snapshot:
        """Return the current rows as one consistent value; the caller holds ``lock``."""
        if self._snapshot is None:
            time, session, speaker, kind = (self._columns[c].view for c in ("time", "session", "speaker", "kind"))
            self._layout = Layout.of(session, time) if self._layout is None else self._layout.grown(session, time)
            self._snapshot = Snapshot(
                time, session, speaker, kind, self._layout, tuple(self._segments), self._lengths.view,
                self._view_vectors(), self._summary,
            )  # fmt: skip
        return self._snapshot

    def _view_vectors(self) -> Planes | Matrix | None:
        if not self.dim:
            return None
        if self.short:
            rows, present = (column.view for column in self._vectors)
            return Matrix(rows, present)
        return Planes(*(column.view for column in self._vectors))
