"""MOD: one adapter an objective, and their answers mixed while decoding (arXiv:2406.18853).

With the reverse Kullback-Leibler divergence the best policy for a weighted sum of rewards is the normalized product of
the policies of each, ``prod_i p_i^w_i`` with weights that sum to 1 (equation 8): the mixture of their log
probabilities. Nothing is merged in weight space, so nothing is assumed of it; each objective costs one more row.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson

from idiolect.adaptation.shared.examples import Writer, newest
from idiolect.adaptation.shared.making import adapter_artifact, told_of, trainable
from idiolect.alignment.shared.choices import latest, log_likelihoods
from idiolect.alignment.shared.experts import Expert, best_of, find
from idiolect.alignment.shared.objectives import MEASURES
from idiolect.errors import ConfigError
from idiolect.prompting.shared.known import Known
from idiolect.prompting.shared.learnt import due
from idiolect.registry import method
from idiolect.trainable import Example, Job, Recipe
from idiolect.types import EVERYONE, Adapter, Artifact, Branch, Call, Context, Record, Used, User

NAME, KIND = "mod", "weights"
_PARTS = 4
"""Weights are learnt in quarters."""


@method(
    NAME, level="objective", paper="arXiv:2406.18853", needs=("adapters", "mix"),
    fit_needs=("training", "logprobs", "mix", "adapters"), together=True,
)  # fmt: skip
@dataclass(frozen=True)
class Mod:
    """Mix the answers of adapters that were trained for one objective each, with weights per request or per person.

    What the weights leave of 1 is the model as it is. An objective with a measure (brief, detailed, formal, casual,
    simple, expert, warm) gets its adapter here, trained on those texts of all who share that have most of it; the
    paper trains with rewards (PPO, DPO), and such adapters come in as PEFT folders.
    """

    objectives: tuple[str, ...] = ("brief", "detailed")
    """Measured objectives; ids of adapters of everybody; methods that learn one (``task_lora:seed=1``); or PEFT folders
    (a path with a slash)."""
    weights: tuple[float, ...] = ()
    """One for each objective, not negative and at most 1 together; without any, the person's own, where learnt."""
    part: float = 0.25
    """So much of all texts, those with most of the objective, is its adapter trained on."""
    newest: int = 100
    """So many of each person's newest records are among these."""
    rank: int = 16
    """Inner dimension of the change of a module."""
    alpha: float = 32.0
    """The change is scaled by ``alpha / rank``."""
    modules: tuple[str, ...] = ()
    """Linear modules by their last name; all of a layer without any."""
    rate: float = 5e-4
    """Highest rate of learning."""
    epochs: int = 2
    """Passes over the texts."""
    batch: int = 16
    """Texts in a step."""
    seed: int = 0
    """Of the first weights and of the order of texts."""
    beta: float = 0.1
    """How surely a person takes the text that the weights make likelier (DPO's beta)."""
    comparisons: int = 16
    """So many of the person's latest choices are their weights learnt from."""
    refresh: int = 10
    """Learn a person's weights anew once so many records have come since."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Read the call under each objective's adapter that has a weight; nothing where no weights are known.

        Raises :class:`ConfigError` for weights that do not fit, an adapter that is not there, or where another method
        mixes already.
        """
        base_model = ctx.model.fingerprint
        if self.weights:
            experts = self._experts(user, base_model)
            if any(one is None for one in experts):
                missing = self.objectives[experts.index(None)]
                raise ConfigError(f"{NAME}: no adapter for {missing!r} yet. Learn it: idiolect fit {NAME} --all")
            return self._mixed(call, [one for one in experts if one is not None], self._given())
        artifact = self._current(user, base_model)
        if artifact is None:
            return call
        experts = self._experts(user, base_model)
        learnt = orjson.loads(artifact.payload)
        if [one and one.id for one in experts] != learnt["adapters"] or not any(learnt["weights"]):
            return call
        mixed = self._mixed(call, [one for one in experts if one is not None], learnt["weights"])
        return replace(mixed, used=(*mixed.used, Used("artifact", artifact.id, NAME, NAME, 1.0)))

    def stale(self, user: User) -> bool:
        """Whether choices are there to learn weights from, and none were or ``refresh`` records have come since."""
        artifact = self._current(user)
        if artifact is None:
            return bool(latest(user, 1))
        return due(user, int(orjson.loads(artifact.payload)["records"]), self.refresh)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Train an adapter for each measured objective on the texts of all these people, then find their weights."""
        everybody = list(users)
        made = list(self._trained(everybody, ctx))
        yield from made
        yield from self.place([Known(user, tuple(made)) for user in everybody], ctx)

    def place(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Find each person's weights: those under which what they chose is the most probable, of all in quarters."""
        for user in users:
            asked, experts = latest(user, self.comparisons), self._experts(user, ctx.model.fingerprint)
            found = [one for one in experts if one is not None]
            if not asked or len(found) < len(experts):
                continue
            grid = simplex(len(found), _PARTS)
            changes = [partial(self._mixed, experts=found, weights=weights, told=False) for weights in grid]
            likely = log_likelihoods(ctx, asked, changes, self.beta)
            told = {
                "weights": grid[int(likely.argmax())], "adapters": [one.id for one in found], "records": user.count,
                "log_likelihood": float(likely.max()), "without": float(likely[0]), "choices": len(asked),
            }  # fmt: skip
            yield Artifact.new(
                user.id, KIND, method=NAME, settings=self._weighed, payload=orjson.dumps(told),
                record_ids=dict.fromkeys(one.record.id for one in asked), base_model=ctx.model.fingerprint,
                time=max([one.record.time for one in asked] + [one.time for one in found]),
                people={person for one in found for person in one.people} - {user.id},
            )  # fmt: skip

    def _given(self) -> Sequence[float]:
        if len(self.weights) != len(self.objectives) or min(self.weights) < 0 or sum(self.weights) > 1 + 1e-6:
            raise ConfigError(
                f"{NAME}: weights {list(self.weights)} for objectives {list(self.objectives)}: give one for each, none "
                "below 0 and at most 1 together; what they leave is the model as it is"
            )
        return self.weights

    def _experts(self, user: User, base_model: str) -> list[Expert | None]:
        return [find(one, user, NAME, self._trained_with, base_model) for one in self.objectives]

    def _current(self, user: User, base_model: str = "") -> Artifact | None:
        mine = (a for a in user.artifacts if a.kind == KIND and a.method == NAME and a.settings == self._weighed)
        return next((a for a in mine if base_model in ("", a.base_model)), None)

    def _mixed(self, call: Call, experts: Sequence[Expert], weights: Sequence[float], told: bool = True) -> Call:
        """Return the call as read under each adapter; one that counts alone is simply worn."""
        if call.mix:
            raise ConfigError(f"{NAME!r} and a method before it both mix; leave one of them out")
        counted = [(one, weight) for one, weight in zip(experts, weights, strict=True) if weight]
        if not counted:
            return call
        worn = [((*call.adapters, Adapter(one.id, 1.0, one.body)), weight) for one, weight in counted]
        used = tuple(Used("artifact", one.id, NAME, NAME, w) for one, w in counted if one.time > float("-inf") and told)
        call = replace(call, used=(*call.used, *used))
        rest = 1.0 - sum(weights)
        if len(worn) == 1 and rest < 1e-6:
            return replace(call, adapters=worn[0][0])
        plain = [Branch(None, rest)] if rest >= 1e-6 else []
        return replace(call, mix=(*plain, *(Branch(None, weight, adapters=adapters) for adapters, weight in worn)))

    @property
    def _trained_with(self) -> dict[str, Any]:
        """Return what the training of an objective's adapter depends on."""
        return {
            "part": self.part, "newest": self.newest, "rank": self.rank, "alpha": self.alpha,
            "modules": list(self.modules), "rate": self.rate, "epochs": self.epochs, "batch": self.batch,
            "seed": self.seed,
        }  # fmt: skip

    @property
    def _weighed(self) -> dict[str, Any]:
        """Return what a person's weights depend on."""
        more = {"objectives": list(self.objectives), "beta": self.beta, "comparisons": self.comparisons}
        return {**self._trained_with, **more}

    def _trained(self, everybody: Sequence[User], ctx: Context) -> Iterator[Artifact]:
        wanted = [one for one in self.objectives if one in MEASURES]
        records = [record for user in everybody for record in newest(user, self.newest)]
        if not wanted or not records:
            return
        writer, of = Writer((), ctx), {user.id: user for user in everybody}
        taught = {one: best_of(records, one, self.part) for one in wanted}
        jobs = [Job(one, _examples(writer, of, read)) for one, read in taught.items()]
        recipe = Recipe(
            self.rank, self.alpha, self.modules, 0, self.rate, self.epochs, self.batch, patience=0, seed=self.seed
        )
        asked = {one: (everybody[0], read) for one, read in taught.items()}
        made = trainable(ctx.model).train(
            jobs, recipe, progress=told_of(ctx, [everybody[0]] * len(jobs), asked, self.epochs), check=ctx.check,
            checkpoints=ctx.checkpoints,
        )  # fmt: skip
        for one in made:
            read = taught[one.key]
            # which texts were the best of all was decided by all of them: it goes with any of these people
            people, told = sorted(of), {"records": len(read), "people": len(of), "rank": self.rank}
            settings = {**self._trained_with, "objective": one.key}
            yield adapter_artifact(one, EVERYONE, NAME, settings, ctx, read, told, people)


def simplex(objectives: int, parts: int) -> list[list[float]]:
    """Return all weights in multiples of ``1 / parts`` that are at most 1 together, all of them 0 first."""
    counts = itertools.product(range(parts + 1), repeat=objectives)
    return [[count / parts for count in one] for one in counts if sum(one) <= parts]


def _examples(writer: Writer, of: dict[str, User], records: Sequence[Record]) -> list[Example]:
    by_person = dict[str, list[Record]]()
    for record in records:
        by_person.setdefault(record.user_id, []).append(record)
    return [example for person, own in by_person.items() for example in writer.examples(of[person], own)]
