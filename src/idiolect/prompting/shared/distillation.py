"""Teaching scores what records were worth: losses over one list of candidates, and the optimizer.

Each loss returns its value ``[...]`` and its gradient with respect to the scores ``[..., n]``. ``mask`` is true at real
candidates; padding gets no probability on either side and no gradient, and a list that is padding alone has loss 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def log_sigmoid(values: Doubles) -> Doubles:
    """Return ``-log(1 + exp(-values))`` without overflow."""
    return -np.logaddexp(0.0, -values)


def sigmoid(values: Doubles) -> Doubles:
    """Return ``1 / (1 + exp(-values))`` without overflow."""
    return np.exp(log_sigmoid(values))


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


def reinforce(
    scores: Array, reward: Array | float, sampled: Array | int, mask: Array | None = None
) -> tuple[Doubles, Doubles]:
    """Minus reward times the log probability of the ``sampled`` candidate (ROPG-RL, arXiv:2404.05970, section 3.1).

    ``reward`` and ``sampled`` have one number for each list ``[...]``. Raises ``ValueError`` where padding was sampled.
    """
    student = log_softmax(scores, mask)
    chosen = np.expand_dims(np.asarray(sampled), -1)
    likely = np.take_along_axis(student, chosen, axis=-1)[..., 0]
    if not np.isfinite(likely).all():
        raise ValueError(f"candidate {sampled} is padding and cannot be sampled")
    gradient = np.exp(student)
    np.put_along_axis(gradient, chosen, np.take_along_axis(gradient, chosen, axis=-1) - 1.0, axis=-1)
    return -np.asarray(reward) * likely, np.expand_dims(np.asarray(reward), -1) * gradient


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


Parameters = dict[str, Doubles]


def descend(
    parameters: Parameters,
    loss: Callable[[Parameters], tuple[float, Parameters]],
    held: Callable[[Parameters], float] | None = None,
    *,
    rate: float = 0.02,
    steps: int = 300,
    patience: int = 40,
) -> Parameters:
    """Minimize ``loss`` (value and gradients) with Adam; return the parameters that were best on ``held``.

    It stops once ``held`` has not improved for ``patience`` steps; without ``held`` all steps are taken.
    """
    now = {name: np.array(value, np.float64) for name, value in parameters.items()}
    best, least, since = {name: value.copy() for name, value in now.items()}, np.inf, 0
    adam = Adam(rate)
    for _ in range(steps):
        if held is not None:
            value = held(now)
            since = 0 if value < least - 1e-9 else since + 1
            if since == 0:
                best, least = {name: array.copy() for name, array in now.items()}, value
            if since >= patience:
                break
        adam.step(now, loss(now)[1])
    return now if held is None else best


def hold_out(people: Sequence[str], seed: int = 0) -> frozenset[str]:
    """Return a third of the people (at least one of two) to stop early on; nobody of a single one."""
    names = sorted(set(people))
    shuffled = [names[n] for n in np.random.default_rng(seed).permutation(len(names))]
    return frozenset(shuffled[: max(1, len(names) // 3)] if len(names) > 1 else ())
