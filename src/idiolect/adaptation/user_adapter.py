"""UserAdapter: a prefix of a few trained vectors for each person, over a model that stays as it is.

Findings of ACL 2021 (doi:10.18653/v1/2021.findings-acl.129); as input embeddings, prompt tuning (arXiv:2104.08691).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from idiolect import registry
from idiolect.adaptation.shared.attach import people_under, plain, records_under
from idiolect.adaptation.shared.examples import Writer, newest, split
from idiolect.adaptation.shared.making import Asked, told_of
from idiolect.prompting.assembly import Named, fold
from idiolect.prompting.shared.effect import inside
from idiolect.prompting.shared.learnt import due
from idiolect.prompting.shared.learnt import newest as learnt_before
from idiolect.registry import method
from idiolect.trainable import Job, Recipe
from idiolect.training import prefixes
from idiolect.training.prefixes import Prefix, prefixed, random_start
from idiolect.training.soft_prompts import Model
from idiolect.training.user_encoder import pack, unpack
from idiolect.types import Artifact, Call, Context, Record, Used, User

NAME, KIND = "user_adapter", "prefix"


@dataclass(frozen=True)
class _Under:
    # What shaped the adapters that lie under a prefix: other people's records, and the person's own.
    people: set[str]
    records: list[str]


@method(
    NAME, level="model", paper="doi:10.18653/v1/2021.findings-acl.129, arXiv:2104.08691", needs=("soft_prompt",),
    fit_needs=("inside",), batched=True,
)  # fmt: skip
@dataclass(frozen=True)
class UserAdapter:
    """Serve each person with a few trained vectors before the prompt, over weights that are everybody's.

    It is the smallest thing that can be trained for a person: kilobytes. What lies under it (``task_lora``) is named in
    ``context``.
    """

    length: int = 4
    """Vectors of a prefix; they count against the token budget."""
    context: tuple[str, ...] = ("none",)
    """Methods that personalize the call too, those that are learnt from and those that are answered."""
    rate: float = 0.1
    """Step of Adam, as a part of the usual size of an embedding's number."""
    epochs: int = 10
    """Most passes over the records."""
    batch: int = 4
    """Records of one person in a step."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the rate falls after it rose over the first tenth."""
    patience: int = 2
    """End once the held-out loss has not fallen for so many passes; 0 makes all passes."""
    newest: int = 100
    """So many of the newest records are learnt from."""
    hold_out: float = 0.2
    """Part of them, the newest, that is not learnt but tells which pass was best; 0 learns all."""
    least: int = 4
    """With fewer records nothing is trained."""
    people: int = 16
    """So many people are trained at once."""
    refresh: int = 30
    """Train anew once so many records have come since."""
    seed: int = 0
    """Of the tokens that a prefix starts from, and of the order of records."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Personalize the call, and set the person's prefix before other soft prompts."""
        planned = fold(call, user, self.parts, ctx)
        artifact = self.current(user, ctx.model.fingerprint)
        if artifact is None or self.length > ctx.tokens:
            return planned
        vectors = unpack(artifact.payload)[0]["vectors"]
        used = Used("artifact", artifact.id, NAME, NAME, 1.0)
        return replace(prefixed(planned, vectors), used=(*planned.used, used))

    def current(self, user: User, base_model: str = "") -> Artifact | None:
        """Return the newest prefix trained with these settings, and for these weights where they are named."""
        return learnt_before(user, NAME, self._learnt, base_model)

    @property
    def parts(self) -> tuple[Named, ...]:
        """The methods that personalize the call too, in order."""
        return registry.make_folded("+".join(self.context))

    @property
    def _learnt(self) -> dict[str, Any]:
        return plain(self, without=("refresh", "people"))

    def stale(self, user: User) -> bool:
        """Whether there is no prefix yet for what a person gave, or ``refresh`` records have come since."""
        artifact = self.current(user)
        if artifact is None:
            return user.count >= self.least
        return due(user, int(unpack(artifact.payload)[1]["records"]), self.refresh)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Train a prefix for each person with enough records, many people at once; yield each when it is finished."""
        model, asked = cast("Model", inside(ctx, f"fit {NAME}")), Asked()
        under = dict[str, _Under]()
        recipe = Recipe(
            rate=self.rate, epochs=self.epochs, batch=self.batch, schedule=self.schedule,
            patience=self.patience if self.hold_out else 0, seed=self.seed,
        )  # fmt: skip
        made = prefixes.train(
            model, self._jobs(users, ctx, asked, under), random_start(model, self.length, self.seed), recipe,
            self.people, progress=told_of(ctx, users, asked, self.epochs), check=ctx.check,
            checkpoints=ctx.checkpoints,
        )  # fmt: skip
        for one in made:
            yield self._artifact(one, *asked.pop(one.key), under.pop(one.key), ctx)

    def _jobs(
        self, users: Iterable[User], ctx: Context, asked: Asked, under: dict[str, _Under]
    ) -> Iterator[Job]:  # fmt: skip
        writer = Writer(self.parts, ctx)
        for user in users:
            records = newest(user, self.newest)
            if len(records) < self.least or self._is_of(user, records, ctx):
                continue
            asked[user.id] = user, records
            learnt, held = (writer.examples(user, part) for part in split(records, self.hold_out))
            calls = [one.call for one in (*learnt, *held)]
            under[user.id] = _Under(people_under(user, calls), records_under(user, calls))
            yield Job(user.id, learnt, held)

    def _is_of(self, user: User, records: list[Record], ctx: Context) -> bool:
        old = self.current(user, ctx.model.fingerprint)
        if old is None or unpack(old.payload)[1]["learnt"] != len(records):
            return False
        return old.record_ids[: len(records)] == tuple(record.id for record in records)

    def _artifact(
        self, made: Prefix, user: User, records: list[Record], under: _Under, ctx: Context
    ) -> Artifact:  # fmt: skip
        told = {"records": user.count, "learnt": len(records), "losses": made.losses, "held": made.held}
        scores = {} if made.bare is None else {"plain": made.bare, "held": min(made.held)}
        return Artifact.new(
            user.id, KIND, method=NAME, settings=self._learnt, payload=pack({"vectors": made.vectors}, told),
            record_ids=dict.fromkeys([*(record.id for record in records), *under.records]),
            time=max(record.time for record in records),
            base_model=ctx.model.fingerprint, scores={"steps": made.steps, **scores}, people=under.people,
        )  # fmt: skip
