"""Small linear heads for what no rule foresees: is it worth keeping, does it end something?

The weights were trained by ``benchmarks/memory/train.py`` on labelled clauses and pairs of our own, over the vectors of
MiniLM and over words. With another embedder, or none, the rules stand alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from idiolect.memory import wording
from idiolect.memory.sameness import Statement, cosine, jaccard, overlap
from idiolect.prompting.shared.distillation import sigmoid
from idiolect.text.terms import terms
from idiolect.types import Embedder, Floats

Doubles = npt.NDArray[np.float64]

WEIGHTS = "weights.npz"
CLAUSE, PAIR = 0.3, 0.7
"""Weight of a word beside a vector in the features of a clause, and of a pair."""


@dataclass(frozen=True, eq=False)
class Heads:
    """Weights of each head, the bias last; ``topics`` names the rows of ``topic``, which is ``[topics, features + 1]``.

    ``words`` are the words and pairs of words that count in a clause, ``changes`` those of a new statement in a pair.
    """

    worth: Doubles
    always: Doubles
    topic: Doubles
    topics: tuple[str, ...]
    words: tuple[str, ...]
    ends: Doubles
    same: Doubles
    closing: Doubles
    changes: tuple[str, ...]

    def read(self, texts: Sequence[str], vectors: Floats) -> Doubles:
        """Return the features of ``n`` clauses with their vectors ``[n, dim]``: what the next three take."""
        return clause(texts, vectors, self.places)

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The position of each word among the features."""
        return {word: n for n, word in enumerate(self.words)}

    @cached_property
    def signs(self) -> Mapping[str, int]:
        """The position of each word of change."""
        return {word: n for n, word in enumerate(self.changes)}

    def keep(self, x: Doubles) -> Doubles:
        """Return how likely each clause is worth keeping, ``[n]``."""
        return sigmoid(_affine(x, self.worth))

    def safety(self, x: Doubles) -> Doubles:
        """Return how likely each bears on safety, ``[n]``."""
        return sigmoid(_affine(x, self.always))

    def topics_of(self, x: Doubles) -> list[str]:
        """Return the likeliest topic of each."""
        return [self.topics[n] for n in self._topic_scores(x).argmax(axis=1)]

    def _topic_scores(self, x: Doubles) -> Doubles:
        return np.hstack([x, np.ones((len(x), 1))]) @ self.topic.T  # [n, topics]

    def relation(self, new: Statement, old: Sequence[Statement]) -> tuple[Doubles, Doubles]:
        """Return how likely a new statement ends each of ``n`` earlier ones, and says the same, both ``[n]``.

        Whether it ends one is told in two steps: as if the two were of one matter, then by whether they are.
        """
        x = pairs(new, old, self.signs)
        ends, same = _affine(x, self.ends), _affine(x, self.same)
        return sigmoid(_affine(self.of_one_matter(new, old, ends, same), self.closing)), sigmoid(same)

    def of_one_matter(self, new: Statement, old: Sequence[Statement], ends: Doubles, same: Doubles) -> Doubles:
        """Return the features ``[n, 5]`` of the second step."""
        near = np.array([cosine(new, one) for one in old])
        said = (new, *old)
        vectors = np.array([one.vector for one in said])
        odds = sigmoid(self._topic_scores(self.read([one.text for one in said], vectors)))  # [1 + n, topics]
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
        listed: dict[str, Any] = {name: tuple(str(table[name]).split("\n")) for name in _LISTS}
        return str(table["embedder"]), Heads(**named, **listed)


_ARRAYS = ("worth", "always", "topic", "ends", "same", "closing")
_LISTS = ("topics", "words", "changes")


def clause(texts: Sequence[str], vectors: Floats, places: Mapping[str, int]) -> Doubles:
    """Return the features of clauses ``[n, dim + words + 1]``: vector, words, length."""
    return np.hstack([vectors, CLAUSE * wording.features(texts, places), wording.lengths(texts)])


def pairs(new: Statement, old: Sequence[Statement], signs: Mapping[str, int]) -> Doubles:
    """Return the features of a new statement beside each of ``n`` old ones, ``[n, features]``."""
    told = PAIR * wording.features([new.text], signs)
    return np.hstack([np.array([_pair(new, one) for one in old]), np.repeat(told, len(old), axis=0)])


def _pair(new: Statement, old: Statement) -> Doubles:
    """Return both vectors, their product, and what words and numbers say of a pair."""
    a, b = new.vector, old.vector
    assert a is not None
    assert b is not None
    told, before = set(terms(new.text)), set(terms(old.text))
    facts = [
        4 * cosine(new, old), 2 * overlap(new, old), 2 * jaccard(new, old), float(new.negated), float(old.negated),
        float(new.negated != old.negated), float(bool(new.numbers)), float(new.numbers != old.numbers),
        float(bool(new.numbers & old.numbers)), len(told - before) / 4, len(before - told) / 4,
    ]  # fmt: skip
    return np.concatenate([2 * a, 2 * b, 16 * a * b, facts]).astype(np.float64)


def _affine(x: npt.NDArray[Any], weights: Doubles) -> Doubles:
    out: Doubles = x @ weights[:-1] + weights[-1]
    return out
