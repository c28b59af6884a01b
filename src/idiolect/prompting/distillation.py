"""Teaching scores what records were worth: losses over one list of candidates, and the optimizer.

Each loss returns its value ``[...]`` and its gradient with respect to the scores ``[..., n]``. ``mask`` is true at real
candidates; padding gets no probability on either side and no gradient, and a list that is padding alone has loss 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


def log_softmax(values: Array, mask: Array | None = None) -> Doubles:
    """Return log probabilities over the last axis; minus infinity at padding."""
    wide = np.asarray(values, np.float64)
    if mask is not None:
        wide = np.where(mask, wide, -np.inf)
    top = wide.max(axis=-1, keepdims=True)
    wide = wide - np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide - np.where(np.isfinite(total), total, 0.0)


def softmax(values: Array, mask: Array | None = None) -> Doubles:
    """Return probabilities over the last axis; 0 at padding."""
    return np.exp(log_softmax(values, mask))


def distill(
    scores: Array, gains: Array, temperature: float = 1.0, mask: Array | None = None
) -> tuple[Doubles, Doubles]:
    """KL(softmax(gains / T) || softmax(scores)) (ROPG-KD, arXiv:2404.05970, section 3.2).

    The student is normalized once: a second softmax over its probabilities would keep it near uniform.
    """
    target = log_softmax(np.asarray(gains, np.float64) / temperature, mask)
    student = log_softmax(scores, mask)
    real = np.isfinite(target)
    wanted = np.exp(target)
    with np.errstate(invalid="ignore"):
        terms = np.where(real, wanted * (target - student), 0.0)
    return terms.sum(axis=-1), np.exp(student) - wanted


def reinforce(scores: Array, reward: float, sampled: int, mask: Array | None = None) -> tuple[Doubles, Doubles]:
    """Minus reward times the log probability of the ``sampled`` candidate (ROPG-RL, arXiv:2404.05970, section 3.1).

    Scores ``[n]``; raises ``ValueError`` where padding was sampled.
    """
    student = log_softmax(scores, mask)
    if not np.isfinite(student[sampled]):
        raise ValueError(f"candidate {sampled} is padding and cannot be sampled")
    gradient = np.exp(student)
    gradient[sampled] -= 1.0
    return np.asarray(-reward * student[sampled]), reward * gradient


def calibrated(
    scores: Array,
    gains: Array,
    anchor_score: float = 0.0,
    anchor_gain: float = 0.0,
    *,
    temperature: float = 1.0,
    mask: Array | None = None,
) -> tuple[Doubles, Doubles]:
    """KL with an anchor of known score and gain among the candidates on both sides (PEARL, arXiv:2311.09180).

    The anchor ties the level of the scores, not only their order: with anchors 0 the optimum is ``gains / T``.
    """
    scores = np.asarray(scores, np.float64)
    gains = np.asarray(gains, np.float64)
    if mask is not None:
        mask = np.concatenate([mask, np.ones((*mask.shape[:-1], 1), np.bool_)], axis=-1)
    value, gradient = distill(_with(scores, anchor_score), _with(gains, anchor_gain), temperature, mask)
    return value, gradient[..., :-1]


def _with(values: Doubles, anchor: float) -> Doubles:
    return np.concatenate([values, np.full((*values.shape[:-1], 1), anchor)], axis=-1)


@dataclass
class Adam:
    """Adam (arXiv:1412.6980, algorithm 1) over named arrays, which ``step`` changes in place."""

    rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    steps: int = 0
    _mean: dict[str, Array] = field(default_factory=dict)
    _square: dict[str, Array] = field(default_factory=dict)

    def step(self, parameters: Mapping[str, Array], gradients: Mapping[str, Array]) -> None:
        """Take one step down; parameters without a gradient stay."""
        self.steps += 1
        for name, gradient in gradients.items():
            mean = self._mean.setdefault(name, np.zeros_like(parameters[name], np.float64))
            square = self._square.setdefault(name, np.zeros_like(parameters[name], np.float64))
            mean += (1 - self.beta1) * (gradient - mean)
            square += (1 - self.beta2) * (gradient * gradient - square)
            scale = np.sqrt(square / (1 - self.beta2**self.steps)) + self.epsilon
            parameters[name][...] -= self.rate * (mean / (1 - self.beta1**self.steps)) / scale
