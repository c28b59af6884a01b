"""Decomposed Reward Models (arXiv:2502.13131): principal components of what people chose over what, as reward heads.

With ``d = e(chosen) - e(other)`` over everybody's pairs, the components ``v_k`` of the covariance of ``d`` and their
opposites are heads. Centring takes away the mean of ``d``, which is what everybody prefers, so that the pooled
regression stands before them as the original head. Heads are divided by the deviation of ``v . d``, so that their
losses compare. A person weighs them by ``softmax(-L_k / temperature)``, ``L_k`` being the mean Bradley-Terry loss
``log(1 + exp(-v_k . d))`` over the person's own pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from idiolect.alignment.shared.directions import regressions
from idiolect.alignment.shared.features import FOLDS
from idiolect.alignment.shared.packing import Array
from idiolect.alignment.shared.posterior import Doubles
from idiolect.alignment.shared.rewarding import Arrays, Taken
from idiolect.prompting.shared.distillation import softmax


@dataclass(frozen=True, eq=False)
class Heads:
    """``vectors [1 + 2 components, dim]``: the original head, the components, their opposites."""

    vectors: Doubles
    temperature: float

    def known(self, taken: Taken) -> Array:
        """Return how much each head counts for a person, ``[heads]``, of sum 1."""
        loss = np.logaddexp(0.0, -taken.differences() @ self.vectors.T).mean(axis=0)
        return softmax(-loss / self.temperature).astype(np.float32)

    def rewards(self, options: Doubles, known: Array | None) -> Doubles:
        """Return ``sum_k w_k v_k . e``; for a stranger the original head's."""
        weights = np.eye(len(self.vectors))[0] if known is None else known.astype(np.float64)
        return np.asarray(options @ (weights @ self.vectors), np.float64)

    def arrays(self) -> dict[str, Array]:
        """Return what is kept."""
        return {"vectors": self.vectors.astype(np.float32), "temperature": np.array([self.temperature])}

    @staticmethod
    def read(arrays: Arrays) -> Heads:
        """Return what :meth:`arrays` gave."""
        return Heads(arrays["vectors"].astype(np.float64), float(arrays["temperature"][0]))


def learn_heads(people: Sequence[Taken], components: int, temperature: float) -> Heads:
    """Learn the heads from people's choices; so many ``components`` at most, as many as the pairs span."""
    pairs = np.concatenate([own.differences() for own in people])
    found = np.stack([_original(people), *principal(pairs, components).T])
    deviation = np.sqrt(((pairs @ found.T) ** 2).mean(axis=0))
    scaled = found / np.where(deviation > 1e-9, deviation, 1.0)[:, None]
    return Heads(np.concatenate([scaled, -scaled[1:]]), temperature)


def principal(pairs: Doubles, components: int) -> Doubles:
    """Return the leading eigenvectors ``[dim, components]`` of the covariance of ``pairs [pairs, dim]``."""
    away = pairs - pairs.mean(axis=0)
    values, vectors = np.linalg.eigh(away.T @ away / len(away))
    count = min(components, int((values > 1e-9 * max(values.max(), 1e-12)).sum()))
    found = vectors[:, ::-1][:, :count]
    signs = np.sign(found[np.abs(found).argmax(axis=0), np.arange(count)])
    return np.asarray(found * signs, np.float64)


def _original(people: Sequence[Taken]) -> Doubles:
    """Return the direction ``[dim]`` that foretells everybody's choices, the penalty chosen over held-out people."""
    rows = np.concatenate([options for own in people for options in own.options])
    target, fold = list[Doubles](), list[int]()
    for number, own in enumerate(people):
        for options, chosen in zip(own.options, own.chosen, strict=True):
            target.append(np.eye(len(options))[chosen] - 1.0 / len(options))
            fold += [number % FOLDS] * len(options)
    made = regressions(rows, np.concatenate(target)[:, None], np.array(fold, np.int64), FOLDS)
    return np.asarray(made.mean(axis=0)[:, 0], np.float64)
