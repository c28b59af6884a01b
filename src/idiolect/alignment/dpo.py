"""Per-user DPO: a person's own weights from what they chose over what (arXiv:2305.18290; MODPO, arXiv:2310.03708).

People are trained side by side over one frozen model, which is the reference of all of them: an adapter that changes
nothing is the reference, so no second model is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from idiolect import registry
from idiolect.adaptation.shared.attach import adapter_of, dressed, people_under, plain, records_under
from idiolect.adaptation.shared.examples import Writer, split
from idiolect.adaptation.shared.making import Asked, adapter_artifact, told_of, trainable
from idiolect.alignment.shared.comparisons import Comparison
from idiolect.alignment.shared.pairs import chosen, pairs
from idiolect.errors import ConfigError
from idiolect.prompting.assembly import Named
from idiolect.prompting.shared.learnt import newest
from idiolect.registry import method
from idiolect.trainable import Job, Recipe, Trained
from idiolect.types import Artifact, Call, Context, User

NAME = "dpo"


@dataclass(frozen=True)
class _Lesson:
    # What an adapter is learnt from: the choices, and whose records shaped what lies under it.
    user: User
    choices: Sequence[Comparison]
    pairs: int
    under: Sequence[str]
    people: set[str]

    @property
    def ids(self) -> list[str]:
        return _ids(self.choices)

    @property
    def rests_on(self) -> list[str]:
        own = self.ids
        return [*(rid for rid in self.under if rid not in set(own)), *own]


@method(
    NAME, level="objective", paper="arXiv:2305.18290, arXiv:2310.03708", needs=("adapters",), fit_needs=("training",),
    batched=True,
)  # fmt: skip
@dataclass(frozen=True)
class Dpo:
    """Serve each person with weights that learnt what the person chose over what.

    Choices are those among drafts or texts, answers that the person edited (the edit is better than what was edited),
    and labels. Whoever chose nothing gets no weights. Other objectives (``objectives=brief:margins=[0.3]``) are traded
    for the person's own choices as MODPO does it.
    """

    context: tuple[str, ...] = ("profile", "retrieval")
    """Methods that personalize the prompt too, and what lies under the adapter (``lora``); ``none`` for neither."""
    weight: float = 1.0
    """How much of the adapter is added when it is served."""
    beta: float = 0.1
    """How strongly the model is held to what it was; higher moves it less."""
    objectives: tuple[str, ...] = ()
    """What else an answer should be, as a reward that is worked out from its text: ``brief``, ``detailed``, ``formal``,
    ``casual``, ``simple``, ``expert`` or ``warm``."""
    margins: tuple[float, ...] = ()
    """The weight of each of these objectives; what is left of 1 is that of the person's choices."""
    rank: int = 4
    """Inner dimension of the change of a module."""
    alpha: float = 8.0
    """The change is scaled by ``alpha / rank``."""
    modules: tuple[str, ...] = ()
    """Linear modules by their last name (``q_proj``); all of a layer without any."""
    layers: int = 0
    """Change the last so many layers alone, 0 for all; what lies below is read only once for each text."""
    rate: float = 5e-4
    """Highest rate of learning."""
    epochs: int = 5
    """Passes over the choices."""
    batch: int = 4
    """Pairs of texts in a step."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the rate falls after it rose over the first tenth."""
    newest: int = 200
    """So many of the newest choices are learnt from."""
    rivals: int = 4
    """So many of the texts that were not taken are held against the one that was."""
    hold_out: float = 0.1
    """Part of the choices, the newest, that is not learnt but tells which pass was best; 0 learns all."""
    least: int = 2
    """With fewer choices nothing is trained."""
    tokens: int = 0
    """Budget of the personal part of the prompts that are learnt from; 0 for that of the prompts that are answered."""
    refresh: int = 10
    """Train again once so many choices have come since."""
    seed: int = 0
    """Of the first weights and of the order of pairs."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Personalize the prompt, and add the person's adapter where there is one for this model."""
        return dressed(call, user, ctx, self.parts, self.current(user, ctx.model.fingerprint), NAME, self.weight)

    def current(self, user: User, base_model: str) -> Artifact | None:
        """Return the newest adapter trained with these settings for these weights."""
        return adapter_of(user, NAME, self._learnt, base_model)

    @property
    def parts(self) -> tuple[Named, ...]:
        """The methods of the prompt, and of what lies under the adapter, in order."""
        return registry.make_folded("+".join(self.context))

    @property
    def _learnt(self) -> dict[str, Any]:
        return plain(self, without=("weight", "refresh"))

    def stale(self, user: User) -> bool:
        """Whether there is no adapter yet for what a person chose, or ``refresh`` choices have come since."""
        before = newest(user, NAME, self._learnt)
        if before is None:
            return user.count >= self.least and len(chosen(user, self.least)) >= self.least
        if user.count - int(orjson.loads(before.payload)["records"]) < self.refresh:
            return False
        return sum(one.record.time > before.time for one in chosen(user, self.newest)) >= self.refresh

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Train an adapter for each person with enough choices, many people at once; yield each when it is finished.

        Nobody is trained again on the same choices.
        """
        asked, lessons = Asked(), dict[str, _Lesson]()
        made = trainable(ctx.model).train(
            self._jobs(users, asked, lessons, ctx), self._recipe,
            progress=told_of(ctx, users, asked, self.epochs), check=ctx.check, checkpoints=ctx.checkpoints,
        )  # fmt: skip
        for one in made:
            asked.pop(one.key)
            yield self._artifact(one, lessons.pop(one.key), ctx)

    @property
    def _recipe(self) -> Recipe:
        if len(self.margins) != len(self.objectives):
            raise ConfigError(
                f"{NAME}: {len(self.objectives)} objectives and {len(self.margins)} margins; give one weight for each: "
                f"{NAME}:objectives=brief:margins=[0.3]"
            )
        own = 1.0 - sum(self.margins)
        if own <= 0 or min(self.margins, default=0.0) < 0:
            raise ConfigError(
                f"{NAME}: margins={list(self.margins)} leave {own:g} for the person's own choices; give weights above "
                "0 that add up to less than 1"
            )
        return Recipe(
            self.rank, self.alpha, self.modules, self.layers, self.rate, self.epochs, self.batch,
            schedule=self.schedule, patience=1 if self.hold_out else 0, seed=self.seed, objective="preference",
            beta=self.beta, weights=(own, *self.margins),
        )  # fmt: skip

    def _jobs(self, users: Iterable[User], asked: Asked, lessons: dict[str, _Lesson], ctx: Context) -> Iterator[Job]:
        writer, options = Writer(self.parts, ctx, self.tokens), () if ctx.template is None else ctx.template.options
        for user in users:
            found = chosen(user, self.newest, options)
            if len(found) < self.least or self._was_learnt(user, found, ctx.model.fingerprint):
                continue
            learnt, held = (
                pairs(writer, user, part, self.rivals, self.objectives) for part in split(found, self.hold_out)
            )
            calls = [one.call for one in (*learnt, *held)]
            lesson = _Lesson(user, found, len(learnt), records_under(user, calls), people_under(user, calls))
            lessons[user.id] = lesson
            asked[user.id] = user, [found[0].record] * len(learnt)  # progress counts pairs
            yield Job(user.id, learnt, held)

    def _was_learnt(self, user: User, found: Sequence[Comparison], base_model: str) -> bool:
        before = self.current(user, base_model)
        if before is None:
            return False
        count = int(orjson.loads(before.payload)["choices"])
        return list(before.record_ids[len(before.record_ids) - count :]) == _ids(found)

    def _artifact(self, made: Trained, lesson: _Lesson, ctx: Context) -> Artifact:
        told = {
            "records": lesson.user.count, "rank": self.rank, "choices": len(lesson.ids), "pairs": lesson.pairs,
            "own": self._recipe.weights[0],
        }  # fmt: skip
        records = [one.record for one in lesson.choices]
        return adapter_artifact(
            made, lesson.user.id, NAME, self._learnt, ctx, records, told, lesson.people, lesson.rests_on
        )  # fmt: skip


def _ids(found: Sequence[Comparison]) -> list[str]:
    """Return the records that choices stand in, each once."""
    return list(dict.fromkeys(one.record.id for one in found))
