"""Words and pairs of words as features: grammar tells a lasting fact from a passing one, sentence vectors hardly."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

_TOKEN = re.compile(r"[a-z']+|\d+|[?!]")


def tokens(text: str) -> list[str]:
    """Return the words of a text in lower case, question and exclamation marks; every number is ``#``."""
    found = _TOKEN.findall(text.lower().replace("’", "'"))
    return ["#" if token.isdigit() else token for token in found]


def grams(text: str) -> frozenset[str]:
    """Return the words and the pairs of neighbours of a text; its beginning and end are neighbours too."""
    said = tokens(text)
    ends = ["^", *said, "$"]
    return frozenset(said) | {f"{a} {b}" for a, b in pairwise(ends)}


def features(texts: Sequence[str], places: Mapping[str, int]) -> Doubles:
    """Return ``[n, len(places)]``: 1 where a text has a word or pair."""
    out = np.zeros((len(texts), len(places)))
    for row, text in zip(out, texts, strict=True):
        row[[places[gram] for gram in grams(text) if gram in places]] = 1
    return out


def lengths(texts: Sequence[str]) -> Doubles:
    """Return the tens of words of each text, ``[n, 1]``."""
    return np.array([[len(tokens(text)) / 10] for text in texts]).reshape(len(texts), 1)
