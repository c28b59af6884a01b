"""Many people's steering vectors trained at once over a frozen model, each from its person's own comparisons.

The loss is that of bidirectional preference optimization (BiPO, arXiv:2406.00045, algorithm 1): with a sign ``d`` drawn
for each step, ``-log sigmoid(d beta [(log p_dv(better) - log p_0(better)) - (log p_dv(worse) - log p_0(worse))])``, so
that the vector makes the better text likelier and its opposite the worse one. No vector at all is the reference: it is
asked once. Vectors act where they act when they are served, on the tokens of an answer after its first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from idiolect.hashing import digest, prompt_hash
from idiolect.prompting.shared.preference import dpo
from idiolect.prompting.shared.vectors import norm_of
from idiolect.trainable import Checkpoints, Recipe
from idiolect.training.plan import Plan
from idiolect.training.side_by_side import Place, side_by_side
from idiolect.training.soft_prompts import Model
from idiolect.types import Call, Floats, Steer

Doubles = npt.NDArray[np.float64]
_SIGNS = (1.0, -1.0)
_MEASURED = 8
"""So many texts tell how large a number of a layer's state usually is."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts in answer to one call, the first of which was preferred."""

    call: Call
    better: str
    worse: str


@dataclass(frozen=True, slots=True)
class Job:
    """One person's vector to train; ``held`` is never learnt but tells which pass was best."""

    key: str
    pairs: Sequence[Pair]
    held: Sequence[Pair] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A finished ``vector`` ``[hidden]``; it is zero where none served the held-out pairs better than none.

    ``losses`` [nats a pair] is the mean of each pass, ``held`` the mean over held-out pairs and both signs before the
    first pass (ln 2) and after each; it is empty where nothing was held out.
    """

    key: str
    vector: Floats
    losses: tuple[float, ...]
    held: tuple[float, ...]
    steps: int
    seconds: float
    """This vector's share of the time."""


def train(
    model: Model, jobs: Iterable[Job], layer: int, beta: float, recipe: Recipe, places: int, *,
    progress: Callable[[int], None] | None = None, check: Callable[[], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> Iterator[Trained]:  # fmt: skip
    """Train a vector at the output of ``layer`` for each job, at most ``places`` at a time, by AdamW from zero.

    Of the recipe count rate, epochs, batch, warm-up, schedule, decay, patience and seed. The rate is relative to the
    usual size of a number of the layer's state while the person's better texts are read, so that one rate means the
    same at every layer of every model. Jobs without pairs are left out. A vector does not depend on what is trained
    beside it, up to the rounding of a larger batch. ``progress`` is told how many pairs were learnt from. With
    ``checkpoints`` a killed run goes on where it stopped and ends with the same vectors.
    """
    training = _Vectors(model, iter(jobs), layer, beta, recipe)
    for one in side_by_side(training, places, progress=progress, check=check, checkpoints=checkpoints):
        yield Trained(one.key, one.best, tuple(one.at.losses), tuple(one.at.held), one.at.step, one.seconds)


@dataclass(kw_only=True)
class _Place(Place):
    # ``plain`` and ``bare`` are the odds of pairs without a vector, ``scale`` the usual size of a state's number.
    job: Job
    plain: Doubles
    bare: Doubles
    scale: float

    @property
    def sign(self) -> float:
        """The ``d`` of the step."""
        return _SIGNS[int(np.random.default_rng((self.plan.recipe.seed, self.at.step, 1)).integers(2))]


@dataclass
class _Vectors:
    model: Model
    waiting: Iterator[Job]
    layer: int
    beta: float
    recipe: Recipe

    def take(self, count: int) -> list[_Place]:
        jobs = list[Job]()
        while len(jobs) < count and (job := next(self.waiting, None)) is not None:
            if job.pairs:
                jobs.append(job)
        began = time.perf_counter()
        pairs = [pair for job in jobs for pair in (*job.pairs, *job.held)]
        found = odds(self.model, pairs, [()] * len(pairs))
        out, at = list[_Place](), 0
        for job in jobs:
            plain, bare = np.split(found[at : at + len(job.pairs) + len(job.held)], [len(job.pairs)])
            at += len(job.pairs) + len(job.held)
            zero = np.zeros(self.model.hidden, np.float32)
            place = _Place(
                job.key, Plan(self.recipe, len(job.pairs)), zero, zero, self._digest(job), job=job, plain=plain,
                bare=bare, scale=self._size(job),
            )  # fmt: skip
            place.seconds = (time.perf_counter() - began) / len(jobs)
            out.append(place)
        return out

    def _digest(self, job: Job) -> str:
        parts = [self.model.fingerprint, repr((self.recipe, self.layer, self.beta))]
        parts += [repr([(prompt_hash(p.call), p.better, p.worse) for p in found]) for found in (job.pairs, job.held)]
        return digest(*parts).hex()

    def _size(self, job: Job) -> float:
        """Return the usual size of a number of the layer's state."""
        read = job.pairs[:_MEASURED]
        states = self.model.activations([pair.call for pair in read], [pair.better for pair in read], self.layer)
        return norm_of(states) / math.sqrt(self.model.hidden)

    def begin(self, places: Sequence[_Place]) -> None:
        for one in places:
            one.at.held = [math.log(2)] if one.job.held else []

    def step(self, places: Sequence[_Place]) -> int:
        began = time.perf_counter()
        asked = [(one, n) for one in places for n in one.plan.batch(one.at.step)]
        signs = {id(one): one.sign for one in places}
        steering = [(Steer(self.layer, one.values, signs[id(one)]),) for one, _ in asked]
        calls, texts = _written([one.job.pairs[n] for one, n in asked], steering)
        scores, slopes = self.model.steer_gradients(calls, texts, [1.0, -1.0] * len(asked))
        wide = scores.astype(np.float64).reshape(-1, 2)
        gradients = {id(one): np.zeros(self.model.hidden, np.float64) for one in places}
        counts = {id(one): 0 for one in places}
        each = (time.perf_counter() - began) / len(asked)
        for at, (one, n) in enumerate(asked):
            push = signs[id(one)] * self.beta
            loss, slope = dpo(np.array(push * (wide[at, 0] - wide[at, 1] - one.plain[n])))
            gradients[id(one)] += float(slope) * push * (slopes[2 * at] + slopes[2 * at + 1])
            counts[id(one)] += 1
            one.at.add(float(loss), 1.0)
            one.seconds += each
        for one in places:
            rate = one.plan.rate(one.at.step)
            one.values = one.values * np.float32(1 - rate * self.recipe.decay)
            one.move((gradients[id(one)] / counts[id(one)]).astype(np.float32), one.scale * rate)
        return len(asked)

    def look(self, places: Sequence[_Place]) -> None:
        began = time.perf_counter()
        asked = [(one, pair, sign) for one in places for sign in _SIGNS for pair in one.job.held]
        steering = [(Steer(self.layer, one.values, sign),) for one, _, sign in asked]
        found = odds(self.model, [pair for _, pair, _ in asked], steering)
        at = 0
        for one in places:
            if not one.job.held:
                one.best = one.values
                continue
            moved = found[at : at + 2 * len(one.job.held)].reshape(2, -1) - one.bare
            at += 2 * len(one.job.held)
            one.at.held.append(float(dpo(self.beta * np.array(_SIGNS)[:, None] * moved)[0].mean()))
            if one.at.held[-1] < min(one.at.held[:-1]):
                one.best = one.values
            one.seconds += (time.perf_counter() - began) / len(places)


def odds(model: Model, pairs: Sequence[Pair], steering: Sequence[tuple[Steer, ...]]) -> Doubles:
    """Return how much likelier [nats] the better text of each pair is than the worse, ``[pairs]``, each so steered."""
    calls, texts = _written(pairs, steering)
    both = np.array(model.logprobs(calls, texts) if calls else (), np.float64).reshape(-1, 2)
    difference: Doubles = both[:, 0] - both[:, 1]
    return difference


def _written(pairs: Sequence[Pair], steering: Sequence[tuple[Steer, ...]]) -> tuple[list[Call], list[str]]:
    steered = [replace(pair.call, steering=how) for pair, how in zip(pairs, steering, strict=True)]
    return [call for call in steered for _ in range(2)], [text for one in pairs for text in (one.better, one.worse)]
