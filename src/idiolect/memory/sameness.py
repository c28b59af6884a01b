"""Whether two statements say the same, or speak of the same thing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from idiolect.text.terms import terms
from idiolect.types import Embedder, Floats

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_NEGATION = re.compile(r"\b(?:not|no|never|none|neither|nor|cannot|without|hardly)\b|n't\b|n’t\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_PLAIN = (
    "user person really also always usually quite pretty currently now these days just well actually by way like love"
    " live work be have get got go use want need think know say tell called named one thing please remember am"
)
"""What says little about the matter: an 'I live in Porto' and a 'based in Porto' differ in such words alone."""


@dataclass(frozen=True)
class Statement:
    """A text with what is compared of it; ``vector`` is a unit vector ``[dim]`` where there is an embedder."""

    text: str
    content: frozenset[int]
    negated: bool
    numbers: frozenset[str]
    vector: np.ndarray[tuple[int], np.dtype[np.float32]] | None = None


@lru_cache(maxsize=1)
def _plain() -> frozenset[int]:
    return frozenset(terms(_PLAIN))


def key(statement: str) -> str:
    """Return what two wordings of the same statement share: lower case, no punctuation."""
    return " ".join(_WORD.findall(statement.lower()))


def read(texts: Sequence[str], embedder: Embedder | None, known: Floats | None = None) -> list[Statement]:
    """Return the statements, embedded in one batch; ``known`` are their vectors, zeros for those that are not."""
    vectors = _vectors(texts, embedder, known) if embedder is not None and texts else None
    return [
        Statement(
            text, frozenset(terms(text)) - _plain(), bool(_NEGATION.search(text)), frozenset(_NUMBER.findall(text)),
            None if vectors is None else vectors[n],
        )
        for n, text in enumerate(texts)
    ]  # fmt: skip


def _vectors(texts: Sequence[str], embedder: Embedder, known: Floats | None) -> Floats:
    if known is None:
        return embedder.embed(list(texts))
    new = np.flatnonzero(~known.any(axis=1))
    if len(new):
        known = known.copy()
        known[new] = embedder.embed([texts[n] for n in new.tolist()])
    return known


def cosine(a: Statement, b: Statement) -> float:
    """Return the cosine of two statements, 0 without vectors."""
    return 0.0 if a.vector is None or b.vector is None else float(a.vector @ b.vector)


def overlap(a: Statement, b: Statement) -> float:
    """Return the part of the shorter one's content words that both have."""
    least = min(len(a.content), len(b.content))
    return len(a.content & b.content) / least if least else 0.0


def jaccard(a: Statement, b: Statement) -> float:
    """Return the part of all content words that both have."""
    either = a.content | b.content
    return len(a.content & b.content) / len(either) if either else 0.0


def same(a: Statement, b: Statement) -> bool:
    """Whether two statements say the same: the same words, or so near in meaning that only the wording differs."""
    if key(a.text) == key(b.text):
        return True
    if a.negated != b.negated or a.numbers != b.numbers or not a.content or not b.content:
        return False
    return a.content == b.content or (cosine(a, b) >= 0.8 and overlap(a, b) >= 0.6) or cosine(a, b) >= 0.9
