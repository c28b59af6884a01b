"""One encoder of people with interchangeable heads: a history goes in, soft tokens of a fixed number come out.

Items are frozen text vectors with features beside them (arXiv:2408.00960, arXiv:2402.13598), because text encoders blur
numbers and know no time. All of it is numpy with gradients written by hand, so that serving needs no PyTorch.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import orjson

from idiolect.training.compression import Compressed
from idiolect.training.injector import scaled
from idiolect.types import Floats, Record

HeadName = Literal["mean", "attention", "difference", "resampler", "compressed"]
Weights = Mapping[str, Floats]
Pull = Callable[[Floats], dict[str, Floats]]
"""From the gradient of an output to those of the weights that made it."""

WIDTH = 64
"""Width of the layer between items and soft tokens."""
TEMPERATURE = 0.07
"""Of the attention. Cosines lie close together: without one all items would weigh nearly the same."""
LABEL_CHARS, _LABEL = 40, 16
_PLACE = 2  # the last columns: age and rank
FEATURES = _LABEL + 2 + _PLACE


@dataclass(frozen=True)
class Person:
    """What is known of somebody: ``items`` ``[n, dim + FEATURES]`` (:func:`items_of`), and what tells them from others.

    ``apart`` ``[n, dim]`` holds the items' differences from peers' (:func:`idiolect.training.difference.differences`);
    only the head ``difference`` reads it.
    """

    items: Floats
    apart: Floats | None = None

    def some(self, rows: Sequence[int]) -> Person:
        """Return the same person with only those items."""
        return Person(self.items[rows], None if self.apart is None else self.apart[rows])


def items_of(records: Sequence[Record], vectors: Floats) -> Floats:
    """Return records, oldest first, with their vectors ``[n, dim]`` as items ``[n, dim + FEATURES]``.

    Beside the vector stand a hash of a short output (a rating, a label) as a unit vector, its value where it is a
    number, the output's length, the age relative to the newest record and the rank from it, all on a log scale.
    """
    out = np.zeros((len(records), vectors.shape[1] + FEATURES), np.float32)
    out[:, : vectors.shape[1]] = vectors
    newest = max((record.time for record in records), default=0.0)
    for row, record in enumerate(records):
        said = record.output.strip().casefold()
        feature = out[row, vectors.shape[1] :]
        if said and len(said) <= LABEL_CHARS:
            feature[:_LABEL] = _label(said)
            feature[_LABEL] = _number(said)
        feature[_LABEL + 1] = math.log1p(len(record.output)) / 8
        feature[-2] = math.log1p(max(0.0, newest - record.time) / 86400) / 8
        feature[-1] = math.log1p(len(records) - 1 - row) / 4
    return out


def _label(text: str) -> Floats:
    seed = int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")
    vector = np.random.default_rng(seed).normal(size=_LABEL)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return math.copysign(math.log1p(abs(value)), value) / 2 if math.isfinite(value) else 0.0


@dataclass(frozen=True)
class UserEncoder:
    """A head with its ``weights`` (flat, by name): vectors of length ``dim`` to ``tokens`` rows of width ``hidden``.

    ``norm`` is the mean norm of the language model's embedding rows; every soft token has it.
    """

    head: HeadName
    dim: int
    tokens: int
    hidden: int
    norm: float
    weights: Weights

    @staticmethod
    def new(head: HeadName, dim: int, tokens: int, hidden: int, norm: float, seed: int = 0) -> UserEncoder:
        """Return an encoder with random weights."""
        rng, items = np.random.default_rng(seed), dim + FEATURES
        shapes = {"into": (items, WIDTH), "into_bias": (WIDTH,), "out": (WIDTH, tokens * hidden)}
        if head == "difference":
            own = tokens // 2
            shapes |= {
                "out": (WIDTH, own * hidden),
                "apart": (dim, WIDTH),
                "apart_out": (WIDTH, (tokens - own) * hidden),
            }
        if head == "resampler":
            shapes |= {"out": (WIDTH, hidden), "latents": (tokens, WIDTH), "keys": (items, WIDTH)}
        shapes["bias"] = (tokens, hidden)
        spread = {"out": WIDTH**-0.5, "apart_out": WIDTH**-0.5, "into_bias": 0.0, "bias": 0.5}
        weights = {name: (rng.normal(size=shape) * spread.get(name, 1.0)).astype(np.float32)
                   for name, shape in shapes.items()}  # fmt: skip
        return UserEncoder(head, dim, tokens, hidden, norm, weights)

    def encode(self, person: Person, query: Floats | None = None) -> Floats:
        """Return a person's soft tokens ``[tokens, hidden]``; ``query`` ``[dim]`` is what the attention looks for."""
        return self.forward(person, query)[0]

    def forward(self, person: Person, query: Floats | None = None) -> tuple[Floats, Pull]:
        """Return the soft tokens and the way back from their gradient to the weights'."""
        if len(person.items) == 0:
            raise ValueError("a person without items cannot be encoded")
        raw, back = _HEADS[self.head](self.weights, person, self.weighing(person, query))
        out, unscale = scaled(raw.reshape(self.tokens, self.hidden) + self.weights["bias"], self.norm)

        def pull(gradient: Floats) -> dict[str, Floats]:
            inner = unscale(gradient)
            return {**back(inner.reshape(raw.shape)), "bias": inner}

        return out, pull

    def weighing(self, person: Person, query: Floats | None) -> Floats:
        """Return how much each item weighs ``[n]``: the same for all, but for the attention."""
        if self.head != "attention" or query is None:
            return np.full(len(person.items), 1 / len(person.items), person.items.dtype)
        return softmax(person.items[:, : self.dim] @ query / TEMPERATURE)

    def compress(self, items: Floats) -> Compressed:
        """Return documents ``[n, dim + FEATURES]`` compressed one by one and added up (head ``compressed``)."""
        return Compressed(len(items), (_documents(self.weights, items)[0]).sum(axis=0, dtype=np.float64))

    def to_bytes(self, **meta: Any) -> bytes:
        """Return the encoder in float16, about 300 kB, with ``meta`` beside it."""
        shape = {"head": self.head, "dim": self.dim, "tokens": self.tokens, "hidden": self.hidden, "norm": self.norm}
        return pack(self.weights, {**meta, **shape})

    @staticmethod
    def from_bytes(data: bytes) -> UserEncoder:
        """Read what :meth:`to_bytes` wrote."""
        weights, meta = unpack(data)
        sizes = (meta["dim"], meta["tokens"], meta["hidden"], meta["norm"])
        return UserEncoder(meta["head"], *sizes, weights)

    def with_weights(self, weights: Weights) -> UserEncoder:
        """Return the same encoder with other weights."""
        return replace(self, weights=weights)


def pack(arrays: Weights, meta: Mapping[str, Any]) -> bytes:
    """Return arrays in float16 and what is said of them as bytes; the same for the same."""
    out, short = io.BytesIO(), {name: array.astype(np.float16) for name, array in arrays.items()}
    np.savez(out, allow_pickle=False, **short, meta=np.frombuffer(orjson.dumps(meta), np.uint8))
    return out.getvalue()


def unpack(data: bytes) -> tuple[dict[str, Floats], dict[str, Any]]:
    """Read what :func:`pack` wrote; the arrays come in float32."""
    with np.load(io.BytesIO(data), allow_pickle=False) as held:
        arrays = {name: held[name].astype(np.float32) for name in held.files if name != "meta"}
        return arrays, orjson.loads(held["meta"].tobytes())


def softmax(values: Floats) -> Floats:
    """Return weights over the last axis that sum to 1."""
    wide = np.exp(values - values.max(axis=-1, keepdims=True))
    out: Floats = wide / wide.sum(axis=-1, keepdims=True)
    return out


# -- heads: (weights, person, how much each item weighs) -> what stands before the bias, and the way back --------------


def _mean(w: Weights, person: Person, weighing: Floats) -> tuple[Floats, Pull]:
    """The mean of linearly projected items, then a layer (arXiv:2408.00960, the MLP adapter)."""
    seen = weighing @ person.items  # [dim + FEATURES]
    inner = np.tanh(seen @ w["into"] + w["into_bias"])  # [WIDTH]

    def pull(gradient: Floats) -> dict[str, Floats]:
        below = (w["out"] @ gradient) * (1 - inner**2)
        return {"out": np.outer(inner, gradient), "into": np.outer(seen, below), "into_bias": below}

    return inner @ w["out"], pull


def _attention(w: Weights, person: Person, weighing: Floats) -> tuple[Floats, Pull]:
    """Items weighed by the question after a layer of their own (PPlug, arXiv:2409.11901 section 3.2)."""
    items = person.items
    inner = np.tanh(items @ w["into"] + w["into_bias"])  # [n, WIDTH]
    pooled = weighing @ inner

    def pull(gradient: Floats) -> dict[str, Floats]:
        below = np.outer(weighing, w["out"] @ gradient) * (1 - inner**2)
        return {"out": np.outer(pooled, gradient), "into": items.T @ below, "into_bias": below.sum(axis=0)}

    return pooled @ w["out"], pull


def _difference(w: Weights, person: Person, weighing: Floats) -> tuple[Floats, Pull]:
    """Half of the tokens from the own items, half from their differences from others' (arXiv:2507.20849)."""
    own, back = _mean(w, person, weighing)
    apart = np.zeros(len(w["apart"]), own.dtype) if person.apart is None else weighing @ person.apart  # [dim]
    inner = np.tanh(apart @ w["apart"])  # no bias: no difference says nothing

    def pull(gradient: Floats) -> dict[str, Floats]:
        here = gradient[len(own) :]
        below = (w["apart_out"] @ here) * (1 - inner**2)
        return {**back(gradient[: len(own)]), "apart_out": np.outer(inner, here), "apart": np.outer(apart, below)}

    return np.concatenate([own, inner @ w["apart_out"]]), pull


def _resampler(w: Weights, person: Person, weighing: Floats) -> tuple[Floats, Pull]:
    """Learnt latents that attend to the items, one for each token (Perceiver, arXiv:2402.13598 section 3.2)."""
    items, scale = person.items, np.float32(WIDTH**-0.5)
    keys = items @ w["keys"]  # [n, WIDTH]
    inner = np.tanh(items @ w["into"] + w["into_bias"])
    attention = softmax((w["latents"] @ keys.T) * scale)  # [tokens, n]
    mixed = w["latents"] + attention @ inner  # [tokens, WIDTH]

    def pull(gradient: Floats) -> dict[str, Floats]:
        above = gradient @ w["out"].T  # [tokens, WIDTH]
        to_attention = above @ inner.T
        scores = attention * (to_attention - (attention * to_attention).sum(axis=1, keepdims=True)) * scale
        below = (attention.T @ above) * (1 - inner**2)
        return {
            "out": mixed.T @ gradient, "latents": above + scores @ keys, "keys": items.T @ (scores.T @ w["latents"]),
            "into": items.T @ below, "into_bias": below.sum(axis=0),
        }  # fmt: skip

    return mixed @ w["out"], pull


def _compressed(w: Weights, person: Person, weighing: Floats) -> tuple[Floats, Pull]:
    """The mean over documents that were each compressed by itself (ComMer, arXiv:2501.03276 section 3)."""
    documents, inner, items = _documents(w, person.items)

    def pull(gradient: Floats) -> dict[str, Floats]:
        below = np.outer(weighing, w["out"] @ gradient) * (1 - inner**2)
        return {"out": np.outer(weighing @ inner, gradient), "into": items.T @ below, "into_bias": below.sum(axis=0)}

    return Compressed(len(documents), documents.sum(axis=0, dtype=np.float64)).mean.astype(items.dtype), pull


def _documents(w: Weights, items: Floats) -> tuple[Floats, Floats, Floats]:
    # -> [n, tokens * hidden], the layer before it, and the items without age and rank: those depend on other documents
    items = np.concatenate([items[:, :-_PLACE], np.zeros_like(items[:, -_PLACE:])], axis=1)
    inner = np.tanh(items @ w["into"] + w["into_bias"])
    return inner @ w["out"], inner, items


_HEADS: Mapping[HeadName, Callable[[Weights, Person, Floats], tuple[Floats, Pull]]] = {
    "mean": _mean, "attention": _attention, "difference": _difference, "resampler": _resampler,
    "compressed": _compressed,
}  # fmt: skip
