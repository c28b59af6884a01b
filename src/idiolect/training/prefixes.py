"""Many people's prefixes trained at once over a frozen model: a few vectors each, by gradients that go to these alone.

A step takes a few examples of each person in training; the rows of all of them are handed to the backend together,
which reads like lengths in one pass. Losses, clipping, steps and the end of training are each person's own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from idiolect.hashing import digest, prompt_hash
from idiolect.trainable import Checkpoints, Example, Job, Recipe
from idiolect.training import unfinished
from idiolect.training.plan import Plan
from idiolect.training.soft_prompts import Adam, Model
from idiolect.training.unfinished import Unfinished
from idiolect.types import Call, Floats

_NAME = "prefix"


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


@dataclass
class _Place:
    # Somebody's training, as far as it has come.
    job: Job
    plan: Plan
    adam: Adam
    vectors: Floats
    best: Floats
    digest: str = ""
    at: Unfinished = field(default_factory=Unfinished)
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        return self.plan.done(self.at.step, self.at.held)

    def save(self, checkpoints: Checkpoints) -> None:
        none = np.zeros_like(self.vectors), np.zeros_like(self.vectors)
        state = np.stack([self.vectors, *self.adam.moments.get(_NAME, none)])
        checkpoints.save(self.job.key, self.at.dump(self.digest, state, self.best))

    def go_on(self, checkpoints: Checkpoints) -> bool:
        """Take up the same training where it stopped; return whether there was one."""
        before = Unfinished.load(checkpoints.load(self.job.key), self.digest)
        if before is None:
            return False
        self.at, (self.vectors, *moments) = before, before.state
        self.best = self.vectors if before.best is None else before.best
        self.adam.moments, self.adam.steps = {_NAME: (moments[0], moments[1])}, before.step
        return True


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
    waiting, active, saved = iter(jobs), list[_Place](), time.monotonic()
    scale = model.embedding_norm / math.sqrt(start.shape[1])
    while True:
        new = _new(waiting, start, recipe, places - len(active), "" if checkpoints is None else model.fingerprint)
        _look(model, [one for one in new if checkpoints is None or not one.go_on(checkpoints)])
        active += new
        if not active:
            return
        if check is not None:
            check()
        count = _step(model, active, scale)
        if progress is not None:
            progress(count)
        _look(model, [one for one in active if one.plan.ends_epoch(one.at.step - 1)])
        for one in active:
            if one.done:
                at = one.at
                yield Prefix(one.job.key, one.best, tuple(at.losses), tuple(at.held), at.bare, at.step, one.seconds)
                if checkpoints is not None:
                    checkpoints.drop(one.job.key)
        active = [one for one in active if not one.done]
        if checkpoints is not None and time.monotonic() - saved > unfinished.SAVE_SECONDS:
            for one in active:
                one.save(checkpoints)
            saved = time.monotonic()


def _new(waiting: Iterator[Job], start: Floats, recipe: Recipe, count: int, fingerprint: str) -> list[_Place]:
    """Take people from those who wait; ``fingerprint`` is the model's where what is unfinished is kept."""
    found = list[_Place]()
    while len(found) < count and (job := next(waiting, None)) is not None:
        if job.examples:
            of = _digest(job, start, recipe, fingerprint) if fingerprint else ""
            found.append(_Place(job, Plan(recipe, len(job.examples)), Adam(recipe.rate), start, start, of))
    return found


def _digest(job: Job, start: Floats, recipe: Recipe, fingerprint: str) -> str:
    """Return a digest of all that a prefix depends on: unfinished work of another training is not gone on with."""
    parts: list[str | bytes] = [fingerprint, repr(recipe), start.tobytes()]
    for examples in (job.examples, job.held):
        parts.append(repr([(prompt_hash(one.call), one.text, one.weight) for one in examples]))
    return digest(*parts).hex()


def _step(model: Model, active: Sequence[_Place], scale: float) -> int:
    """Make one step for everybody; return from how many examples was learnt."""
    began = time.perf_counter()
    asked = [(one, one.job.examples[n]) for one in active for n in one.plan.batch(one.at.step)]
    lengths = [_tokens(model, example) for _, example in asked]
    sums = dict.fromkeys(map(id, active), 0.0)
    for (one, example), length in zip(asked, lengths, strict=True):
        sums[id(one)] += example.weight * length
    weights = [-example.weight / sums[id(one)] for one, example in asked]
    calls = [_with_prefix(example, one.vectors) for one, example in asked]
    scores, slopes = model.soft_gradients(calls, [example.text for _, example in asked], weights)
    gradients = {id(one): np.zeros_like(one.vectors) for one in active}
    each = (time.perf_counter() - began) / len(asked)
    for (one, example), score, slope in zip(asked, scores, slopes, strict=True):
        gradients[id(one)] += slope[: len(one.vectors)]
        one.at.total -= example.weight * float(score)
        one.seconds += each
    for one in active:
        one.at.weight += sums[id(one)]
        _move(one, gradients[id(one)], scale)
    return len(asked)


def _move(one: _Place, gradient: Floats, scale: float) -> None:
    recipe = one.plan.recipe
    length = float(np.linalg.norm(gradient.astype(np.float64)))
    # The clip is for a prefix of unit scale, whose gradient is ``scale`` times as long.
    if recipe.clip and scale * length > recipe.clip:
        gradient = gradient * np.float32(recipe.clip / (scale * length))
    one.adam.rate = scale * one.plan.rate(one.at.step)
    one.vectors = one.adam.step({_NAME: one.vectors}, {_NAME: gradient})[_NAME]
    one.at.step += 1
    if one.plan.ends_epoch(one.at.step - 1):
        one.at.end_epoch()


def _look(model: Model, places: Sequence[_Place]) -> None:
    """Measure held-out losses in one batch, and keep the vectors where none was lower."""
    began = time.perf_counter()
    asked = [(one, example) for one in places for example in one.job.held]
    calls = [_with_prefix(example, one.vectors) for one, example in asked]
    first = [pair for pair in asked if pair[0].at.bare is None]
    calls += [example.call for _, example in first]
    scores = iter(model.logprobs(calls, [example.text for _, example in (*asked, *first)]) if calls else ())
    with_prefix = _means(model, asked, scores)
    bare = _means(model, first, scores)
    for one in places:
        if not one.job.held:
            one.best = one.vectors
            continue
        one.at.bare = bare.get(id(one), one.at.bare)
        one.at.held.append(with_prefix[id(one)])
        if one.at.held[-1] <= min(one.at.held):
            one.best = one.vectors
        one.seconds += (time.perf_counter() - began) / len(places)


def _means(model: Model, asked: Sequence[tuple[_Place, Example]], scores: Iterator[float]) -> dict[int, float]:
    """Return each person's loss a token, by the place's identity."""
    sums = dict[int, tuple[float, float]]()
    for one, example in asked:
        total, tokens = sums.get(id(one), (0.0, 0.0))
        length = example.weight * _tokens(model, example)
        sums[id(one)] = (total - example.weight * next(scores), tokens + length)
    return {key: total / tokens for key, (total, tokens) in sums.items()}


def _with_prefix(example: Example, vectors: Floats) -> Call:
    """Put the prefix before other soft prompts of the call."""
    other = example.call.soft_prompt
    return replace(example.call, soft_prompt=vectors if other is None else np.concatenate([vectors, other]))


def _tokens(model: Model, example: Example) -> int:
    return max(1, model.count_tokens(example.text))
