"""Many people's prefixes trained at once over a frozen model: a few vectors each, by gradients that go to these alone.

A step takes a few examples of each person in training; the rows of all of them are handed to the backend together,
which reads like lengths in one pass. Losses, clipping, steps and the end of training are each person's own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from idiolect.hashing import digest, identity
from idiolect.trainable import Checkpoints, Example, Job, Recipe
from idiolect.training.plan import Plan
from idiolect.training.side_by_side import Place, side_by_side
from idiolect.training.soft_prompts import Model
from idiolect.types import Call, Floats


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """What was trained for a job: ``vectors`` ``[m, hidden]``.

    ``losses`` [nats a token] is the mean of each pass; ``held`` the held-out loss before the first pass and after each,
    ``bare`` that without any prefix. The last two are empty and ``None`` where nothing was held out.
    """

    key: str
    vectors: Floats
    losses: tuple[float, ...]
    held: tuple[float, ...]
    bare: float | None
    steps: int
    seconds: float
    """This prefix's share of the time."""


def train(
    model: Model,
    jobs: Iterable[Job],
    start: Floats,
    recipe: Recipe,
    places: int,
    *,
    progress: Callable[[int], None] | None = None,
    check: Callable[[], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> Iterator[Prefix]:
    """Train a prefix for each job, at most ``places`` at a time, by Adam from ``start`` ``[m, hidden]``.

    Of the recipe count rate, epochs, batch, warm-up, schedule, clipping, patience and seed. The rate is relative to the
    usual size of an embedding's number, so that one rate means the same for every model. Jobs without examples are left
    out. A prefix does not depend on what is trained beside it, up to the rounding of a larger batch. With
    ``checkpoints`` a killed run goes on where it stopped and ends with the same vectors.
    """
    training = _Prefixes(model, iter(jobs), start, recipe)
    for one in side_by_side(training, places, progress=progress, check=check, checkpoints=checkpoints):
        at = one.at
        yield Prefix(one.key, one.best, tuple(at.losses), tuple(at.held), at.bare, at.step, one.seconds)


@dataclass(kw_only=True)
class _Place(Place):
    job: Job


@dataclass
class _Prefixes:
    model: Model
    waiting: Iterator[Job]
    start: Floats
    recipe: Recipe

    def __post_init__(self) -> None:
        self._scale = scale_of(self.model, self.start)

    def take(self, count: int) -> list[_Place]:
        found = list[_Place]()
        while len(found) < count and (job := next(self.waiting, None)) is not None:
            if job.examples:
                plan = Plan(self.recipe, len(job.examples))
                found.append(_Place(job.key, plan, self.start, self.start, self._digest(job), job=job))
        return found

    def _digest(self, job: Job) -> str:
        parts: list[str | bytes] = [self.model.fingerprint, repr(self.recipe), self.start.tobytes()]
        for examples in (job.examples, job.held):
            parts.append(repr([*map(identity, examples)]))
        return digest(*parts).hex()

    def begin(self, places: Sequence[_Place]) -> None:
        self.look(places)

    def step(self, places: Sequence[_Place]) -> int:
        began = time.perf_counter()
        asked = [(one, one.job.examples[n]) for one in places for n in one.plan.batch(one.at.step)]
        lengths = [self._tokens(example) for _, example in asked]
        sums = dict.fromkeys(map(id, places), 0.0)
        for (one, example), length in zip(asked, lengths, strict=True):
            sums[id(one)] += example.weight * length
        weights = [-example.weight / sums[id(one)] for one, example in asked]
        calls = [prefixed(example.call, one.values) for one, example in asked]
        scores, slopes = self.model.soft_gradients(calls, [example.text for _, example in asked], weights)
        gradients = {id(one): np.zeros_like(one.values) for one in places}
        each = (time.perf_counter() - began) / len(asked)
        for (one, example), score, slope in zip(asked, scores, slopes, strict=True):
            gradients[id(one)] += slope[: len(one.values)]
            one.at.total -= example.weight * float(score)
            one.seconds += each
        for one in places:
            one.at.weight += sums[id(one)]
            gradient = cut(gradients[id(one)], self.recipe.clip, self._scale)
            one.move(gradient, self._scale * one.plan.rate(one.at.step))
        return len(asked)

    def look(self, places: Sequence[_Place]) -> None:
        began = time.perf_counter()
        asked = [(one, example) for one in places for example in one.job.held]
        calls = [prefixed(example.call, one.values) for one, example in asked]
        first = [pair for pair in asked if pair[0].at.bare is None]
        calls += [example.call for _, example in first]
        scores = iter(self.model.logprobs(calls, [example.text for _, example in (*asked, *first)]) if calls else ())
        with_prefix = self._means(asked, scores)
        bare = self._means(first, scores)
        for one in places:
            if not one.job.held:
                one.best = one.values
                continue
            one.at.bare = bare.get(id(one), one.at.bare)
            one.at.held.append(with_prefix[id(one)])
            if one.at.held[-1] <= min(one.at.held):
                one.best = one.values
            one.seconds += (time.perf_counter() - began) / len(places)

    def _means(self, asked: Sequence[tuple[_Place, Example]], scores: Iterator[float]) -> dict[int, float]:
        """Return each person's loss a token, by the place's identity."""
        sums = dict[int, tuple[float, float]]()
        for one, example in asked:
            total, tokens = sums.get(id(one), (0.0, 0.0))
            length = example.weight * self._tokens(example)
            sums[id(one)] = (total - example.weight * next(scores), tokens + length)
        return {key: total / tokens for key, (total, tokens) in sums.items()}

    def _tokens(self, example: Example) -> int:
        return max(1, self.model.count_tokens(example.text))


def prefixed(call: Call, vectors: Floats) -> Call:
    """Put vectors ``[m, hidden]`` before other soft prompts of the call."""
    other = call.soft_prompt
    return replace(call, soft_prompt=vectors if other is None else np.concatenate([vectors, other]))


def random_start(model: Model, length: int, seed: int) -> Floats:
    """Return embeddings of random tokens (arXiv:2104.08691, section 3.2: better than random numbers)."""
    ids = np.random.default_rng(seed).integers(0, model.vocabulary, length)
    return model.embeddings([int(one) for one in ids])


def scale_of(model: Model, vectors: Floats) -> float:
    """Return the usual size of an embedding's number, in which rates are given."""
    return model.embedding_norm / math.sqrt(vectors.shape[1])


def cut(gradient: Floats, clip: float, scale: float) -> Floats:
    """Return the gradient cut to the norm ``clip`` that it would have for vectors of unit scale; 0 cuts nothing.

    Of these the gradient is ``scale`` times as long.
    """
    length = scale * float(np.linalg.norm(gradient.astype(np.float64)))
    return gradient * np.float32(clip / length) if clip and length > clip else gradient
