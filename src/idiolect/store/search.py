"""Hybrid search over one user's index: windowed BM25 plus windowed cosine, exact.

A turn of a conversation is rarely understood alone, so both scores look at its neighbours within the session: term
frequencies and lengths are smoothed before BM25 saturates them (BM25F's rule, Robertson et al. 2004, with neighbours
for fields), cosines are averaged. The two are added in BM25's own units, because ranks throw away how sure either one
is (reciprocal-rank fusion is measured beside it in ``benchmarks/locomo_retrieval.py``). Nothing is approximate: the
coarse vectors narrow the field, with certainty, and the fine ones decide.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from idiolect.store.index import GAP, Snapshot
from idiolect.text.dates import date_ranges
from idiolect.text.terms import speaker_hash, terms

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

T = TypeVar("T")
Real = TypeVar("Real", bound=npt.NDArray[np.floating[Any]])

_TABLE = 1 << 18  # cells of the term table made at a time
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Ranker:
    """The constants of the fused score."""

    k1: float = 0.9
    b: float = 0.4
    words: tuple[float, ...] = (0.5, 0.25)
    """Weight of neighbours at distance 1, 2 in the term frequencies; empty for none."""
    vectors: tuple[float, ...] = (1 / 3, 1 / 9)
    """The same for the cosine."""
    lexical: float = 1.0
    dense: float = 10.0
    """Cosine in BM25 units."""
    speaker: float = 2.0
    """Bonus where the query names the speaker, but not all speakers."""
    date: float = 3.0
    """Bonus where the record lies in a date range that the query names."""
    session: float = 0.4
    """Share of the best score in its session that each record gets."""
    recency: float = 0.2
    """Bonus of a record of this moment; halves every ``half_life`` seconds."""
    half_life: float = 30 * 86400.0


HYBRID = Ranker()
LEXICAL = Ranker(dense=0.0)
DENSE = Ranker(lexical=0.0, vectors=(), speaker=0.0, date=0.0, session=0.0, recency=0.0)


@dataclass(frozen=True, slots=True)
class Found:
    """A ranked row with the parts of its score."""

    row: int
    score: float
    parts: dict[str, float]


def search(
    snap: Snapshot,
    query: str,
    vector: Floats | None,
    k: int,
    *,
    now: float = np.inf,
    kinds: Sequence[str] = (),
    ranker: Ranker = HYBRID,
) -> list[Found]:
    """Return the ``k`` best visible rows, best first; ties go to the older row."""
    if snap.n == 0 or k <= 0:
        return []
    visible = snap.visible(now, kinds)
    if visible is not None and not visible.any():
        return []
    scorer = _Scorer(snap, visible, ranker, query, vector, now)
    return scorer.top(k)


class _Scorer:
    """One query's scores; all arrays are in layout order unless said otherwise."""

    def __init__(
        self, snap: Snapshot, visible: Mask | None, ranker: Ranker, query: str, vector: Floats | None, now: float
    ) -> None:
        self.snap, self.layout, self.ranker = snap, snap.layout, ranker
        self.visible = None if visible is None else visible[snap.layout.order]
        self.parts: dict[str, npt.NDArray[np.floating[Any]]] = {}
        if ranker.lexical:
            self.parts["bm25"] = np.float32(ranker.lexical) * self._bm25(terms(query))
        self.vector = vector if ranker.dense and snap.planes is not None else None
        if self.vector is not None:
            self._scan(self.vector)
        self._bonuses(query, now)

    # -- words

    def _bm25(self, query: Sequence[int]) -> Floats:
        snap, layout, r = self.snap, self.layout, self.ranker
        out = np.zeros(snap.n, np.float32)
        wanted = Counter(query)
        shown, damp, n = self._lengths() if self.visible is not None else self._remember("lengths", self._lengths)
        ids = list(wanted)
        # All terms at once as far as memory's second level goes: numpy's fixed costs dominate short histories.
        step = max(1, _TABLE // layout.size)
        for start in range(0, len(ids), step):
            tf = self._frequencies(ids[start : start + step], shown)
            df = np.count_nonzero(tf, axis=1)
            times = np.array([wanted[t] for t in ids[start : start + step]])
            idf = times * np.log1p((n - df + 0.5) / (df + 0.5)) * (r.k1 + 1)
            np.divide(tf, tf + damp, out=tf)
            out += idf.astype(np.float32) @ tf
        return out

    def _frequencies(self, ids: Sequence[int], shown: Floats) -> Floats:
        """Return the windowed term frequencies ``[len(ids), n]``."""
        layout, postings = self.layout, self.snap.postings
        tf = np.zeros((len(ids), layout.size), np.float32)
        base = 0
        for part in postings:
            for number, run in enumerate(part.runs(ids)):
                if run.stop > run.start:
                    tf[number, layout.place_of_row[part.docs[run] + np.uint32(base)]] = part.counts[run]
            base += part.n
        if self.visible is not None:
            tf *= shown
        tf = _smooth(tf, self.ranker.words, layout.solo)[:, layout.place]
        return tf if self.visible is None else tf * self.visible

    def _remember(self, name: str, make: Callable[[], T]) -> T:
        """Compute once per index state what does not depend on the query."""
        key = (name, self.ranker)
        if key not in self.snap.memo:
            self.snap.memo[key] = make()
        return cast("T", self.snap.memo[key])

    def _lengths(self) -> tuple[Floats, Floats, int]:
        """Return the visible positions [size], the length damping [n] and the number of visible documents."""
        snap, layout, r = self.snap, self.layout, self.ranker
        shown = np.ones(snap.n, np.float32) if self.visible is None else self.visible.astype(np.float32)
        mask = np.zeros(layout.size, np.float32)
        mask[layout.place] = shown
        lengths = np.zeros(layout.size, np.float32)
        lengths[layout.place_of_row] = snap.lengths
        smooth = _smooth(lengths * mask, r.words, layout.solo)[layout.place]
        n = int(shown.sum())
        mean = max(1e-6, float((smooth * shown).sum() / n))
        return mask, np.maximum(r.k1 * (1 - r.b + r.b / mean * smooth), 1e-6).astype(np.float32), n

    # -- vectors

    def _scan(self, vector: Floats) -> None:
        planes = self.snap.planes
        assert planes is not None
        self._cosine = planes.scan(vector)[self.layout.order]
        fixed = self._coverage
        self._present, self._weight, self._error = (
            fixed() if self.visible is not None else self._remember("coverage", fixed)
        )
        self.parts["dense"] = np.float32(self.ranker.dense) * self._average(self._cosine)

    def _coverage(self) -> tuple[Floats, Floats, Floats]:
        """Return which rows have a vector, the weight of their windows and the bound of the dense part's error."""
        planes, order = self.snap.planes, self.layout.order
        assert planes is not None
        present = (planes.scale > 0)[order].astype(np.float32)
        if self.visible is not None:
            present *= self.visible
        weight = self._window(present)
        total = self._window(planes.error[order] * present)
        error = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        return present, weight, error * np.float32(self.ranker.dense) + np.float32(1e-5)

    def _window(self, values: Real) -> Real:
        if not self.ranker.vectors:
            return values
        spread: npt.NDArray[Any] = np.zeros(self.layout.size, values.dtype)
        spread[self.layout.place] = values
        return cast("Real", _smooth(spread, self.ranker.vectors, self.layout.solo)[self.layout.place])

    def _average(self, values: Real) -> Real:
        """Average over the window's rows that have a vector; rows without any get 0."""
        total = self._window(values * self._present)
        return cast("Real", np.divide(total, self._weight, out=np.zeros_like(total), where=self._weight > 0))

    # -- bonuses

    def _bonuses(self, query: str, now: float) -> None:
        snap, order, r = self.snap, self.layout.order, self.ranker
        if r.speaker:
            named = {speaker_hash(word) for word in _WORD.findall(query.lower())} & snap.speakers
            if named and named != snap.speakers:
                spoken = np.logical_or.reduce([snap.speaker == name for name in named])
                self.parts["speaker"] = np.float32(r.speaker) * spoken[order]
        if r.date:
            ranges = _ranges(query, snap)
            if ranges:
                inside = np.zeros(snap.n, bool)
                for start, end in ranges:
                    inside |= (snap.time >= start) & (snap.time < end)
                self.parts["date"] = np.float32(r.date) * inside[order]
        if r.recency:
            age = np.maximum(0, (now if np.isfinite(now) else snap.newest) - snap.time[order])
            self.parts["recency"] = (r.recency * np.exp2(-age / r.half_life)).astype(np.float32)

    # -- the best

    def _total(self) -> Doubles:
        total = np.zeros(self.snap.n)
        for part in self.parts.values():
            total += part
        if self.visible is not None:
            total[~self.visible] = -np.inf
        return total

    def _with_session(self, total: Doubles) -> Doubles:
        share, layout = self.ranker.session, self.layout
        if not share:
            return total
        out = total * (1 + share)
        if layout.joined:
            best = np.maximum.reduceat(total[: layout.joined], layout.starts)
            out[: layout.joined] = total[: layout.joined] + share * best[layout.rank]
        return out

    def top(self, k: int) -> list[Found]:
        """Return the k best rows."""
        total = self._total()
        score = self._with_session(total)
        if self.vector is not None:
            self._settle(total, score, k)
            total = self._total()
            score = self._with_session(total)
        rows = self.layout.order
        if k < len(score):
            kth = np.partition(score, len(score) - k)[len(score) - k]
            best = np.flatnonzero(score >= kth)
        else:
            best = np.arange(len(score))
        best = best[np.lexsort((rows[best], -score[best]))][:k]
        return [
            Found(int(rows[i]), float(score[i]), self._explain(int(i), float(score[i] - total[i])))
            for i in best
            if np.isfinite(score[i])
        ]

    def _explain(self, i: int, session: float) -> dict[str, float]:
        parts = {name: round(float(part[i]), 4) for name, part in self.parts.items() if part[i]}
        return {**parts, "session": round(session, 4)} if session else parts

    def _settle(self, total: Doubles, score: Doubles, k: int) -> None:
        """Put full-precision cosines where the coarse ones leave the first ``k`` open."""
        error, share, layout = self._error, self.ranker.session, self.layout
        reach = error * (1 + share)
        if share and layout.joined:
            widest = np.maximum.reduceat(error[: layout.joined], layout.starts)
            reach[: layout.joined] = error[: layout.joined] + share * widest[layout.rank]
        low = score - reach
        floor = np.partition(low, len(low) - k)[len(low) - k] if k < len(low) else -np.inf
        open_rows = score + reach >= floor
        if share and layout.joined:  # and whatever may be the best of an open row's session
            sessions = layout.rank[open_rows[: layout.joined]]
            best_low = np.maximum.reduceat((total - error)[: layout.joined], layout.starts)
            may = (total + error)[: layout.joined] >= best_low[layout.rank]
            asked = np.zeros(len(layout.starts), bool)
            asked[sessions] = True
            may &= asked[layout.rank]
            open_rows[: layout.joined] |= may
        self._refine(np.flatnonzero(open_rows))

    def _refine(self, entries: Rows) -> None:
        """Recompute the dense part of some layout entries in full precision."""
        planes, layout = self.snap.planes, self.layout
        assert planes is not None
        assert self.vector is not None
        reach = len(self.ranker.vectors)
        around = np.unique(np.clip(entries[:, None] + np.arange(-reach, reach + 1), 0, self.snap.n - 1))
        cosine = self._cosine.astype(np.float64)
        cosine[around] = planes.exact(self.vector, layout.order[around])
        self.parts["dense"] = self.ranker.dense * self._average(cosine)


def _smooth(values: Real, kernel: Sequence[float], solo: int) -> Real:
    """Add neighbours' values by distance; positions from ``solo`` on have no neighbours."""
    if not kernel:
        return values
    assert len(kernel) <= GAP
    out = values.copy()
    head, source = out[..., :solo], values[..., :solo]
    for distance, weight in enumerate(kernel, 1):
        scaled = source * source.dtype.type(weight)
        head[..., distance:] += scaled[..., :-distance]
        head[..., :-distance] += scaled[..., distance:]
    return out


def _ranges(query: str, snap: Snapshot) -> list[tuple[float, float]]:
    years = range(_year(snap.oldest), _year(snap.newest) + 1)
    return date_ranges(query, years[-50:])


def _year(time: float) -> int:
    try:
        return datetime.fromtimestamp(time, UTC).year
    except (ValueError, OverflowError):
        return 1970
