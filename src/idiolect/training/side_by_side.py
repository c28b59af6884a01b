"""Vectors of many people trained side by side, each as if alone: who has a place, what is saved and gone on with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from idiolect.trainable import Checkpoints
from idiolect.training import unfinished
from idiolect.training.plan import Plan
from idiolect.training.soft_prompts import Adam
from idiolect.training.unfinished import Unfinished
from idiolect.types import Floats

_NAME = "values"


@dataclass
class Place:
    """Somebody's training, as far as it has come: numbers of any shape, and the best of them so far.

    ``digest`` stands for all that the training depends on: unfinished work of another one is not gone on with.
    """

    key: str
    plan: Plan
    values: Floats
    best: Floats
    digest: str = ""
    at: Unfinished = field(default_factory=Unfinished)
    adam: Adam = field(default_factory=lambda: Adam(0.0))
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        """Whether all steps are made, or more of them would not help."""
        return self.plan.done(self.at.step, self.at.held)

    @property
    def ends_pass(self) -> bool:
        """Whether a pass over the examples is complete."""
        return self.plan.ends_epoch(self.at.step - 1)

    def move(self, gradient: Floats, rate: float) -> None:
        """Make a step of Adam down the gradient."""
        self.adam.rate = rate
        self.values = self.adam.step({_NAME: self.values}, {_NAME: gradient})[_NAME]
        self.at.step += 1
        if self.ends_pass:
            self.at.end_epoch()

    def save(self, checkpoints: Checkpoints) -> None:
        """Keep how far it has come."""
        none = np.zeros_like(self.values), np.zeros_like(self.values)
        state = np.stack([self.values, *self.adam.moments.get(_NAME, none)])
        checkpoints.save(self.key, self.at.dump(self.digest, state, self.best))

    def go_on(self, checkpoints: Checkpoints) -> bool:
        """Take up the same training where it stopped; return whether there was one."""
        before = Unfinished.load(checkpoints.load(self.key), self.digest)
        if before is None:
            return False
        self.at, (self.values, *moments) = before, before.state
        self.best = self.values if before.best is None else before.best
        self.adam.moments, self.adam.steps = {_NAME: (moments[0], moments[1])}, before.step
        return True


P = TypeVar("P", bound=Place)


class Training(Protocol[P]):
    """What is trained."""

    def take(self, count: int) -> list[P]:
        """Return at most so many of those who wait, as they begin."""

    def begin(self, places: Sequence[P]) -> None:
        """Measure those who begin, and not those who go on."""

    def step(self, places: Sequence[P]) -> int:
        """Make one step for everybody; return from how many examples was learnt."""

    def look(self, places: Sequence[P]) -> None:
        """Measure what is held out of those who completed a pass, and keep the best."""


def side_by_side(
    training: Training[P], places: int, *, progress: Callable[[int], None] | None = None,
    check: Callable[[], None] | None = None, checkpoints: Checkpoints | None = None,
) -> Iterator[P]:  # fmt: skip
    """Train at most ``places`` people at a time; yield each when it is finished.

    ``check`` may raise to end the work between two steps. With ``checkpoints`` a killed run goes on where it stopped
    and ends with the same numbers.
    """
    active, saved = list[P](), time.monotonic()
    while True:
        new = training.take(places - len(active))
        training.begin([one for one in new if checkpoints is None or not one.go_on(checkpoints)])
        active += new
        if not active:
            return
        if check is not None:
            check()
        count = training.step(active)
        if progress is not None:
            progress(count)
        training.look([one for one in active if one.ends_pass])
        for one in active:
            if one.done:
                yield one
                if checkpoints is not None:
                    checkpoints.drop(one.key)
        active = [one for one in active if not one.done]
        if checkpoints is not None and time.monotonic() - saved > unfinished.SAVE_SECONDS:
            for one in active:
                one.save(checkpoints)
            saved = time.monotonic()
