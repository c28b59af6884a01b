"""Scores out of one shared layer and several heads (HYDRA, arXiv 2406.02888; its successor, the mixture of facets).

``score = sum over heads of mixing * (head . [tanh(features . base), 1])``. With a base head and one head for each
person, mixed one-hot, it is HYDRA; with few heads for everybody and mixing by a router over a person's vector it is the
mixture of facets, whose size does not grow with the people. Gradients are written out by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from idiolect.prompting.shared.distillation import Adam, sigmoid, softmax

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
Weights = dict[str, Doubles]
"""``mean`` and ``spread`` ``[features]`` bring features to one scale; ``base`` ``[features + 1, hidden]``, ``heads``
``[heads, hidden + 1]``; with a router ``centre`` ``[dim + 1]`` (the last is the scale) and ``router``
``[dim + 1, heads]``."""


@dataclass(frozen=True, eq=False)
class Examples:
    """What is to be told apart: features ``[n, features]``, how good each is (0 to 1) ``[n]``, whose it is ``[n]``."""

    features: Doubles
    targets: Doubles
    person: Places

    @staticmethod
    def join(parts: Sequence[tuple[Doubles, Doubles]]) -> Examples:
        """Put together what each person in order has: features ``[n, features]`` and targets ``[n]``."""
        person = np.repeat(np.arange(len(parts)), [len(targets) for _, targets in parts])
        return Examples(np.concatenate([f for f, _ in parts]), np.concatenate([t for _, t in parts]), person)

    def of(self, person: int) -> Examples:
        """Return one person's examples; they are person 0 in them."""
        mine = self.person == person
        return Examples(self.features[mine], self.targets[mine], np.zeros(int(mine.sum()), np.intp))


def start(examples: Examples, heads: int, hidden: int, rng: np.random.Generator) -> Weights:
    """Return a random base and heads of zeros, with features brought to mean 0 and deviation 1."""
    spread = examples.features.std(axis=0)
    width = examples.features.shape[1] + 1
    return {
        "mean": examples.features.mean(axis=0),
        "spread": np.where(spread > 1e-9, spread, 1.0),
        "base": rng.normal(size=(width, hidden)) / np.sqrt(width),
        "heads": np.zeros((heads, hidden + 1)),
    }


def add_router(weights: Weights, people: Doubles, rng: np.random.Generator) -> None:
    """Give weights heads that differ and a router over people's vectors ``[people, dim]``."""
    centre = people.mean(axis=0)
    scale = max(float(np.sqrt(((people - centre) ** 2).sum(axis=1).mean())), 1e-9)
    heads, width = weights["heads"].shape
    weights["centre"] = np.append(centre, scale)
    weights["heads"] = rng.normal(size=(heads, width)) / np.sqrt(width)
    weights["router"] = rng.normal(size=(people.shape[1] + 1, heads))


def score(weights: Weights, features: Doubles, mixing: Doubles) -> Doubles:
    """Return scores ``[n]`` for features ``[n, features]`` and what each head counts ``[heads]`` or ``[n, heads]``."""
    mixed: Doubles = (_inner(weights, features)[1] @ weights["heads"].T * mixing).sum(axis=1)
    return mixed


def gradients(weights: Weights, examples: Examples, mixing: Doubles) -> tuple[float, Weights, Doubles]:
    """Return the mean cross-entropy [nats], its gradients by ``base`` and ``heads``, and by mixing ``[n, heads]``.

    A head that nobody among the examples mixes in gets exactly zero.
    """
    seen, inner = _inner(weights, examples.features)
    each = inner @ weights["heads"].T  # [n, heads]
    said = (each * mixing).sum(axis=1)
    n = max(1, len(said))
    value = float((np.logaddexp(0.0, said) - examples.targets * said).sum()) / n
    slope = (sigmoid(said) - examples.targets) / n
    pull = slope[:, None] * mixing  # [n, heads]
    below = (pull @ weights["heads"][:, :-1]) * (1 - inner[:, :-1] ** 2)  # [n, hidden]
    return value, {"base": seen.T @ below, "heads": pull.T @ inner}, slope[:, None] * each


def route(weights: Weights, people: Doubles, top: int) -> Doubles:
    """Return how much each facet counts for people ``[people, dim]``: ``top`` non-zeros that sum to 1."""
    logits = _placed(weights, people) @ weights["router"]
    return softmax(logits, _best(logits, top))


def route_gradients(
    weights: Weights, people: Doubles, top: int, slopes: Doubles, balance: float
) -> tuple[float, Doubles]:
    """Return the load-balance term and the gradient by ``router`` of it and of the loss.

    ``slopes`` is the loss's gradient by the mixing of each person ``[people, heads]``. The term is ``balance * heads *
    sum(load * mean probability)`` (arXiv:2101.03961, equation 4): it is ``balance`` where all facets are used alike.
    """
    placed = _placed(weights, people)
    logits = placed @ weights["router"]
    chosen = _best(logits, top)
    mixing, whole = softmax(logits, chosen), softmax(logits)
    load = chosen.mean(axis=0) / chosen[0].sum()
    heads = logits.shape[1]
    value = balance * heads * float(load @ whole.mean(axis=0))
    back = mixing * (slopes - (slopes * mixing).sum(axis=1, keepdims=True))
    even = balance * heads / len(people) * load
    back = back + whole * (even - (whole * even).sum(axis=1, keepdims=True))
    return value, placed.T @ back


def train(weights: Weights, slope: Callable[[Weights], Weights], steps: int, rate: float) -> None:
    """Change weights in place by ``steps`` of Adam along ``slope``; those that it does not name stay."""
    adam = Adam(rate)
    for _ in range(steps):
        adam.step(weights, slope(weights))


def pack(head: dict[str, Any], nets: dict[str, Weights]) -> bytes:
    """Write nets as float32 behind a line of JSON; the same nets give the same bytes."""
    arrays = [(net, name, array) for net, weights in nets.items() for name, array in weights.items()]
    line = orjson.dumps({**head, "arrays": [[net, name, list(array.shape)] for net, name, array in arrays]})
    return line + b"\n" + b"".join(array.astype("<f4").tobytes() for _, _, array in arrays)


def unpack(payload: bytes) -> tuple[dict[str, Any], dict[str, Weights]]:
    """Return what :func:`pack` wrote."""
    at = payload.index(b"\n") + 1
    head: dict[str, Any] = orjson.loads(payload[:at])
    flat = np.frombuffer(payload[at:], "<f4").astype(np.float64)
    nets: dict[str, Weights] = {}
    place = 0
    for net, name, shape in head.pop("arrays"):
        size = int(np.prod(shape))
        nets.setdefault(net, {})[name] = flat[place : place + size].reshape(shape)
        place += size
    return head, nets


def _inner(weights: Weights, features: Doubles) -> tuple[Doubles, Doubles]:
    """Return the scaled features and what the shared layer makes of them, both with a column of ones."""
    ones = np.ones((len(features), 1))
    seen = np.concatenate([(features - weights["mean"]) / weights["spread"], ones], axis=1)
    return seen, np.concatenate([np.tanh(seen @ weights["base"]), ones], axis=1)


def _placed(weights: Weights, people: Doubles) -> Doubles:
    centre = weights["centre"]
    placed = (people - centre[:-1]) / centre[-1]
    return np.concatenate([placed, np.ones((len(people), 1))], axis=1)


def _best(logits: Doubles, top: int) -> npt.NDArray[np.bool_]:
    """Return which ``top`` of each row are the largest, of equals the first."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :top]
    chosen = np.zeros(logits.shape, np.bool_)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen
