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
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from idiolect.prompting.shared.preference import dpo
from idiolect.prompting.shared.vectors import norm_of
from idiolect.trainable import Recipe
from idiolect.training.plan import Plan
from idiolect.training.soft_prompts import Adam, Model
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


@dataclass
class _Place:
    # Somebody's training, as far as it has come; ``plain`` and ``bare`` are the odds of pairs without a vector.
    job: Job
    plan: Plan
    adam: Adam
    vector: Floats
    best: Floats
    plain: Doubles
    bare: Doubles
    scale: float = 1.0
    step: int = 0
    total: float = 0.0
    seen: int = 0
    losses: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        return self.plan.done(self.step, self.held)

    @property
    def sign(self) -> float:
        """The ``d`` of the step."""
        return _SIGNS[int(np.random.default_rng((self.plan.recipe.seed, self.step, 1)).integers(2))]


def train(
    model: Model, jobs: Iterable[Job], layer: int, beta: float, recipe: Recipe, places: int, *,
    progress: Callable[[int], None] | None = None, check: Callable[[], None] | None = None,
) -> Iterator[Trained]:  # fmt: skip
    """Train a vector at the output of ``layer`` for each job, at most ``places`` at a time, by AdamW from zero.

    Of the recipe count rate, epochs, batch, warm-up, schedule, decay, patience and seed. The rate is relative to the
    usual size of a number of the layer's state while the person's better texts are read, so that one rate means the
    same at every layer of every model. Jobs without pairs are left out. A vector does not depend on what is trained
    beside it, up to the rounding of a larger batch. ``progress`` is told how many pairs were learnt from.
    """
    waiting, active = iter(jobs), list[_Place]()
    while True:
        active += _new(model, waiting, layer, recipe, places - len(active))
        if not active:
            return
        if check is not None:
            check()
        count = _step(model, active, layer, beta)
        if progress is not None:
            progress(count)
        _look(model, [one for one in active if one.plan.ends_epoch(one.step - 1)], layer, beta)
        for one in active:
            if one.done:
                yield Trained(one.job.key, one.best, tuple(one.losses), tuple(one.held), one.step, one.seconds)
        active = [one for one in active if not one.done]


def odds(model: Model, pairs: Sequence[Pair], steering: Sequence[tuple[Steer, ...]]) -> Doubles:
    """Return how much likelier [nats] the better text of each pair is than the worse, ``[pairs]``, each so steered."""
    calls, texts = _written(pairs, steering)
    both = np.array(model.logprobs(calls, texts) if calls else (), np.float64).reshape(-1, 2)
    difference: Doubles = both[:, 0] - both[:, 1]
    return difference


def _new(model: Model, waiting: Iterator[Job], layer: int, recipe: Recipe, count: int) -> list[_Place]:
    jobs = list[Job]()
    while len(jobs) < count and (job := next(waiting, None)) is not None:
        if job.pairs:
            jobs.append(job)
    began = time.perf_counter()
    pairs = [pair for job in jobs for pair in (*job.pairs, *job.held)]
    found = odds(model, pairs, [()] * len(pairs))
    out, at = list[_Place](), 0
    for job in jobs:
        plain, bare = np.split(found[at : at + len(job.pairs) + len(job.held)], [len(job.pairs)])
        at += len(job.pairs) + len(job.held)
        zero = np.zeros(model.hidden, np.float32)
        place = _Place(job, Plan(recipe, len(job.pairs)), Adam(recipe.rate), zero, zero, plain, bare)
        place.scale = _size(model, job, layer)
        place.held = [math.log(2)] if job.held else []
        place.seconds = (time.perf_counter() - began) / len(jobs)
        out.append(place)
    return out


def _size(model: Model, job: Job, layer: int) -> float:
    """Return the usual size of a number of the layer's state."""
    read = job.pairs[:_MEASURED]
    states = model.activations([pair.call for pair in read], [pair.better for pair in read], layer)
    return norm_of(states) / math.sqrt(model.hidden)


def _step(model: Model, active: Sequence[_Place], layer: int, beta: float) -> int:
    """Make one step for everybody; return from how many pairs was learnt."""
    began = time.perf_counter()
    asked = [(one, n) for one in active for n in one.plan.batch(one.step)]
    signs = {id(one): one.sign for one in active}
    steering = [(Steer(layer, one.vector, signs[id(one)]),) for one, _ in asked]
    calls, texts = _written([one.job.pairs[n] for one, n in asked], steering)
    scores, slopes = model.steer_gradients(calls, texts, [1.0, -1.0] * len(asked))
    wide = scores.astype(np.float64).reshape(-1, 2)
    gradients = {id(one): np.zeros(model.hidden, np.float64) for one in active}
    counts = {id(one): 0 for one in active}
    each = (time.perf_counter() - began) / len(asked)
    for at, (one, n) in enumerate(asked):
        push = signs[id(one)] * beta
        loss, slope = dpo(np.array(push * (wide[at, 0] - wide[at, 1] - one.plain[n])))
        gradients[id(one)] += float(slope) * push * (slopes[2 * at] + slopes[2 * at + 1])
        counts[id(one)] += 1
        one.total += float(loss)
        one.seconds += each
    for one in active:
        one.seen += counts[id(one)]
        _move(one, (gradients[id(one)] / counts[id(one)]).astype(np.float32))
    return len(asked)


def _move(one: _Place, gradient: Floats) -> None:
    recipe, rate = one.plan.recipe, one.plan.rate(one.step)
    one.adam.rate = one.scale * rate
    decayed = one.vector * np.float32(1 - rate * recipe.decay)
    one.vector = one.adam.step({"vector": decayed}, {"vector": gradient})["vector"]
    one.step += 1
    if one.plan.ends_epoch(one.step - 1):
        one.losses.append(one.total / one.seen)
        one.total, one.seen = 0.0, 0


def _look(model: Model, places: Sequence[_Place], layer: int, beta: float) -> None:
    """Measure held-out losses at both signs in one batch, and keep the vectors where none was lower."""
    began = time.perf_counter()
    asked = [(one, pair, sign) for one in places for sign in _SIGNS for pair in one.job.held]
    steering = [(Steer(layer, one.vector, sign),) for one, _, sign in asked]
    found = odds(model, [pair for _, pair, _ in asked], steering)
    at = 0
    for one in places:
        if not one.job.held:
            one.best = one.vector
            continue
        moved = found[at : at + 2 * len(one.job.held)].reshape(2, -1) - one.bare
        at += 2 * len(one.job.held)
        one.held.append(float(dpo(beta * np.array(_SIGNS)[:, None] * moved)[0].mean()))
        if one.held[-1] < min(one.held[:-1]):
            one.best = one.vector
        one.seconds += (time.perf_counter() - began) / len(places)


def _written(pairs: Sequence[Pair], steering: Sequence[tuple[Steer, ...]]) -> tuple[list[Call], list[str]]:
    steered = [replace(pair.call, steering=how) for pair, how in zip(pairs, steering, strict=True)]
    return [call for call in steered for _ in range(2)], [text for one in pairs for text in (one.better, one.worse)]
