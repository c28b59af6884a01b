"""Per-user LoRA: a person's own weights over one frozen model, trained on what they gave (OPPU, arXiv:2402.04401).

Published code trains person n on the rows of persons 1 to n, because one list is not reset; here people are trained
side by side and share nothing but the frozen model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from idiolect import registry
from idiolect.adaptation.shared.attach import adapter_of, attached, plain
from idiolect.adaptation.shared.examples import Writer, newest, split
from idiolect.adaptation.shared.making import Asked, adapter_artifact, told_of, trainable
from idiolect.prompting.assembly import Named, fold
from idiolect.prompting.shared.learnt import due
from idiolect.registry import method
from idiolect.trainable import Job, Recipe
from idiolect.types import Artifact, Call, Context, Record, User

NAME = "lora"


@method(
    NAME, level="model", paper="arXiv:2402.04401, arXiv:2106.09685", needs=("adapters",), fit_needs=("training",),
    batched=True,
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
    """Train anew once so many records have come since."""
    seed: int = 0
    """Of the first weights and of the order of records."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Personalize the prompt, and add the person's adapter where there is one for this model."""
        planned = fold(call, user, self.parts, ctx)
        artifact = self.current(user, ctx.model.fingerprint)
        if artifact is None or not self.weight:
            return planned
        return attached(planned, artifact, NAME, self.weight)

    def current(self, user: User, base_model: str) -> Artifact | None:
        """Return the newest adapter trained with these settings for these weights."""
        return adapter_of(user, NAME, self._learnt, base_model)

    @property
    def parts(self) -> tuple[Named, ...]:
        """The methods of the prompt, in order."""
        return registry.make_folded("+".join(self.context))

    @property
    def _learnt(self) -> dict[str, Any]:
        return plain(self, without=("weight", "refresh"))

    def stale(self, user: User) -> bool:
        """Whether there is no adapter yet for what a person gave, or ``refresh`` records have come since."""
        mine = (a for a in user.artifacts if a.method == NAME and a.settings == self._learnt)
        artifact = next(mine, None)
        if artifact is None:
            return user.count >= self.least
        return due(user, int(orjson.loads(artifact.payload)["records"]), self.refresh)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Train an adapter for each person with enough records, many people at once; yield each when it is finished.

        Nobody is trained again on the same records.
        """
        asked: Asked = {}
        made = trainable(ctx.model).train(
            self._jobs(users, ctx, asked), self._recipe, progress=told_of(ctx, users, asked, self.epochs),
            check=ctx.check, checkpoints=ctx.checkpoints,
        )  # fmt: skip
        for one in made:
            user, records = asked.pop(one.key)
            told = {"records": user.count, "rank": self.rank, "learnt": len(records)}
            yield adapter_artifact(one, user.id, NAME, self._learnt, ctx, records, told)

    @property
    def _recipe(self) -> Recipe:
        return Recipe(
            self.rank, self.alpha, self.modules, self.layers, self.rate, self.epochs, self.batch,
            schedule=self.schedule, patience=1 if self.hold_out else 0, seed=self.seed,
        )  # fmt: skip

    def _jobs(self, users: Iterable[User], ctx: Context, asked: Asked) -> Iterator[Job]:
        writer = Writer(self.parts, ctx, self.tokens)
        for user in users:
            records = newest(user, self.newest)
            if len(records) < self.least or self._is_of(user, records, ctx):
                continue
            asked[user.id] = user, records
            learnt, held = split(records, self.hold_out)
            yield Job(user.id, writer.examples(user, learnt), writer.examples(user, held))

    def _is_of(self, user: User, records: list[Record], ctx: Context) -> bool:
        old = self.current(user, ctx.model.fingerprint)
        return old is not None and old.record_ids == tuple(record.id for record in records)
