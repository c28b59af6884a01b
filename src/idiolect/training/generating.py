"""Training a generator of adapters through a frozen language model: many people in one batch (arXiv:2506.06105)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from idiolect.trainable import Example
from idiolect.training.factors import Factors
from idiolect.training.generator import Generator, Stacked
from idiolect.training.loop import rounds, walk
from idiolect.training.modules import Place
from idiolect.training.soft_prompts import Adam, clipped
from idiolect.types import Floats


@runtime_checkable
class Differentiable(Protocol):
    """What a backend that trains offers for factors that something else makes."""

    def linear_places(self, modules: Sequence[str]) -> list[Place]:
        """Return the linear modules of all layers with these last names; :class:`InputError` for an unknown one."""

    def factor_losses(
        self, examples: Sequence[Example], owners: Sequence[int], factors: Stacked, scaling: float
    ) -> Floats:
        """Return the mean loss of each example's tokens ``[examples]`` [nats], each under its owner's factors."""

    def factor_gradients(
        self, examples: Sequence[Example], owners: Sequence[int], factors: Stacked, scaling: float
    ) -> tuple[Floats, dict[str, Factors]]:
        """Return these losses, and the gradient of their sum, weighted by the examples' weights, by all factors."""


@dataclass(frozen=True)
class Known:
    """What is known of somebody, as vectors ``[records, dim]``, and what they gave later."""

    vectors: Floats
    examples: Sequence[Example]


@dataclass(frozen=True)
class Training:
    """How to train: ``steps`` of Adam at ``rate``, each over ``people`` and up to ``examples`` of each of them.

    The gradient is cut to the norm ``clip``. Of each person's vectors up to the part ``drop`` is left out at random.
    Every ``check`` steps the loss over held-out people is measured; training ends once it has not fallen ``patience``
    times in a row.
    """

    steps: int = 100
    rate: float = 3e-3
    people: int = 8
    examples: int = 4
    clip: float = 1.0
    drop: float = 0.5
    check: int = 10
    patience: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Fitted:
    """The generator, the loss of each step [nats a token], and that over held-out people: before, and best.

    Without held-out people the last two are ``None`` and the weights are those of the last step.
    """

    generator: Generator
    losses: tuple[float, ...]
    plain: float | None = None
    held: float | None = None


def fit(
    model: Differentiable,
    generator: Generator,
    people: Sequence[Known],
    held: Sequence[Known] = (),
    training: Training = Training(),
    *,
    progress: Callable[[int, int], None] | None = None,
    check: Callable[[], None] | None = None,
) -> Fitted:
    """Train a new generator on people's own later texts; the language model's weights stay as they are.

    ``held`` are people who tell when to stop. The same arguments give the same weights.
    """
    rng, adam = np.random.default_rng(training.seed), Adam(training.rate)
    groups = rounds(len(people), training.people, rng)

    def step(one: Generator) -> tuple[float, Generator]:
        loss, gradients = _gradients(model, one, [people[n] for n in next(groups)], training, rng)
        return loss, one.with_weights(adam.step(one.weights, clipped(gradients, training.clip)))

    plain = _loss(model, generator, held) if held else None  # one that is new changes nothing
    measure = (lambda one: _loss(model, one, held)) if held else None
    made = walk(generator, step, training, measure, plain, progress=progress, check=check)
    return Fitted(made.found, made.losses, plain, made.held)


def vector_of(vectors: Floats) -> Floats:
    """Return the vector ``[dim]`` that stands for records with vectors ``[records, dim]``: their mean."""
    out: Floats = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    return out


def _gradients(
    model: Differentiable, generator: Generator, group: Sequence[Known], training: Training, rng: np.random.Generator
) -> tuple[float, dict[str, Floats]]:
    """Return the mean loss of a group, everybody counting alike, and its gradient by weight."""
    made, pull = generator.forward(np.stack([vector_of(_part(one.vectors, training.drop, rng)) for one in group]))
    asked, owners = list[Example](), list[int]()
    for owner, one in enumerate(group):
        count = min(training.examples, len(one.examples))
        drawn = sorted(rng.choice(len(one.examples), count, replace=False).tolist())
        asked += [replace(one.examples[n], weight=1 / (count * len(group))) for n in drawn]
        owners += [owner] * count
    losses, gradients = model.factor_gradients(asked, owners, made, generator.scaling)
    return float(losses @ np.array([one.weight for one in asked])), pull(gradients)


def _loss(model: Differentiable, generator: Generator, people: Sequence[Known]) -> float:
    """Return the mean loss over people, everybody counting alike."""
    made, _ = generator.forward(np.stack([vector_of(one.vectors) for one in people]))
    owners = [owner for owner, one in enumerate(people) for _ in one.examples]
    losses = model.factor_losses([one for p in people for one in p.examples], owners, made, generator.scaling)
    counts = np.bincount(owners)
    return float((np.bincount(owners, losses) / counts).mean())


def _part(vectors: Floats, drop: float, rng: np.random.Generator) -> Floats:
    """Return a random part of somebody's vectors, at least one of them."""
    kept = max(1, len(vectors) - int(rng.random() * drop * len(vectors)))
    return vectors[sorted(rng.choice(len(vectors), kept, replace=False).tolist())]
