"""Hybrid search over one user's index: windowed BM25 plus windowed cosine, exact.

A turn of a conversation is rarely understood alone, so both scores look at its neighbours within the session: term
frequencies and lengths are smoothed before BM25 saturates them (BM25F's rule, Robertson et al. 2004, with neighbours
for fields), cosines are averaged. The two are added in BM25's own units, because ranks throw away how sure either one
is (reciprocal-rank fusion is measured beside it in ``benchmarks/locomo_retrieval.py``). Nothing is approximate: in a
long history the coarse vectors narrow the field, with certainty, and the fine ones decide.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from idiolect.store.index import GAP, Snapshot
from idiolect.text.moments import asked_ranges
from idiolect.text.terms import speaker_hash, terms

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

Real = TypeVar("Real", bound=npt.NDArray[np.floating[Any]])

_TABLE = 1 << 18  # cells of the term table made at a time
_BLOCKS = 16
_GROUNDS = 8  # remembered for each index state
_LEAST = float(np.finfo(np.float32).min)
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
    asked: float = np.inf,
    kinds: Sequence[str] = (),
    ranker: Ranker = HYBRID,
) -> list[Found]:
    """Return the ``k`` best visible rows, best first; ties go to the older row.

    Only rows before ``now`` are visible. Words such as "yesterday" are resolved against ``asked``, the moment of the
    question, or left alone where it is not finite.
    """
    if snap.n == 0 or k <= 0:
        return []
    ground = _ground(snap, now, kinds, ranker)
    if not ground.n:
        return []
    usable = ranker.dense and snap.vectors is not None
    return _Scorer(snap, ground, ranker, query, vector if usable else None, now, asked).top(k)


# -- what does not depend on the query


@dataclass(frozen=True, slots=True)
class _Ground:
    """What a ranking needs of the rows alone; arrays are by position of the layout, ``[size]``."""

    n: int
    """Visible records."""
    shown: Floats | None
    """1 where a visible record lies; ``None`` where all records are visible."""
    prior: Floats
    """The recency bonus as of ``since``; minus infinity where no visible record lies."""
    since: float
    damp: Floats
    """BM25's length damping; infinite where no visible record lies."""
    present: Floats
    """1 where a visible record with a vector lies."""
    gain: Floats
    """Weight of the dense part over the weight of the window's vectors."""
    error: Floats | None
    """Bound of what the coarse plane leaves out of the total; ``None`` where it is not used alone."""
    reach: Floats | None
    """The same for the score, which has a share of the session's best total in it."""


def _ground(snap: Snapshot, now: float, kinds: Sequence[str], ranker: Ranker) -> _Ground:
    """Return the ground, remembered for as long as the index stays as it is unless ``now`` cuts into it."""
    if now <= snap.newest:
        return _make_ground(snap, snap.visible(now, kinds), now, ranker)
    key = (ranker, tuple(kinds))
    ground: _Ground | None = snap.memo.get(key)
    if ground is None:
        if len(snap.memo) >= _GROUNDS:
            snap.memo.clear()
        ground = snap.memo[key] = _make_ground(snap, snap.visible(now, kinds), snap.newest, ranker)
    return ground


def _make_ground(snap: Snapshot, visible: Mask | None, since: float, r: Ranker) -> _Ground:
    layout = snap.layout
    at = layout.place_of_row if visible is None else layout.place_of_row[visible]
    time = snap.time if visible is None else snap.time[visible]
    shown = np.zeros(layout.size, np.float32)
    shown[at] = 1.0
    prior = np.full(layout.size, -np.inf, np.float32)
    prior[at] = r.recency * np.exp2((time - since) / r.half_life) if r.recency else 0.0
    damp = _damping(snap, shown, len(at), r) if r.lexical else shown
    present, gain = _coverage(snap, shown, r) if r.dense else (shown, shown)
    error = reach = None
    if r.dense and snap.vectors is not None and snap.vectors.error is not None:
        error = _spread(snap, snap.vectors.error) * present
        error = _smooth(error, r.vectors, layout.solo) * gain
        reach = _reach(snap, error, r)
    return _Ground(len(at), None if visible is None else shown, prior, since, damp, present, gain, error, reach)


def _spread(snap: Snapshot, values: npt.NDArray[Any]) -> Floats:
    """Put the rows' values at their positions."""
    out = np.zeros(snap.layout.size, np.float32)
    out[snap.layout.place_of_row] = values
    return out


def _damping(snap: Snapshot, shown: Floats, n: int, r: Ranker) -> Floats:
    smooth = _smooth(_spread(snap, snap.lengths) * shown, r.words, snap.layout.solo) * shown
    mean = max(1e-6, float(smooth.sum(dtype=np.float64)) / max(1, n))
    damp: Floats = np.maximum(np.float32(r.k1 * (1 - r.b)) + np.float32(r.k1 * r.b / mean) * smooth, np.float32(1e-6))
    damp[shown == 0] = np.inf
    return damp


def _coverage(snap: Snapshot, shown: Floats, r: Ranker) -> tuple[Floats, Floats]:
    if snap.vectors is None:
        return shown, shown
    present = _spread(snap, snap.vectors.present) * shown
    weight = _smooth(present, r.vectors, snap.layout.solo)
    return present, np.divide(np.float32(r.dense), weight, out=np.zeros_like(weight), where=weight > 0) * shown


def _reach(snap: Snapshot, error: Floats, r: Ranker) -> Floats:
    layout = snap.layout
    reach = error * np.float32(1 + r.session)
    if r.session and layout.joined:
        widest = np.maximum.reduceat(error[: layout.solo], layout.starts[:-1])
        reach[: layout.solo] = error[: layout.solo] + np.float32(r.session) * widest[layout.session_at]
    return reach


# -- one query


class _Scorer:
    """One query's scores, by position."""

    def __init__(
        self,
        snap: Snapshot,
        ground: _Ground,
        ranker: Ranker,
        query: str,
        vector: Floats | None,
        now: float,
        asked: float,
    ) -> None:
        self.snap, self.layout, self.ground, self.ranker = snap, snap.layout, ground, ranker
        self.now = now if np.isfinite(now) else snap.newest
        self.bm25 = self._bm25(terms(query)) if ranker.lexical else None
        self.vector = vector
        self.dense = None if vector is None else self._dense(vector)
        self.bonuses = self._bonuses(query, asked)

    def _bm25(self, query: Sequence[int]) -> Floats:
        """Return the lexical part at every position; 0 where no visible record lies."""
        r, n = self.ranker, self.ground.n
        out = np.zeros(self.layout.size, np.float32)
        wanted = Counter(query)
        ids = list(wanted)
        # All terms at once as far as memory's second level goes: numpy's fixed costs dominate short histories.
        step = max(1, _TABLE // self.layout.size)
        for start in range(0, len(ids), step):
            part = ids[start : start + step]
            tf = self._frequencies(part)
            np.divide(tf, tf + self.ground.damp, out=tf)
            df = np.array([np.count_nonzero(row) for row in tf.astype(np.bool_)])
            times = np.array([wanted[t] for t in part])
            weight = times * np.log1p((n - df + 0.5) / (df + 0.5)) * ((r.k1 + 1) * r.lexical)
            out += weight.astype(np.float32) @ tf
        return out

    def _frequencies(self, ids: Sequence[int]) -> Floats:
        """Return the windowed term frequencies ``[len(ids), size]``."""
        layout = self.layout
        tf = np.zeros((len(ids), layout.size), np.float32)
        base = 0
        for part in self.snap.postings:
            places = layout.place_of_row[base : base + part.n]
            for row, run in zip(tf, part.runs(ids), strict=True):
                if run.stop > run.start:
                    row[places[part.docs[run]]] = part.counts[run]
            base += part.n
        if self.ground.shown is not None:
            tf *= self.ground.shown
        return _smooth(tf, self.ranker.words, layout.solo)

    def _dense(self, vector: Floats) -> Floats:
        """Return the dense part at every position; of a long history from the coarse plane alone."""
        ground, vectors = self.ground, self.snap.vectors
        assert vectors is not None
        cosine = _spread(self.snap, vectors.scan(vector))
        if ground.shown is not None:
            cosine *= ground.present
        return _smooth(cosine, self.ranker.vectors, self.layout.solo) * ground.gain

    def _bonuses(self, query: str, asked: float) -> dict[str, tuple[float, Mask]]:
        """Return weight and rows of what the query names."""
        snap, r = self.snap, self.ranker
        out: dict[str, tuple[float, Mask]] = {}
        if r.speaker:
            known = snap.summary.speakers
            named = {speaker_hash(word) for word in _WORD.findall(query.lower())} & known
            if named and named != known:
                out["speaker"] = r.speaker, np.logical_or.reduce([snap.speaker == name for name in named])
        ranges = asked_ranges(query, snap.summary.years, asked) if r.date else []
        if ranges:
            inside = np.logical_or.reduce([(snap.time >= start) & (snap.time < end) for start, end in ranges])
            out["date"] = r.date, inside
        return out

    def top(self, k: int) -> list[Found]:
        """Return the k best rows."""
        total = self._total()
        score = self._with_session(total)
        slack = 1e-6 * (20 + abs(float(score.max())))  # more than float32 sums of a few terms round away
        if self.dense is not None and self.ground.reach is not None:
            return self._settled(total, score, self.ground.reach, slack, k)
        at = np.flatnonzero(score >= max(_floor(score, k) - 2 * slack, _LEAST))
        at = at[np.argsort(-score[at])]
        best = score[at[: k + 1]]
        if np.min(best[:-1] - best[1:], initial=np.inf) <= 2 * slack:
            return self._settled(total, score, np.zeros_like(score), slack, k)
        at = at[:k]
        return self._found(at, score[at], self._parts(at), score[at] - total[at])

    def _total(self) -> Floats:
        total = self.ground.prior.copy()
        if self.ranker.recency:  # never down to 0, which times minus infinity is no number
            total *= max(1e-30, float(np.exp2((self.ground.since - self.now) / self.ranker.half_life)))
        if self.bm25 is not None:
            total += self.bm25
        if self.dense is not None:
            total += self.dense
        for weight, rows in self.bonuses.values():
            total[self.layout.place_of_row[rows]] += np.float32(weight)
        return total

    def _with_session(self, total: Floats) -> Floats:
        share, layout = np.float32(self.ranker.session), self.layout
        if not share:
            return total
        score = total * (1 + share)
        if layout.joined:
            head = total[: layout.solo]
            best = np.maximum.reduceat(head, layout.starts[:-1]) * share
            np.add(head, best[layout.session_at], out=score[: layout.solo])
        return score

    def _parts(self, at: Rows) -> dict[str, npt.NDArray[np.floating[Any]]]:
        """Return the parts of the totals at some positions."""
        r, rows = self.ranker, self.layout.row_at[at]
        parts: dict[str, npt.NDArray[np.floating[Any]]] = {}
        if self.bm25 is not None:
            parts["bm25"] = self.bm25[at]
        if self.dense is not None:
            parts["dense"] = self.dense[at]
        for name, (weight, named) in self.bonuses.items():
            parts[name] = weight * named[rows]
        if r.recency:
            parts["recency"] = r.recency * np.exp2(np.minimum(0, self.snap.time[rows] - self.now) / r.half_life)
        return parts

    def _found(
        self, at: Rows, score: npt.NDArray[Any], parts: dict[str, npt.NDArray[Any]], session: npt.NDArray[Any]
    ) -> list[Found]:
        names = [*parts, "session"]
        columns = [np.round(values.astype(np.float64), 4).tolist() for values in (*parts.values(), session)]
        return [
            Found(row, total, {name: x for name, x in zip(names, values, strict=True) if x})
            for row, total, *values in zip(self.layout.row_at[at].tolist(), score.tolist(), *columns, strict=True)
            if total > -np.inf
        ]

    # -- totals are known within a bound; what that leaves open is settled in full precision

    def _settled(self, total: Floats, score: Floats, reach: Floats, slack: float, k: int) -> list[Found]:
        layout = self.layout
        floor = max(_floor(score - reach, k) - 2 * slack, _LEAST)
        at = np.flatnonzero(score + reach >= floor)
        asked = np.zeros(layout.size, np.bool_)
        asked[at] = asked[self._rivals(at, total, slack)] = True
        need = np.flatnonzero(asked)
        parts = self._parts(need)
        if self.dense is not None:
            parts["dense"] = self._exact_dense(need)
        exact = np.zeros(len(need))
        for part in parts.values():
            exact += part
        session = self._session_part(need, exact)
        here = np.searchsorted(need, at)
        final = (exact + session)[here]
        order = np.lexsort((layout.row_at[at], -final))[:k]
        chosen = here[order]
        return self._found(at[order], final[order], {n: p[chosen] for n, p in parts.items()}, session[chosen])

    def _rivals(self, at: Rows, total: Floats, slack: float) -> Rows:
        """Return the positions that may hold the best total of a session that one of ``at`` belongs to."""
        layout = self.layout
        asked = np.unique(layout.session_at[at[at < layout.solo]])
        if not len(asked) or not self.ranker.session:
            return asked[:0]
        sizes = layout.starts[asked + 1] - layout.starts[asked]
        first = np.cumsum(sizes) - sizes
        members = np.repeat(layout.starts[asked] - first, sizes) + np.arange(int(sizes.sum()))
        error = np.float32(slack) if self.ground.error is None else self.ground.error[members] + np.float32(slack)
        least = np.maximum.reduceat(total[members] - error, first)
        return members[total[members] + error >= np.repeat(least, sizes)]

    def _session_part(self, at: Rows, total: Doubles) -> Doubles:
        """Return the share of the best total in the session; ``at`` is rising and holds the best of each."""
        best = total.copy()  # a row without a session is the best of its own
        session = self.layout.session_at[at[: np.searchsorted(at, self.layout.solo)]]
        if len(session) and self.ranker.session:
            first = np.flatnonzero(np.concatenate([[True], session[1:] != session[:-1]]))
            tops = np.maximum.reduceat(total[: len(session)], first)
            best[: len(session)] = np.repeat(tops, np.diff(first, append=len(session)))
        return self.ranker.session * best

    def _exact_dense(self, at: Rows) -> Doubles:
        """Return the dense part at some positions in full precision."""
        vectors, layout, kernel = self.snap.vectors, self.layout, self.ranker.vectors
        assert vectors is not None
        assert self.vector is not None
        shifts = np.arange(-len(kernel), len(kernel) + 1)
        around = at[:, None] + shifts * (at < layout.solo)[:, None]
        weight = np.array([*kernel[::-1], 1.0, *kernel]) * self.ground.present[around]
        weight[at >= layout.solo] *= shifts == 0
        asked = np.zeros(layout.size, np.bool_)
        asked[around[weight > 0]] = True
        needed = np.flatnonzero(asked)
        cosine = np.zeros(layout.size)
        cosine[needed] = vectors.exact(self.vector, layout.row_at[needed])
        whole = weight.sum(axis=1)
        summed = self.ranker.dense * (weight * cosine[around]).sum(axis=1)
        out: Doubles = np.divide(summed, whole, out=np.zeros_like(whole), where=whole > 0)
        return out


def _floor(values: Floats, k: int) -> float:
    """Return a number that at least ``k`` of the values reach; minus infinity if there are no more than ``k``."""
    width = len(values) // _BLOCKS
    if width > 4 * k:  # the best of each column are that many different values
        values = values[: width * _BLOCKS].reshape(_BLOCKS, width).max(axis=0)
    if k >= len(values):
        return -np.inf
    return float(np.partition(values, len(values) - k)[len(values) - k])


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
