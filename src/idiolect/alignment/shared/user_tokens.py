"""Soft tokens of everybody and an offset of each person, trained on who chose what over what (arXiv:2402.05133).

A person's tokens are ``e = e_0 + o`` ``[m, hidden]``: ``e_0`` is the generic user's, ``o`` the person's own. The loss
of a choice is ``alpha * l(e_0 + o) + (1 - alpha) * l(e_0)``, ``l(e) = -log sigmoid(beta (d(e) - d))``, where ``d`` says
by how much the text that was taken is likelier [nats] than the other, with the tokens and without any. The paper trains
an adapter of the model beside the tokens; here the model is frozen, and an adapter may lie under it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from idiolect.hashing import digest, identity
from idiolect.prompting.shared.preference import dpo
from idiolect.trainable import Checkpoints, Example, Job, Recipe
from idiolect.training import unfinished
from idiolect.training.plan import Plan
from idiolect.training.prefixes import cut, prefixed, scale_of
from idiolect.training.soft_prompts import Adam, Model
from idiolect.training.unfinished import Unfinished
from idiolect.types import EVERYONE, Call, Floats

Doubles = npt.NDArray[np.float64]
_GENERIC = ""
"""Whose tokens the generic ones are."""
_NAME = "tokens"


@dataclass(frozen=True, slots=True)
class Form:
    """``alpha`` is how much of the loss is the person's, ``beta`` how strongly the model is held to what it was."""

    alpha: float = 0.5
    beta: float = 0.5


@dataclass(frozen=True, eq=False)
class Tokens:
    """The generic user's tokens and the offsets of people by key, ``[m, hidden]`` each, of the best pass.

    ``losses`` [nats a choice] is the mean of each pass, ``held`` the held-out loss with people's own tokens before the
    first pass and after each, ``generic_held`` that with the generic tokens of the best pass.
    """

    generic: Floats
    own: Mapping[str, Floats]
    losses: tuple[float, ...]
    held: tuple[float, ...]
    generic_held: float | None
    steps: int


def train(
    model: Model, jobs: Sequence[Job], start: Floats, form: Form, recipe: Recipe, *, key: str = EVERYONE,
    fixed: bool = False, progress: Callable[[int], None] | None = None, check: Callable[[], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> Tokens:  # fmt: skip
    """Train generic tokens from ``start`` ``[m, hidden]`` and an offset for each job, by Adam; offsets begin at 0.

    Examples are choices, each with what was ``rejected``. With ``fixed`` the generic tokens stay as they are, and
    offsets alone are learnt. Of the recipe count rate, epochs, batch, warm-up, schedule, clipping, patience and seed; a
    step takes choices of whomever they are. The rate is relative to the usual size of an embedding's number. With
    ``checkpoints`` a killed run goes on where it stopped and ends with the same tokens. What is kept under ``key`` is
    for the caller to drop, also when it is finished.
    """
    made, saved = _Training(model, jobs, start, form, recipe, fixed), time.monotonic()
    plan, before = Plan(recipe, len(made.rows)), None
    if checkpoints is not None:
        before = Unfinished.load(checkpoints.load(key), made.digest)
    if before is None:
        made.look()
    else:
        made.bring_back(before)
    while not plan.done(made.at.step, made.at.held):
        if check is not None:
            check()
        batch = plan.batch(made.at.step)
        made.learn(batch, plan.rate(made.at.step))
        if progress is not None:
            progress(len(batch))
        if plan.ends_epoch(made.at.step - 1):
            made.at.end_epoch()
            made.look()
        if checkpoints is not None and time.monotonic() - saved > unfinished.SAVE_SECONDS:
            checkpoints.save(key, made.dump())
            saved = time.monotonic()
    if checkpoints is not None:
        checkpoints.save(key, made.dump())
    return made.finished()


@dataclass(frozen=True, slots=True)
class _Row:
    # A choice, whose it is, and by how much the text taken is likelier without any tokens.
    key: str
    example: Example
    bare: float


@dataclass(frozen=True, slots=True)
class _Asked:
    # A choice judged with somebody's tokens; ``share`` is what it counts in the loss of the step.
    row: _Row
    key: str
    share: float


@dataclass
class _Training:
    model: Model
    jobs: Sequence[Job]
    start: Floats
    form: Form
    recipe: Recipe
    fixed: bool
    at: Unfinished = field(default_factory=Unfinished)

    def __post_init__(self) -> None:
        self.scale = scale_of(self.model, self.start)
        self.rows = self._rows([(job.key, one) for job in self.jobs for one in job.examples])
        self.kept = self._rows([(job.key, one) for job in self.jobs for one in job.held])
        self.values = {_GENERIC: self.start} | {job.key: np.zeros_like(self.start) for job in self.jobs}
        self.adams = {key: Adam(0.0) for key in self.values}
        self.best = self.values

    @property
    def digest(self) -> str:
        """Stands for all that the tokens depend on."""
        parts: list[str | bytes] = [self.model.fingerprint, repr((self.recipe, self.form, self.fixed))]
        parts.append(self.start.tobytes())
        for job in self.jobs:
            parts.append(repr((job.key, [*map(identity, job.examples)], [*map(identity, job.held)])))
        return digest(*parts).hex()

    def dump(self) -> bytes:
        """Serialise how far it has come: the tokens of all with their moments, and the best so far."""
        none = np.zeros_like(self.start), np.zeros_like(self.start)
        rows = [[self.values[key], *adam.moments.get(_NAME, none)] for key, adam in self.adams.items()]
        self.at.counts = [adam.steps for adam in self.adams.values()]
        best = np.stack([self.best[key] for key in self.adams])
        return self.at.dump(self.digest, np.stack(rows, axis=1), best)

    def bring_back(self, before: Unfinished) -> None:
        """Go on from there."""
        self.at = before
        values, first, second = before.state
        assert before.best is not None
        for n, (key, adam) in enumerate(self.adams.items()):
            self.values[key], adam.steps = values[n], before.counts[n]
            if adam.steps:
                adam.moments = {_NAME: (first[n], second[n])}
        self.best = {key: before.best[n] for n, key in enumerate(self.adams)}

    def _rows(self, found: Sequence[tuple[str, Example]]) -> list[_Row]:
        bare = self._odds([one.call for _, one in found], [one for _, one in found])
        return [_Row(key, one, float(odds)) for (key, one), odds in zip(found, bare, strict=True)]

    def _odds(self, calls: Sequence[Call], examples: Sequence[Example]) -> Doubles:
        """Return by how much [nats] what was taken is likelier than what was rejected."""
        asked = [call for call in calls for _ in range(2)]
        scores = self.model.logprobs(asked, _texts(examples)) if asked else ()
        wide = np.array(scores, np.float64).reshape(-1, 2)
        difference: Doubles = wide[:, 0] - wide[:, 1]
        return difference

    def _call(self, key: str, call: Call) -> Call:
        vectors = self.values[_GENERIC] + self.values[key] if key else self.values[_GENERIC]
        return prefixed(call, vectors)

    def _asked(self, rows: Sequence[_Row]) -> Iterator[_Asked]:
        alpha, whole = 1.0 if self.fixed else self.form.alpha, sum(row.example.weight for row in rows)
        for row in rows:
            share = row.example.weight / whole
            if alpha:
                yield _Asked(row, row.key, alpha * share)
            if alpha < 1:
                yield _Asked(row, _GENERIC, (1 - alpha) * share)

    def learn(self, batch: Sequence[int], rate: float) -> None:
        """Make a step on the choices at these places."""
        asked = [*self._asked([self.rows[n] for n in batch])]
        calls = [self._call(one.key, one.row.example.call) for one in asked for _ in range(2)]
        scores, slopes = self.model.soft_gradients(
            calls, _texts([one.row.example for one in asked]), [1.0, -1.0] * len(asked)
        )
        odds = scores.astype(np.float64).reshape(-1, 2) @ [1.0, -1.0]
        losses, push = dpo(self.form.beta * (odds - [one.row.bare for one in asked]))
        gradients = dict[str, Floats]()
        for n, one in enumerate(asked):
            of_odds = (slopes[2 * n] + slopes[2 * n + 1])[: len(self.start)]
            slope = np.float32(one.share * self.form.beta * push[n]) * of_odds
            for key in {one.key} if self.fixed else {one.key, _GENERIC}:
                gradients[key] = gradients[key] + slope if key in gradients else slope
        weight = sum(self.rows[n].example.weight for n in batch)
        self.at.add(float(losses @ [one.share for one in asked]), weight)
        self._move(gradients, rate)

    def _move(self, gradients: Mapping[str, Floats], rate: float) -> None:
        moved = {}
        for key, gradient in gradients.items():
            self.adams[key].rate = self.scale * rate
            shorter = cut(gradient, self.recipe.clip, self.scale)
            moved[key] = self.adams[key].step({_NAME: self.values[key]}, {_NAME: shorter})[_NAME]
        self.values = {**self.values, **moved}
        self.at.step += 1

    def look(self) -> None:
        """Measure the held-out loss, and keep the tokens where none was lower."""
        if self.kept:
            self.at.held.append(self._loss([row.key for row in self.kept]))
        if not self.kept or self.at.held[-1] <= min(self.at.held):
            self.best = self.values

    def _loss(self, keys: Sequence[str]) -> float:
        """Return the loss of what is held out, each choice judged with the tokens of one of ``keys``."""
        examples = [row.example for row in self.kept]
        odds = self._odds([self._call(key, one.call) for key, one in zip(keys, examples, strict=True)], examples)
        losses, _ = dpo(self.form.beta * (odds - [row.bare for row in self.kept]))
        return float(np.average(losses, weights=[one.weight for one in examples]))

    def finished(self) -> Tokens:
        """Return the tokens of the best pass."""
        self.values = self.best
        generic = self._loss([_GENERIC] * len(self.kept)) if self.kept else None
        own = {key: value for key, value in self.best.items() if key}
        return Tokens(self.best[_GENERIC], own, tuple(self.at.losses), tuple(self.at.held), generic, self.at.step)


def _texts(examples: Sequence[Example]) -> list[str]:
    """Return what was taken and what was rejected, one after the other."""
    return [text for one in examples for text in (one.text, one.rejected or "")]
