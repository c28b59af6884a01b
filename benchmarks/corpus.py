"""A made-up corpus for speed measurements: text ``i`` and vector ``i`` are the same in every process and every run.

The first ``BASE`` vectors are MiniLM's own, embedded once and kept in a folder; every later one is one of them plus
small noise (speed depends on how many there are and on how close together they lie, not on what they say).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

BASE = 4000
NOISE = 0.03  # per component: cosine .86 to the vector it came from, as between paraphrases
PLACES = "Lagos Turin Quito Gdansk Malmo Pune Busan Cork Natal Split Basel Tartu Hobart Ghent Izmir Sucre".split()
THINGS = (
    "the old bicycle, sourdough bread, a violin lesson, the allotment, chess problems, the night train, oat milk,"
    " watercolours, a broken dishwasher, the marathon plan, mushroom picking, her thesis, the tax letter, tango,"
    " a weather balloon, crossword puzzles, the choir concert, sea kayaking, a rescue dog, the attic window,"
    " vintage cameras, peanut allergy, the school play, a standing desk"
).split(", ")
DEEDS = (
    "talked for an hour about, finally gave up on, is planning a weekend around, cannot stop thinking about,"
    " asked a friend for help with, spent too much money on, has mixed feelings about, took photographs of,"
    " read two articles about, wants to be reminded of, was disappointed by, made a list of everything for"
).split(", ")
WHEN = "before breakfast, on the way home, last winter, during the call, at the market, after the move".split(", ")
ASKED = (
    "What happened with {thing}?",
    "Did anyone mention {thing} in {place}?",
    "What should I remember {when} about {thing}?",
    "Who {deed} {thing}?",
    "Any plans for {place} {when}?",
)
_NUMBER = re.compile(r"entry (\d+)")


def _draw(kind: str, number: int) -> list[int]:
    return list(blake2b(f"{kind} {number}".encode(), digest_size=16).digest())


def text(number: int) -> str:
    """Return text ``number``: about 25 words."""
    r = _draw("text", number)
    return (
        f"{WHEN[r[0] % 6].capitalize()} in {PLACES[r[1] % 16]} someone {DEEDS[r[2] % 12]} {THINGS[r[3] % 24]} and"
        f" {DEEDS[r[4] % 12]} {THINGS[r[5] % 24]}, which led back to {PLACES[r[6] % 16]} (entry {number})."
    )


def query(number: int) -> str:
    """Return question ``number``."""
    r = _draw("query", number)
    return ASKED[r[0] % len(ASKED)].format(
        thing=THINGS[r[1] % 24], place=PLACES[r[2] % 16], when=WHEN[r[3] % 6], deed=DEEDS[r[4] % 12]
    )


def number_of(said: str) -> int:
    """Return the number of the text that ``said`` is or contains."""
    match = _NUMBER.search(said)
    assert match is not None, said
    return int(match[1])


@dataclass(frozen=True)
class Corpus:
    """Vectors of texts and questions, all of length 1."""

    base: Floats  # [BASE, dim]
    asked: Floats  # [questions, dim]
    real: bool
    """Whether they come from MiniLM; random ones stand in where the model is not on the machine."""

    def vectors(self, numbers: Sequence[int]) -> Floats:
        """Return the vectors of some texts ``[len(numbers), dim]``."""
        at = np.asarray(numbers, np.int64)
        out = self.base[at % len(self.base)].copy()
        for row in np.flatnonzero(at >= len(self.base)):
            noise = np.random.Generator(np.random.SFC64(int(at[row])))
            out[row] += np.float32(NOISE) * noise.standard_normal(out.shape[1], np.float32)
        return out / np.linalg.norm(out, axis=1, keepdims=True)


class TableEmbedder:
    """Stands in for the embedding model: a look-up, so that no figure contains the model's time."""

    fingerprint = "benchmark-table"

    def __init__(self, corpus: Corpus) -> None:
        self._corpus, self.dim = corpus, corpus.base.shape[1]
        self._asked = {query(n): corpus.asked[n] for n in range(len(corpus.asked))}

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return the vectors of texts of the corpus or of one question."""
        if len(texts) == 1 and texts[0] in self._asked:
            return self._asked[texts[0]][None]
        return self._corpus.vectors([number_of(text) for text in texts])


def load(folder: Path, questions: int = 200, base: int = BASE) -> Corpus:
    """Return the corpus; its vectors are embedded at the first call and kept in ``folder``."""
    path = folder / f"vectors-{base}-{questions}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        vectors, real = _embed([*map(text, range(base)), *map(query, range(questions))])
        np.savez(path, base=vectors[:base], asked=vectors[base:], real=real)
    with np.load(path) as held:
        return Corpus(held["base"], held["asked"], bool(held["real"]))


def _embed(texts: list[str]) -> tuple[Floats, bool]:
    from idiolect.errors import IdiolectError
    from idiolect.text.embedding import load_embedder

    try:
        embedder = load_embedder("minilm")
        assert embedder is not None
        return embedder.embed(texts), True
    except IdiolectError as error:
        print(f"random vectors stand in for MiniLM's: {error}")
        vectors = np.random.default_rng(0).standard_normal((len(texts), 384), np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), False
