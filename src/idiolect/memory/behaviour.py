"""Behaviour: a walk through a person's records, along time and along topics (MemWeaver, arXiv 2510.07713).

The records near the question are the nodes of a graph. Temporal edges join each to the next one in time, semantic edges
join what lies in one cluster and is alike. A walk over it that heeds the question visits records that search alone
would not put first: what led up to a match and what came of it. The paper puts the visited records first; measured on
LoCoMo that pushes out what was asked for, so by default they only gain on the others; even so the walk finds there no
more of the evidence than plain search (``benchmarks/memory/read_side.py``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from idiolect.prompting.shared.feedback import SEARCHED, block, find
from idiolect.registry import method
from idiolect.text.clusters import kmeans
from idiolect.text.terms import terms
from idiolect.types import Call, Context, Floats, Hit, Record, User

Edges = npt.NDArray[np.bool_]

_DAY = 86400.0
_CHOICES = 3  # a step goes to one of the so many strongest
_CENTRES, _AROUND = 8, 2  # so many turns on either side of the so many best are in the neighbourhood
_WORDS = 400  # so many words of a record are compared where there is no embedder


@method("behaviour", level="input", paper="arXiv:2510.07713 (behavioural memory)")
@dataclass(frozen=True)
class Behaviour:
    """Put the records before the question that search finds or a walk along time and topics visits."""

    k: int = 32
    """So many records are offered; how many of them enter is decided by the token budget."""
    merge: Literal["added", "first"] = "added"
    """A visited record gains by its likeness to the question; or the best of them stand first, as in the paper."""
    weight: float = 1.0
    """It gains so much times the cosine, in units of the search's score (``merge = added``)."""
    walked: int = 5
    """So many visited records, those most like the question, stand first (``merge = first``)."""
    length: int = 15
    """So many records are visited at most."""
    start: Literal["similar", "latest"] = "similar"
    """Begin at the record most like the question, or at the latest one near it."""
    neighbourhood: int = 64
    """The walk keeps to so many records near the question, however long the history is."""
    alpha: float = 1.5
    """Power of the likeness to the question."""
    age_rate: float = 0.01
    """A record counts less by so much a day of its age (.01: half after 69 days)."""
    gap_rate: float = 0.01
    """The same for each day between two records of a step."""
    clusters: int = 10
    """Records of one of so many clusters may be joined."""
    similar: float = 0.3
    """They are where their cosine is above this."""
    seed: int = 0
    """Seed of the walk; the same question then gives the same walk."""
    share: float = 3.0
    """Part of the token budget relative to the other slots."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the visited records and those found as a block."""
        hits = find(user, call.query, max(self.k, self.neighbourhood))
        if not hits:
            return call
        near = self._near(call.query, hits, user)
        vectors = _vectors(call.query, near, user, ctx)
        visited = {near[at].id: (near[at], *seen) for at, seen in self._visit(near, vectors).items()}
        known = {hit.record.id: hit for hit in hits}
        found = [_walked(*seen, known.get(rid), hits[-1].score) for rid, seen in visited.items()]
        rest = [hit for hit in hits if hit.record.id not in visited]
        return call.add(block(self._ranked(found, rest)[: self.k], "behaviour", "behaviour", self.share))

    def _ranked(self, found: Sequence[Hit], rest: Sequence[Hit]) -> list[Hit]:
        """Return visited records and the others, best first; scores say the order to the token budget."""
        if self.merge == "added":
            raised = [replace(hit, score=hit.score + self.weight * max(hit.parts["cosine"], 0.0)) for hit in found]
            return sorted([*raised, *rest], key=lambda hit: -hit.score)
        alike = sorted(found, key=lambda hit: -hit.parts["cosine"])
        behind = sorted([*alike[self.walked :], *rest], key=lambda hit: -hit.score)
        offered = [*alike[: self.walked], *behind]
        return [replace(hit, score=1 / rank) for rank, hit in enumerate(offered, 1)]

    def _near(self, query: str, hits: Sequence[Hit], user: User) -> list[Record]:
        """Return the neighbourhood in time order: turns around the best records, filled up with what was found."""
        asked = " ".join(query.split()).casefold()
        found: dict[str, Record] = {}
        for hit in hits[:_CENTRES]:
            for record in user.neighbours(hit.record.id, _AROUND, _AROUND):
                if record.kind in SEARCHED and " ".join(record.output.split()).casefold() != asked:
                    found.setdefault(record.id, record)
        best = {hit.record.id: hit.record for hit in hits[:_CENTRES]}
        rest = {hit.record.id: hit.record for hit in hits[_CENTRES:]}
        near = list({**best, **found, **rest}.values())[: self.neighbourhood]
        return sorted(near, key=lambda record: (record.time, record.id))

    def _visit(self, near: Sequence[Record], vectors: Floats) -> dict[int, tuple[int, float]]:
        """Return position and likeness to the question by visited record; ``vectors[0]`` is the question's."""
        likeness = vectors[1:] @ vectors[0]  # [n]
        days = np.array([record.time / _DAY for record in near])
        first = len(near) - 1 if self.start == "latest" else int(likeness.argmax())
        way = walk(edges(vectors[1:], self.clusters, self.similar, self.seed), first, self.length, self.seed,
                   lambda u, v: strength(float(likeness[v]), days[-1] - days[v], abs(days[u] - days[v]),
                                         self.alpha, self.age_rate, self.gap_rate))  # fmt: skip
        return {at: (step, float(likeness[at])) for step, at in enumerate(way)}


def strength(
    cosine: float, age: float, gap: float, alpha: float = 1.5, age_rate: float = 0.01, gap_rate: float = 0.01
) -> float:
    """Return how strongly a walk is drawn to a record: ``cosine^alpha * exp(-age_rate*age) * exp(-gap_rate*gap)``.

    ``age`` and ``gap`` are in days. A negative cosine counts as 0: its power would be no number.
    """
    return float(max(cosine, 0.0) ** alpha * math.exp(-age_rate * age) * math.exp(-gap_rate * gap))


def edges(vectors: Floats, clusters: int, similar: float, seed: int) -> Edges:
    """Return which records ``[n, n]`` are joined; ``vectors`` are unit vectors ``[n, dim]`` in order of time."""
    labels, _ = kmeans(vectors, clusters, seed=seed)
    joined: Edges = (labels[:, None] == labels) & (vectors @ vectors.T > similar)
    at = np.arange(len(vectors) - 1)
    joined[at, at + 1] = joined[at + 1, at] = True
    np.fill_diagonal(joined, val=False)
    return joined


def walk(joined: Edges, start: int, length: int, seed: int, draw_to: Callable[[int, int], float]) -> list[int]:
    """Return at most ``length`` records in the order of a walk that visits none twice.

    A step goes to one of the three records joined to the present one that draw strongest (``draw_to(from, to)``), with
    chances in proportion. Where none draws at all the walk ends.
    """
    rng, way = np.random.default_rng(seed), [start]
    while len(way) < length:
        here = way[-1]
        pulls = {int(at): draw_to(here, int(at)) for at in np.flatnonzero(joined[here]) if at not in way}
        best = sorted((at for at, pull in pulls.items() if pull > 0), key=lambda at: (-pulls[at], at))[:_CHOICES]
        if not best:
            break
        weights = np.array([pulls[at] for at in best]) / max(pulls.values())  # tiny ones would sum to nothing
        way.append(best[int(rng.choice(len(best), p=weights / weights.sum()))])
    return way


def _walked(record: Record, step: int, likeness: float, hit: Hit | None, least: float) -> Hit:
    """Return a visited record with its place on the walk, counted from 1; one not found scores as the last found."""
    score, parts = (hit.score, hit.parts) if hit else (least, {})
    return Hit(record, score, {**parts, "cosine": round(likeness, 4), "step": step + 1.0})


def _vectors(query: str, records: Sequence[Record], user: User, ctx: Context) -> Floats:
    """Return unit vectors ``[1 + records, dim]``, the question's first; of words where there are none in the store."""
    stored = user.embedded([record.id for record in records]) if ctx.embedder is not None else None
    if ctx.embedder is None or stored is None:
        return word_vectors([query, *(record.text for record in records)])
    return np.concatenate([ctx.embedder.embed([query]), stored])


def word_vectors(texts: Sequence[str]) -> Floats:
    """Return TF-IDF unit vectors ``[texts, words]`` over the texts at hand; zeros for a text without words."""
    found = [Counter(terms(text)[:_WORDS]) for text in texts]
    where = Counter(term for counts in found for term in counts)
    column = {term: n for n, term in enumerate(where)}
    out = np.zeros((len(texts), max(1, len(column))), np.float32)
    for row, counts in zip(out, found, strict=True):
        for term, n in counts.items():
            row[column[term]] = n * np.log1p(len(found) / where[term])
    length = np.linalg.norm(out, axis=1, keepdims=True)
    unit: Floats = np.divide(out, length, out=np.zeros_like(out), where=length > 0)
    return unit
