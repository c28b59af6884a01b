"""Task LoRA: one adapter for everybody, which learns the task itself and how to use what is known of a person.

The first stage of per-user training (OPPU, arXiv:2402.04401, section 3.1) and the usual way of one model for all (LaMP,
arXiv:2304.11406; PEFT-U, arXiv:2407.18078). Per-user adapters go on top of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from idiolect import registry
from idiolect.adaptation.shared.attach import adapter_of, dressed, plain
from idiolect.adaptation.shared.examples import Writer, newest, split
from idiolect.adaptation.shared.making import Asked, Lesson, told_of, trainable
from idiolect.prompting.assembly import Named
from idiolect.registry import method
from idiolect.trainable import Job, Recipe
from idiolect.types import EVERYONE, Artifact, Call, Context, User

NAME = "task_lora"


@method(
    NAME, level="model", paper="arXiv:2402.04401 section 3.1, arXiv:2407.18078", needs=("adapters",),
    fit_needs=("training",), together=True,
)  # fmt: skip
@dataclass(frozen=True)
class TaskLora:
    """Serve everybody with one adapter that was trained on the records of all who share."""

    context: tuple[str, ...] = ("profile", "retrieval")
    """Methods that personalize the prompts that are learnt from and answered; ``none`` for none."""
    weight: float = 1.0
    """How much of the adapter is added when it is served."""
    rank: int = 16
    """Inner dimension of the change of a module."""
    alpha: float = 32.0
    """The change is scaled by ``alpha / rank``."""
    modules: tuple[str, ...] = ()
    """Linear modules by their last name; all of a layer without any."""
    layers: int = 0
    """Change the last so many layers alone, 0 for all."""
    rate: float = 5e-4
    """Highest rate of learning."""
    epochs: int = 2
    """Passes over the records."""
    batch: int = 16
    """Records in a step."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the rate falls after it rose over the first tenth."""
    newest: int = 200
    """So many of each person's newest records are learnt from."""
    hold_out: float = 0.1
    """Part of each person's, the newest, that tells which pass was best."""
    tokens: int = 0
    """Budget of the personal part of the prompts that are learnt from; 0 for that of the prompts that are answered."""
    seed: int = 0
    """Of the first weights and of the order of records."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Personalize the prompt, and add everybody's adapter; nothing for somebody without history."""
        if user.count == 0:
            return call
        return dressed(call, user, ctx, self.parts, self.current(user, ctx.model.fingerprint), NAME, self.weight)

    def current(self, user: User, base_model: str) -> Artifact | None:
        """Return the newest adapter learnt with these settings for these weights."""
        return adapter_of(user, NAME, self._learnt, base_model, EVERYONE)

    @property
    def parts(self) -> tuple[Named, ...]:
        """The methods of the prompt, in order."""
        return registry.make_folded("+".join(self.context))

    @property
    def _learnt(self) -> dict[str, Any]:
        return plain(self, without=("weight",))

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Train one adapter on the records of all these people."""
        lesson, writer = Lesson(list(users)), Writer(self.parts, ctx, self.tokens)
        for user in lesson.people:
            records = newest(user, self.newest)
            for examples, part in zip((lesson.learnt, lesson.held), split(records, self.hold_out), strict=True):
                examples += writer.examples(user, part)
            lesson.read += records
        if not lesson.learnt:
            return
        first = lesson.people[0]
        asked: Asked = {EVERYONE: (first, lesson.read)}
        recipe = Recipe(
            self.rank, self.alpha, self.modules, self.layers, self.rate, self.epochs, self.batch,
            schedule=self.schedule, patience=1 if lesson.held else 0, seed=self.seed,
        )  # fmt: skip
        made = trainable(ctx.model).train(
            [Job(EVERYONE, lesson.learnt, lesson.held)], recipe, progress=told_of(ctx, [first], asked, self.epochs),
            check=ctx.check, checkpoints=ctx.checkpoints,
        )  # fmt: skip
        told = {"records": len(lesson.read), "rank": self.rank, "people": len(lesson.givers)}
        for one in made:
            yield lesson.artifact(one, NAME, self._learnt, ctx, told)
