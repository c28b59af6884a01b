"""Per-user LoRA: a person's own weights over one frozen model, trained on what they gave (OPPU, arXiv:2402.04401).

Published code trains person n on the rows of persons 1 to n, because one list is not reset; here people are trained
side by side and share nothing but the frozen model. As records come the adapter is trained on
(:mod:`idiolect.adaptation.shared.lifelong`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from idiolect import registry
from idiolect.adaptation.shared.attach import adapter_of, dressed, initial, people_under, plain
from idiolect.adaptation.shared.examples import Writer
from idiolect.adaptation.shared.lifelong import Course, Lesson, is_due, lesson_of, tried_last
from idiolect.adaptation.shared.making import Asked, adapter_artifact, told_of, trainable
from idiolect.adaptation.shared.moving import Synthetic, for_model, written
from idiolect.adaptation.shared.playback import played
from idiolect.prompting.assembly import Named
from idiolect.registry import method
from idiolect.trainable import Job, Recipe, Trained
from idiolect.types import Artifact, Backend, Call, Context, User

NAME = "lora"


@dataclass
class _Run:
    # Who is in training on what, and instructions that are new.
    ctx: Context
    asked: Asked = field(default_factory=dict)
    lessons: dict[str, Lesson] = field(default_factory=dict)
    under: dict[str, set[str]] = field(default_factory=dict)  # whose records shaped what lies under an adapter
    new: list[Artifact] = field(default_factory=list)

    def instructions(self) -> Iterator[Artifact]:
        while self.new:
            yield self.new.pop(0)


@method(
    NAME, level="model", paper="arXiv:2402.04401, arXiv:2106.09685, arXiv:2510.25093", needs=("adapters",),
    fit_needs=("training",), batched=True,
)  # fmt: skip
@dataclass(frozen=True)
class Lora:
    """Serve each person with weights of their own, trained on what they gave, beside what other methods find.

    The same methods write the prompts that are learnt from, each from what came before, and the prompt that is
    answered: the weights learn to use them. What lies under the adapter (``task_lora``) is named among them.
    """

    context: tuple[str, ...] = ("profile", "retrieval")
    """Methods that personalize the prompt too; ``none`` for the weights alone."""
    weight: float = 1.0
    """How much of the adapter is added when it is served."""
    rank: int = 8
    """Inner dimension of the change of a module."""
    alpha: float = 16.0
    """The change is scaled by ``alpha / rank``."""
    modules: tuple[str, ...] = ()
    """Linear modules by their last name (``q_proj``); all of a layer without any."""
    layers: int = 0
    """Change the last so many layers alone, 0 for all; what lies below is read only once for each record."""
    rate: float = 1e-3
    """Highest rate of learning."""
    epochs: int = 3
    """Passes over the records."""
    batch: int = 4
    """Records in a step."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the rate falls after it rose over the first tenth."""
    newest: int = 400
    """So many of the newest records are learnt from."""
    hold_out: float = 0.1
    """Part of them, the newest, that is not learnt but tells which pass was best; 0 learns all."""
    least: int = 4
    """With fewer records nothing is trained."""
    tokens: int = 0
    """Budget of the personal part of the prompts that are learnt from; 0 for that of the prompts that are answered."""
    refresh: int = 30
    """Train again once so many records have come since."""
    update: Literal["onward", "anew"] = "onward"
    """Go on from the person's last adapter with what has come since, or begin from nothing over the newest."""
    replay: float = 0.2
    """Part of the older records that an update sees again, within ``newest``."""
    half_life: float = 90.0
    """Of two older records the one so many days older is half as likely to be seen again."""
    proximal: float = 0.05
    """How strongly an update is held near the last adapter."""
    span: int = 4000
    """An adapter that would rest on more records than this is begun anew."""
    start: str = ""
    """Method whose adapter of everybody a person's first one begins from (``meta_lora``); none for no change."""
    playback: bool = False
    """Have the model write instructions for texts that answer nothing, and learn to follow them."""
    seed: int = 0
    """Of the first weights and of the order of records."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Personalize the prompt, and add the person's adapter where there is one for this model."""
        return dressed(call, user, ctx, self.parts, self.current(user, ctx.model.fingerprint), NAME, self.weight)

    def current(self, user: User, base_model: str) -> Artifact | None:
        """Return the newest adapter trained with these settings for these weights."""
        return adapter_of(user, NAME, self._learnt, base_model)

    @property
    def parts(self) -> tuple[Named, ...]:
        """The methods of the prompt, in order."""
        return registry.make_folded("+".join(self.context))

    @property
    def begins(self) -> tuple[Named, ...]:
        """The method whose adapter of everybody a person's first one begins from, if any."""
        return registry.make_folded(self.start) if self.start else ()

    @property
    def _learnt(self) -> dict[str, Any]:
        return plain(self, without=("weight", "refresh"))

    def stale(self, user: User) -> bool:
        """Whether there is no adapter yet for what a person gave, or ``refresh`` records have come since one was tried.

        A version that was rolled back, or did not serve, was tried.
        """
        return is_due(user, NAME, self._learnt, self.least, self.refresh)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Train an adapter for each person with enough records, many people at once; yield each when it is finished.

        Nobody is trained again on the same records. An update that foresees the newest records worse than the adapter
        before is not yielded; the lesson that says so always is.
        """
        run, onward = _Run(ctx), list[User]()
        progress = told_of(ctx, users, run.asked, self.epochs)
        for people, recipe in ((self._beginning(users, run, onward), self._recipe), (onward, self._update)):
            made = trainable(ctx.model).train(
                self._jobs(people, run), recipe, progress=progress, check=ctx.check,
                checkpoints=ctx.checkpoints,
            )  # fmt: skip
            for one in made:
                yield from run.instructions()
                yield from self._artifacts(one, run)
        yield from run.instructions()

    @property
    def _recipe(self) -> Recipe:
        return Recipe(
            self.rank, self.alpha, self.modules, self.layers, self.rate, self.epochs, self.batch,
            schedule=self.schedule, patience=1 if self.hold_out else 0, seed=self.seed,
        )  # fmt: skip

    @property
    def _update(self) -> Recipe:
        # an update holds out a handful of records: too few to end at the first pass that does no better on them
        return replace(self._recipe, proximal=self.proximal, patience=0)

    @property
    def _course(self) -> Course:
        return Course(
            self.newest, self.hold_out, self.least, self.update == "onward", self.replay, self.half_life, self.span,
            self.seed,
        )  # fmt: skip

    def _beginning(self, users: Iterable[User], run: _Run, onward: list[User]) -> Iterator[User]:
        """Yield the people who begin from nothing; the others are trained after them, held near what they have."""
        for user in users:
            if self._course.goes_on(self.current(user, run.ctx.model.fingerprint)):
                onward.append(user)
            else:
                yield user

    def _jobs(self, users: Iterable[User], run: _Run) -> Iterator[Job]:
        writer = Writer(self.parts, run.ctx, self.tokens)
        for user in users:
            lesson = self._lesson(user, run.ctx)
            if lesson is None:
                continue
            if self.playback:
                found, new = played(user, lesson.records, NAME, run.ctx)
                lesson = lesson.asked(found)
                run.new += [] if new is None else [new]
            run.asked[user.id], run.lessons[user.id] = (user, lesson.records), lesson
            learnt, held = writer.examples(user, lesson.learnt), writer.examples(user, lesson.held)
            run.under[user.id] = people_under(user, (one.call for one in (*learnt, *held)))
            yield Job(user.id, learnt, held, lesson.start)

    def _lesson(self, user: User, ctx: Context) -> Lesson | None:
        base_model = ctx.model.fingerprint
        before, tried = self.current(user, base_model), tried_last(user, NAME, self._learnt, base_model)
        if before is not None and self._course.goes_on(before):
            return self._course.next(user, before, tried)
        return self._course.first(user, before, tried, initial(self.start, user, base_model))

    def _artifacts(self, made: Trained, run: _Run) -> Iterator[Artifact]:
        (user, records), lesson, ctx = run.asked.pop(made.key), run.lessons.pop(made.key), run.ctx
        told = {"records": user.count, "rank": self.rank, "learnt": len(records), **lesson.told()}
        adapter = adapter_artifact(
            made,
            user.id,
            NAME,
            self._learnt,
            ctx,
            records,
            told,
            {*lesson.people, *run.under.pop(made.key)},
            lesson.rests_on,
        )
        served = lesson.no_worse(made)
        if served:
            yield adapter
        yield lesson_of(lesson, made, adapter, served, user.count)

    def distil(
        self, adapters: Iterable[Artifact], teacher: Backend, ctx: Context, prompts: Sequence[str] = ()
    ) -> Iterator[Artifact]:
        """Train adapters for this model on what an older model writes with those that people have for it.

        No record is read. Whoever's adapter writes fewer than ``least`` usable answers gets none.
        """
        found = dict[str, tuple[Artifact, Synthetic]]()

        def jobs() -> Iterator[Job]:
            for artifact in adapters:
                made = written(teacher, artifact, prompts, self.newest, self.seed)
                if len(made.examples) >= self.least:
                    found[artifact.user_id] = artifact, made
                    yield made.job(artifact.user_id, self.hold_out)

        for one in trainable(ctx.model).train(jobs(), self._recipe, check=ctx.check, checkpoints=ctx.checkpoints):
            artifact, made = found.pop(one.key)
            told = {"moved": "distilled", "held": one.held, "losses": one.losses, "distilled": made.told()}
            yield for_model(artifact, ctx.model.fingerprint, one.body, told)
