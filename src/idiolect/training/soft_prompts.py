"""Fitting an encoder of people over a frozen language model: many people in one batch, no gradient to the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from idiolect.inside import Inside
from idiolect.training.loop import rounds, walk
from idiolect.training.user_encoder import Person, UserEncoder
from idiolect.types import Backend, Call, Floats

Example = tuple[int, Call, str]
"""Whose it is (a place in the list of people), what is asked, and what they gave."""


class Model(Backend, Inside, Protocol):
    """A language model over open weights."""


@dataclass(frozen=True)
class Training:
    """How to fit: ``steps`` of Adam at ``rate`` over ``batch`` examples each.

    The gradient is cut to the norm ``clip``. Of each person's items up to the part ``drop`` is left out at random
    (arXiv:2409.11901, section 4.1). Every ``check`` steps the loss over held-out people is measured; training ends once
    it has not fallen ``patience`` times in a row.
    """

    steps: int = 100
    rate: float = 3e-3
    batch: int = 8
    clip: float = 1.0
    drop: float = 0.5
    check: int = 10
    patience: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Fitted:
    """The encoder, the loss of each step [nats a token], and that over held-out people: without soft tokens, and best.

    Without held-out people the last two are ``None`` and the weights are those of the last step.
    """

    encoder: UserEncoder
    losses: tuple[float, ...]
    plain: float | None = None
    held: float | None = None


@dataclass
class Adam:
    """Adam (arXiv:1412.6980, algorithm 1)."""

    rate: float
    moments: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)
    """Means of the gradient and of its square by weight, once a step was made."""
    steps: int = 0

    def step(self, weights: Mapping[str, Floats], gradients: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return the weights one step on; all of them need a gradient."""
        self.steps += 1
        out = {}
        for name, value in weights.items():
            gradient = gradients[name]
            first, second = self.moments.get(name, (np.zeros_like(value), np.zeros_like(value)))
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            self.moments[name] = first, second
            size = np.sqrt(second / (1 - 0.999**self.steps)) + 1e-8
            out[name] = (value - self.rate * first / (1 - 0.9**self.steps) / size).astype(value.dtype)
        return out


def fit(
    model: Model,
    encoder: UserEncoder,
    people: Sequence[Person],
    examples: Sequence[Example],
    training: Training = Training(),
    *,
    queries: Sequence[Floats] | None = None,
    held: Sequence[Example] = (),
    held_queries: Sequence[Floats] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fitted:
    """Fit ``encoder`` to what ``people`` gave; the language model's weights stay as they are.

    ``held`` are examples of people who have none among ``examples``; ``queries`` are one vector ``[dim]`` for each
    example. Examples without text are left out. The same arguments give the same weights.
    """
    task = _Task(model, people, [n for n, (_, _, text) in enumerate(examples) if text], examples, queries)
    proof = _Task(model, people, [n for n, (_, _, text) in enumerate(held) if text], held, held_queries)
    rng, adam = np.random.default_rng(training.seed), Adam(training.rate)
    batches = ([task.rows[n] for n in part] for part in rounds(len(task.rows), training.batch, rng))

    def step(one: UserEncoder) -> tuple[float, UserEncoder]:
        loss, gradients = task.gradients(one, next(batches), training.drop, rng)
        return loss, one.with_weights(adam.step(one.weights, clipped(gradients, training.clip)))

    plain = proof.loss(None) if proof.rows else None
    pace = training if task.rows else replace(training, steps=0)
    made = walk(encoder, step, pace, proof.loss if proof.rows else None, progress=progress)
    return Fitted(made.found, made.losses, plain, made.held)


@dataclass
class _Task:
    # Examples by their places ``rows``; the rest of a task is measured and differentiated in the same way.
    model: Model
    people: Sequence[Person]
    rows: list[int]
    examples: Sequence[Example]
    queries: Sequence[Floats] | None

    def _query(self, n: int) -> Floats | None:
        return None if self.queries is None else self.queries[n]

    def _tokens(self, n: int) -> int:
        return max(1, self.model.count_tokens(self.examples[n][2]))

    def gradients(
        self, encoder: UserEncoder, batch: Sequence[int], drop: float, rng: np.random.Generator
    ) -> tuple[float, dict[str, Floats]]:
        """Return the mean loss of a batch [nats a token] and its gradient by weight."""
        pulls, calls = [], []
        for n in batch:
            person, call, _ = self.examples[n]
            soft, pull = encoder.forward(_part(self.people[person], drop, rng), self._query(n))
            calls.append(replace(call, soft_prompt=soft))
            pulls.append(pull)
        lengths = np.array([self._tokens(n) for n in batch])
        weights = [float(weight) for weight in -1 / (lengths * len(batch))]
        scores, towards = self.model.soft_gradients(calls, [self.examples[n][2] for n in batch], weights)
        total = {name: np.zeros_like(value) for name, value in encoder.weights.items()}
        for pull, gradient in zip(pulls, towards, strict=True):
            for name, part in pull(gradient).items():
                total[name] += part
        return float(-(scores / lengths).mean()), total

    def loss(self, encoder: UserEncoder | None) -> float:
        """Return the mean loss over all examples [nats a token]; without an encoder that of the plain model."""
        calls = []
        for n in self.rows:
            person, call, _ = self.examples[n]
            soft = None if encoder is None else encoder.encode(self.people[person], self._query(n))
            calls.append(replace(call, soft_prompt=soft))
        scores = self.model.logprobs(calls, [self.examples[n][2] for n in self.rows])
        return float(np.mean([-score / self._tokens(n) for score, n in zip(scores, self.rows, strict=True)]))


def _part(person: Person, drop: float, rng: np.random.Generator) -> Person:
    """Return a person with a random part of the items left out, at most ``drop`` of them."""
    count = len(person.items)
    kept = count - int(rng.random() * drop * count)
    return person.some(sorted(rng.choice(count, kept, replace=False).tolist()))


def clipped(gradients: dict[str, Floats], norm: float) -> dict[str, Floats]:
    """Return gradients that together are no longer than ``norm``."""
    length = float(np.sqrt(sum(float((part.astype(np.float64) ** 2).sum()) for part in gradients.values())))
    return gradients if length <= norm else {name: part * np.float32(norm / length) for name, part in gradients.items()}
