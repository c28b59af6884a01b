"""People for the tests of adapters over a life: small ones, and what a tiny model foresees of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from helpers import say
from idiolect.trainable import Job, Recipe, Trained
from idiolect.types import EVERYONE, Adapter, Artifact, Body, Call, Context, Record

START, DAY = 1_700_000_000.0, 86400.0
WORDS = "the a cat dog tea in on likes".split()


@dataclass
class Person:
    """A person as a list of records, with no search: for methods without a context."""

    id: str
    history: Sequence[Record]
    artifacts: Sequence[Artifact] = ()
    now: float = float("inf")
    groups: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(self.history)

    def before(self, time: float) -> Person:
        seen = [record for record in self.history if record.time < time]
        return Person(self.id, seen, [one for one in self.artifacts if one.time < time], time)

    def keep(self, made: Sequence[Artifact]) -> None:
        """Put the newest first, and everybody's after the own ones, as the store does."""
        found = [*reversed(list(made)), *self.artifacts]
        self.artifacts = sorted(found, key=lambda artifact: artifact.user_id == EVERYONE)

    def forget(self, record_id: str) -> None:
        self.history = [record for record in self.history if record.id != record_id]
        self.artifacts = [one for one in self.artifacts if record_id not in one.record_ids]

    def drop(self, artifact: Artifact) -> None:
        self.artifacts = [one for one in self.artifacts if one.id != artifact.id]


@dataclass
class Trains:
    """A model that trains nothing: it keeps what it was asked, and says what the held-out losses were."""

    fingerprint: str = "new@1"
    held: Sequence[float] = (2.0, 1.0)
    jobs: list[Job] = field(default_factory=list)
    recipes: list[Recipe] = field(default_factory=list)

    supports = frozenset({"adapters", "training"})

    def train(self, jobs, recipe, **_):
        for job in jobs:
            self.jobs.append(job)
            self.recipes.append(recipe)
            body = Body.of(repr((job, recipe)).encode())
            yield Trained(job.key, body, (1.0,), tuple(self.held) if job.held else (), 1, 1, 0.0)


def gave(user: str, asked: str, output: str, day: float) -> Record:
    return say(user, output, START + day * DAY, kind="preference", input=asked)


def context(model, **more) -> Context:
    return Context(model, lambda: START, np.random.default_rng(0), **more)


def losses(model, pairs: Sequence[tuple[str, str]], artifact: Artifact | None = None) -> np.ndarray:
    """Minus the log probability [nats] of each answer."""
    worn = () if artifact is None or artifact.body is None else (Adapter(artifact.id, 1.0, artifact.body),)
    calls = [Call(({"role": "user", "content": asked},), adapters=worn) for asked, _ in pairs]
    return -np.array(model.logprobs(calls, [answer for _, answer in pairs]))


def accuracy(model, pairs: Sequence[tuple[str, str]], artifact: Artifact | None = None) -> float:
    options = sorted({answer for _, answer in pairs})
    table = np.array([losses(model, [(asked, option) for asked, _ in pairs], artifact) for option in options])
    best = [options[n] for n in table.argmin(axis=0)]
    return float(np.mean([one == answer for one, (_, answer) in zip(best, pairs, strict=True)]))


def tiny(path):
    from idiolect import registry
    from tiny import write_model

    settings = {"model": str(write_model(path)), "dtype": "float32", "device": "cpu"}
    return registry.build(registry.backends.get("transformers"), settings)
