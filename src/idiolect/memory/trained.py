"""Small linear heads over sentence vectors, for what no rule foresees: is it worth keeping, does it end something?

The weights were trained by ``benchmarks/memory/train.py`` on labelled clauses and pairs of our own, over the vectors of
MiniLM. With another embedder, or none, the rules stand alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from idiolect.memory.sameness import Statement, cosine, jaccard, overlap
from idiolect.prompting.shared.distillation import sigmoid
from idiolect.text.terms import terms
from idiolect.types import Embedder, Floats

Doubles = npt.NDArray[np.float64]

WEIGHTS = "weights.npz"
CHANGE = tuple(
    "now longer anymore again instead switched changed moved started stopped quit gave sold finished actually meant new"
    " replaced since back used left over done cancelled turned became got".split()
)
"""Words that tell a change; closed-class or nearly so."""


@dataclass(frozen=True, eq=False)
class Heads:
    """Weights of each head, the bias last; ``topics`` names the rows of ``topic``, which is ``[topics, dim + 1]``."""

    worth: Doubles
    always: Doubles
    topic: Doubles
    topics: tuple[str, ...]
    ends: Doubles
    same: Doubles
    closing: Doubles

    def keep(self, vectors: Floats) -> Doubles:
        """Return how likely each of ``[n, dim]`` texts is worth keeping, ``[n]``."""
        return sigmoid(_affine(vectors, self.worth))

    def safety(self, vectors: Floats) -> Doubles:
        """Return how likely each bears on safety, ``[n]``."""
        return sigmoid(_affine(vectors, self.always))

    def topics_of(self, vectors: Floats) -> list[str]:
        """Return the likeliest topic of each."""
        scores = np.hstack([vectors, np.ones((len(vectors), 1))]) @ self.topic.T  # [n, topics]
        return [self.topics[n] for n in scores.argmax(axis=1)]

    def relation(self, new: Statement, old: Sequence[Statement]) -> tuple[Doubles, Doubles]:
        """Return how likely a new statement ends each of ``n`` earlier ones, and says the same, both ``[n]``.

        Whether it ends one is told in two steps: as if the two were of one matter, then by whether they are.
        """
        x = np.array([pair(new, one) for one in old])
        ends, same = _affine(x, self.ends), _affine(x, self.same)
        return sigmoid(_affine(self.of_one_matter(new, old, ends, same), self.closing)), sigmoid(same)

    def of_one_matter(self, new: Statement, old: Sequence[Statement], ends: Doubles, same: Doubles) -> Doubles:
        """Return the features ``[n, 5]`` of the second step."""
        near = np.array([cosine(new, one) for one in old])
        vectors = np.array([one.vector for one in (new, *old)])
        odds = sigmoid(np.hstack([vectors, np.ones((len(vectors), 1))]) @ self.topic.T)  # [1 + n, topics]
        odds /= np.linalg.norm(odds, axis=1, keepdims=True)
        alike = odds[1:] @ odds[0]
        ends, same = np.clip(ends, -4, 4), np.clip(same, -4, 4)
        return np.column_stack([ends, same, 4 * near, 2 * alike, ends * near])


def heads(embedder: Embedder | None) -> Heads | None:
    """Return the heads, ``None`` where they were trained over another embedder's vectors."""
    if embedder is None:
        return None
    fingerprint, found = _load()
    return found if fingerprint == embedder.fingerprint else None


@lru_cache(maxsize=1)
def _load() -> tuple[str, Heads]:
    with files("idiolect.memory").joinpath(WEIGHTS).open("rb") as file, np.load(file, allow_pickle=False) as table:
        named: dict[str, Any] = {name: table[name].astype(np.float64) for name in _ARRAYS}
        return str(table["embedder"]), Heads(**named, topics=tuple(table["topics"].tolist()))


_ARRAYS = ("worth", "always", "topic", "ends", "same", "closing")


def pair(new: Statement, old: Statement) -> Doubles:
    """Return the features of a pair: both vectors, their product, and what words and numbers say."""
    a, b = new.vector, old.vector
    assert a is not None
    assert b is not None
    told, before = set(terms(new.text)), set(terms(old.text))
    said = new.text.lower().split()
    facts = [
        4 * cosine(new, old), 2 * overlap(new, old), 2 * jaccard(new, old), float(new.negated), float(old.negated),
        float(new.negated != old.negated), float(bool(new.numbers)), float(new.numbers != old.numbers),
        float(bool(new.numbers & old.numbers)), len(told - before) / 4, len(before - told) / 4,
        *(float(word in said) for word in CHANGE),
    ]  # fmt: skip
    return np.concatenate([2 * a, 2 * b, 16 * a * b, facts]).astype(np.float64)


def _affine(x: npt.NDArray[Any], weights: Doubles) -> Doubles:
    out: Doubles = x @ weights[:-1] + weights[-1]
    return out
