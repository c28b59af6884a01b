"""A map of people's mean vectors, learnt so that two halves of one person lie closer than two people.

Contrastive learning of users (CFRAG, arXiv:2504.05731, section 3.2) with a linear map in the place of the published
transformer layer: over a mean of vectors the order of the records does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from idiolect.prompting.shared.distillation import Adam, Array, Doubles, log_softmax
from idiolect.types import Floats

CROP, MASK, TEMPERATURE = 0.7, 0.3, 0.1


@dataclass(frozen=True, eq=False)
class UserEncoder:
    """A linear map ``[dim, dim]`` for mean vectors of one embedder."""

    matrix: Floats
    embedder: str
    losses: tuple[float, float] = (0.0, 0.0)
    """Contrastive loss [nats] at the first and the last step."""

    def similarity(self, one: Floats, other: Floats) -> float:
        """Return the cosine of two mapped vectors ``[dim]``."""
        a, b = self.matrix @ one, self.matrix @ other
        return float(a @ b / max(1e-12, float(np.linalg.norm(a) * np.linalg.norm(b))))

    def dump(self) -> bytes:
        """Return a JSON line and the matrix as float32."""
        head = {"embedder": self.embedder, "dim": len(self.matrix), "losses": self.losses}
        return orjson.dumps(head) + b"\n" + self.matrix.astype("<f4").tobytes()

    @staticmethod
    def load(payload: bytes) -> UserEncoder:
        """Inverse of :meth:`dump`."""
        line, _, data = payload.partition(b"\n")
        head = orjson.loads(line)
        matrix = np.frombuffer(data, "<f4").reshape(head["dim"], head["dim"])
        return UserEncoder(matrix, head["embedder"], tuple(head["losses"]))


def views(vectors: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the means ``[dim]`` of two random views of one person's record vectors ``[records, dim]``.

    A view is a run of 70 % of the records, or all but a random 30 %.
    """
    return _view(vectors, rng), _view(vectors, rng)


def _view(vectors: Floats, rng: np.random.Generator) -> Floats:
    n = len(vectors)
    if rng.random() < 0.5:
        kept = max(1, round(n * CROP))
        start = int(rng.integers(n - kept + 1))
        rows = np.arange(start, start + kept)
    else:
        rows = rng.permutation(n)[: max(1, round(n * (1 - MASK)))]
    return np.asarray(vectors[rows].mean(axis=0), np.float32)


def info_nce(matrix: Array, one: Array, other: Array) -> tuple[float, Doubles]:
    """Return the InfoNCE loss [nats] of two views ``[people, dim]`` of everybody, and its gradient in the matrix.

    The cosines over the temperature are the logits, both ways round; a person's other view is the right answer.
    """
    a, b = _normalized(one @ matrix.T), _normalized(other @ matrix.T)
    logits = a[0] @ b[0].T / TEMPERATURE
    rows, columns = log_softmax(logits), log_softmax(logits.T)
    loss = -float(np.trace(rows) + np.trace(columns)) / (2 * len(one))
    wrong = (np.exp(rows) + np.exp(columns).T - 2 * np.eye(len(one))) / (2 * len(one) * TEMPERATURE)
    gradient = _back(wrong @ b[0], *a).T @ one + _back(wrong.T @ a[0], *b).T @ other
    return loss, gradient


def _normalized(mapped: Array) -> tuple[Doubles, Doubles]:
    norms = np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), 1e-12)
    return np.asarray(mapped / norms), norms


def _back(gradient: Doubles, unit: Doubles, norms: Doubles) -> Doubles:
    """Pass a gradient through the normalization."""
    return np.asarray((gradient - unit * (gradient * unit).sum(axis=1, keepdims=True)) / norms)


def train(people: Sequence[Floats], embedder: str, *, steps: int, rate: float, seed: int) -> UserEncoder:
    """Learn the map from everybody's record vectors, ``[records, dim]`` each; it begins as the identity."""
    rng, adam = np.random.default_rng(seed), Adam(rate)
    matrix = np.eye(people[0].shape[1])
    losses = []
    for _ in range(steps):
        pairs = [views(vectors, rng) for vectors in people]
        loss, gradient = info_nce(matrix, np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs]))
        adam.step({"matrix": matrix}, {"matrix": gradient})
        losses.append(loss)
    return UserEncoder(matrix.astype(np.float32), embedder, (round(losses[0], 6), round(losses[-1], 6)))
