"""Direct preference optimization of a soft prompt: of two texts the better one is to become the likelier one.

DPO (arXiv 2305.18290, equation 7) with label smoothing, the trained part being vectors before a frozen model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from idiolect.inside import Inside
from idiolect.prompting.shared.distillation import Adam
from idiolect.types import Call, Floats

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """Two texts written in answer to one call, and by how much the first was worth more."""

    call: Call
    chosen: str
    rejected: str
    margin: float


@dataclass(frozen=True)
class Settings:
    """``beta`` holds the policy near the reference, ``smoothing`` is the share of pairs taken to be the wrong way."""

    beta: float = 0.1
    smoothing: float = 0.1
    rate: float = 1e-3
    """Step of Adam, as a part of the typical length of one number of a token's vector."""
    epochs: int = 4
    batch: int = 64
    """Pairs a step."""


def pairs(call: Call, texts: Sequence[str], values: Sequence[float]) -> list[Pair]:
    """Pair the better half of some texts with the worse half, the best with the worst.

    A text that occurs again is left out, and so are pairs of equal value: they teach nothing.
    """
    first = dict(zip(reversed(texts), reversed(values), strict=True))
    order = sorted(first, key=lambda text: (-first[text], texts.index(text)))
    half = len(order) // 2
    matched = zip(order[:half], reversed(order[len(order) - half :]), strict=True)
    return [Pair(call, a, b, first[a] - first[b]) for a, b in matched if first[a] > first[b]]


def dpo(z: Doubles, smoothing: float = 0.0) -> tuple[Doubles, Doubles]:
    """Return the loss and its slope for ``z [pairs]``, beta times the change of the pair's log odds; ln 2 at 0."""
    loss = (1 - smoothing) * np.logaddexp(0, -z) + smoothing * np.logaddexp(0, z)
    right = 1 / (1 + np.exp(-np.clip(z, -60, 60)))
    return loss, right - (1 - smoothing)


def optimize(
    model: Inside, soft: Floats, data: Sequence[Pair], settings: Settings, rng: np.random.Generator
) -> tuple[Floats, list[float]]:
    """Train ``soft [tokens, hidden]``, itself the reference, and return the new one with the loss at each step."""
    reference = _reference(model, soft, data, settings.batch)
    parameters = {"soft": soft.astype(np.float64)}
    scale = model.embedding_norm / np.sqrt(model.hidden)
    adam, losses = Adam(settings.rate * scale), list[float]()
    for _ in range(settings.epochs):
        order = rng.permutation(len(data))
        for at in range(0, len(order), settings.batch):
            some = order[at : at + settings.batch]
            chosen = [data[i] for i in some]
            loss, gradient = step(model, parameters["soft"].astype(np.float32), chosen, reference[some], settings)
            losses.append(loss)
            adam.step(parameters, {"soft": gradient})
    return parameters["soft"].astype(np.float32), losses


def step(
    model: Inside, soft: Floats, data: Sequence[Pair], reference: Doubles, settings: Settings
) -> tuple[float, Doubles]:
    """Return the mean loss of some pairs and its gradient ``[tokens, hidden]``.

    ``reference [pairs]`` is how much likelier [nats] the chosen text was than the rejected one before training.
    """
    odds, slopes = _odds(model, soft, data)
    loss, slope = dpo(settings.beta * (odds - reference), settings.smoothing)
    gradient = np.tensordot(settings.beta * slope / len(data), slopes, axes=1)
    return float(loss.mean()), gradient


def _reference(model: Inside, soft: Floats, data: Sequence[Pair], batch: int) -> Doubles:
    calls, texts = _written(soft, data)
    found: list[float] = []
    for at in range(0, len(calls), 2 * batch):
        rows = model.token_logprobs(calls[at : at + 2 * batch], texts[at : at + 2 * batch])
        found += [float(row.sum(dtype=np.float64)) for row in rows]
    both = np.array(found, np.float64).reshape(-1, 2)
    odds: Doubles = both[:, 0] - both[:, 1]
    return odds


def _odds(model: Inside, soft: Floats, data: Sequence[Pair]) -> tuple[Doubles, Doubles]:
    """Return log p(chosen) - log p(rejected) ``[pairs]`` and its gradients ``[pairs, tokens, hidden]``."""
    calls, texts = _written(soft, data)
    scores, gradients = model.soft_gradients(calls, texts, [1.0, -1.0] * len(data))
    wide = scores.astype(np.float64).reshape(-1, 2)
    slopes = np.stack(gradients).astype(np.float64).reshape(len(data), 2, *soft.shape).sum(axis=1)
    return wide[:, 0] - wide[:, 1], slopes


def _written(soft: Floats, data: Sequence[Pair]) -> tuple[list[Call], list[str]]:
    calls = [replace(pair.call, soft_prompt=soft) for pair in data for _ in range(2)]
    return calls, [text for pair in data for text in (pair.chosen, pair.rejected)]
