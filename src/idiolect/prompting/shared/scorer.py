"""A small trained score of how useful a record is for a question, on top of frozen vectors.

The published retrievers tune both towers of an embedding model. Here the embedder stays as it is, and what is learnt is
``s(d | q) = w . x + b + [q; 1]' U V' d``: linear in what the search knows of a record (``x``) plus a bilinear form of
low rank on the unit vectors of question and record. ``w`` starts as the search's own score and ``V`` as 0, so that an
untrained scorer ranks as the search does.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from idiolect.prompting.shared.distillation import Doubles, Parameters
from idiolect.text.terms import terms
from idiolect.types import Embedder, Hit

PARTS = ("bm25", "dense", "speaker", "date", "recency", "session")
FEATURES = ("score", *PARTS, "cosine", "newest", "length", "agreement", "overlap")
_TRAINED = ("weights", "bias", "left", "right")


@dataclass(frozen=True, eq=False)
class Seen:
    """What a scorer sees of one question and its candidates."""

    plain: Doubles
    """``[n, features]``, in the order of :data:`FEATURES`."""
    query: Doubles
    """The question's unit vector and a 1, ``[dim + 1]``."""
    records: Doubles
    """The records' unit vectors, ``[n, dim]``."""


def see(query: str, hits: Sequence[Hit], embedder: Embedder | None) -> Seen:
    """Return the features of some candidates for a question; without an embedder ``dim`` is 0."""
    records = [hit.record for hit in hits]
    vectors = np.zeros((len(hits) + 1, 0))
    if embedder is not None:
        vectors = np.asarray(embedder.embed([query, *(record.text for record in records)]), np.float64)
    age = np.argsort(np.argsort([-record.time for record in records], kind="stable"), kind="stable")
    same = Counter(record.output for record in records)
    asked = set(terms(query))
    rows = []
    for hit, cosine, place in zip(hits, vectors[1:] @ vectors[0], age, strict=True):
        shared = len(asked.intersection(terms(hit.record.text))) / max(1, len(asked))
        parts = [hit.parts.get(name, 0.0) for name in PARTS]
        rows.append([
            hit.score, *parts, cosine, 1.0 - place / len(hits), np.log1p(len(hit.record.text)),
            same[hit.record.output] / len(hits), shared,
        ])  # fmt: skip
    plain = np.array(rows, np.float64).reshape(len(hits), len(FEATURES))
    return Seen(plain, np.append(vectors[0], 1.0), vectors[1:])


@dataclass(frozen=True, eq=False)
class Batch:
    """Questions with equally many places for candidates; ``mask [rows, n]`` is true at real ones."""

    plain: Doubles
    query: Doubles
    records: Doubles
    mask: Any
    gains: Doubles

    @staticmethod
    def of(seen: Sequence[Seen], gains: Sequence[Any]) -> Batch:
        """Stack questions, the shorter lists padded with zeros."""
        n = max(len(one.plain) for one in seen)
        places = [np.arange(n) < len(one.plain) for one in seen]
        return Batch(
            np.stack([_padded(one.plain, n) for one in seen]), np.stack([one.query for one in seen]),
            np.stack([_padded(one.records, n) for one in seen]), np.stack(places),
            np.stack([_padded(np.asarray(gain, np.float64), n) for gain in gains]),
        )  # fmt: skip


def _padded(values: Doubles, n: int) -> Doubles:
    return np.concatenate([values, np.zeros((n - len(values), *values.shape[1:]))])


@dataclass(frozen=True, eq=False)
class Scorer:
    """The score ``[rows, n]`` of candidates, and what it takes to make it again.

    ``mean`` and ``std`` put the features on one scale; ``unit`` [nats] is what a score of 1 stands for where the scores
    are calibrated.
    """

    mean: Doubles
    std: Doubles
    parameters: Parameters
    unit: float = 1.0
    embedder: str = ""

    @staticmethod
    def untrained(batch: Batch, rank: int, seed: int, unit: float, embedder: str) -> Scorer:
        """Return a scorer that ranks as the search does."""
        real = batch.plain[batch.mask]
        std = real.std(axis=0)
        dim = batch.records.shape[-1]
        left = np.random.default_rng(seed).normal(size=(dim + 1, rank)) / np.sqrt(dim + 1)
        parameters = {
            "weights": (np.array(FEATURES) == "score").astype(np.float64), "bias": np.zeros(1),
            "left": left, "right": np.zeros((dim, rank)),
        }  # fmt: skip
        return Scorer(real.mean(axis=0), np.where(std > 1e-9, std, 1.0), parameters, unit, embedder)

    def scores(self, batch: Batch, parameters: Parameters | None = None) -> Doubles:
        """Return the scores ``[rows, n]``."""
        p = parameters or self.parameters
        linear: Doubles = (batch.plain - self.mean) / self.std @ p["weights"] + p["bias"]
        asked = batch.query @ p["left"]  # [rows, rank]
        form: Doubles = np.einsum("rnk,rk->rn", batch.records @ p["right"], asked)
        return linear + form

    def slopes(self, batch: Batch, parameters: Parameters, gradient: Doubles) -> Parameters:
        """Return the gradients of the parameters for a gradient of the scores ``[rows, n]``."""
        plain = (batch.plain - self.mean) / self.std
        asked = batch.query @ parameters["left"]
        answer = np.einsum("rn,rnk->rk", gradient, batch.records @ parameters["right"])
        mixed = np.einsum("rn,rnd->rd", gradient, batch.records)
        return {
            "weights": np.einsum("rn,rnf->f", gradient, plain), "bias": gradient.sum(keepdims=True)[0],
            "left": batch.query.T @ answer, "right": mixed.T @ asked,
        }  # fmt: skip

    def of(self, seen: Seen) -> Doubles:
        """Return the scores ``[n]`` of one question's candidates."""
        return np.asarray(self.scores(Batch.of([seen], [np.zeros(len(seen.plain))]))[0], np.float64)

    def pack(self) -> bytes:
        """Return the scorer as bytes, numbers in single precision."""
        out = io.BytesIO()
        head = np.frombuffer(orjson.dumps({"unit": self.unit, "embedder": self.embedder}), np.uint8)
        arrays: dict[str, Any] = {name: self.parameters[name].astype(np.float32) for name in _TRAINED}
        np.savez(out, head=head, mean=self.mean.astype(np.float32), std=self.std.astype(np.float32), **arrays)
        return out.getvalue()

    @staticmethod
    def unpack(data: bytes) -> Scorer:
        """Read :meth:`pack`."""
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            head = orjson.loads(found["head"].tobytes())
            parameters = {name: found[name].astype(np.float64) for name in _TRAINED}
            mean, std = found["mean"].astype(np.float64), found["std"].astype(np.float64)
        return Scorer(mean, std, parameters, head["unit"], head["embedder"])
