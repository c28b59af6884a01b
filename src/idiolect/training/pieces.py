"""Adapters assembled module by module from the pieces of others (Per-Pcs, arXiv:2406.10471).

A piece is the change that somebody's adapter makes to one module, with a key ``[in]`` that says for which inputs it is
good. Which pieces a new person gets is a matter of their activations alone; nothing is trained for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from idiolect.errors import InputError
from idiolect.trainable import Example, Recipe
from idiolect.training.factors import Factors, LowRank, cat
from idiolect.training.user_encoder import pack, unpack
from idiolect.types import Body, Floats

Chosen = tuple[tuple[int, ...], tuple[float, ...]]
"""What a module is assembled from: places in the list of pieces, and their weights, which sum to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """One person's pieces: the adapter, and a key ``[in]`` of mean 0 and variance 1 for each of its modules.

    A module that no gradient reached has the key 0 and is as good for any input.
    """

    adapter: LowRank
    keys: Mapping[str, Floats]

    def dump(self) -> bytes:
        """Serialise, rounded to float16."""
        arrays = {f"k/{name}": key for name, key in self.keys.items()}
        for name, one in self.adapter.modules.items():
            arrays |= {f"a/{name}": one.a, f"b/{name}": one.b}
        return pack(arrays, {"scaling": self.adapter.scaling, "base_model": self.adapter.base_model})

    @staticmethod
    def load(data: bytes) -> Pieces:
        """Inverse of :meth:`dump`, up to its rounding."""
        arrays, meta = unpack(data)
        names = [name[2:] for name in arrays if name.startswith("k/")]
        modules = {name: Factors(arrays[f"a/{name}"], arrays[f"b/{name}"]) for name in names}
        adapter = LowRank(modules, meta["scaling"], meta["base_model"])
        return Pieces(adapter, {name: arrays[f"k/{name}"] for name in names})


@dataclass(frozen=True, slots=True)
class Gating:
    """An adapter whose gates are to be trained, and what its owner gave."""

    key: str
    adapter: Body
    examples: Sequence[Example]


@runtime_checkable
class Assembles(Protocol):
    """What a backend that trains offers for the making and the choice of pieces."""

    def train_gates(
        self, jobs: Sequence[Gating], recipe: Recipe, *, check: Callable[[], None] | None = None
    ) -> Iterator[tuple[str, Pieces]]:
        """Train a gate vector ``g`` ``[in]`` for each module of each adapter, and yield them as keys, by job.

        The adapter reads ``sigmoid(g.x) x`` for ``x``; ``g`` starts at 0, model and adapter stay as they are
        (arXiv:2406.10471, section 3.2). Each step moves a gate by the recipe's rate along its gradient: only the
        direction of a key counts, which Adam would bend towards the diagonals. Of the recipe rate, epochs, batch,
        warm-up, schedule and seed count.
        """

    def choose_pieces(
        self, examples: Sequence[Example], pieces: Sequence[Pieces], k: int, temperature: float
    ) -> dict[str, Chosen]:
        """Read what a person gave once, and choose for each module the ``k`` pieces whose keys fit what it reads.

        The score of a piece is the mean over examples of the mean over the text's tokens of
        ``<LN(x), key> / sqrt(in)``, the weights are the softmax of the best scores over ``temperature``. Each module is
        changed by its pieces before the later ones are chosen (section 3.3).
        """


def standard(vector: Floats) -> Floats:
    """Return a vector with mean 0 and variance 1 over its last axis; one without variance as zeros."""
    centred = vector - vector.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred.astype(np.float64) ** 2).mean(axis=-1, keepdims=True))
    out: Floats = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0).astype(np.float32)
    return out


def best(scores: Floats, k: int, temperature: float) -> Chosen:
    """Return the ``k`` best of scores ``[pieces]``, best first, and the softmax of their scores as weights."""
    order = np.argsort(-scores, kind="stable")[:k]
    weights = np.exp((scores[order] - scores[order[0]]).astype(np.float64) / temperature)
    return tuple(int(n) for n in order), tuple(float(w) for w in weights / weights.sum())


def assembled(adapters: Sequence[LowRank], chosen: Mapping[str, Chosen]) -> LowRank:
    """Return the adapter that is made of chosen pieces: the weighted sum of whole changes, exact.

    Factors are concatenated, not averaged: the mean of factors is not the mean of what they change.
    """
    if not adapters or not chosen:
        raise InputError("there are no pieces to assemble an adapter from")
    made = {}
    for name, (places, weights) in chosen.items():
        parts = [LowRank({name: adapters[n].modules[name]}, adapters[n].scaling) for n in places]
        made[name] = cat(parts, weights).modules[name]
    return LowRank(made, 1.0, adapters[0].base_model)
