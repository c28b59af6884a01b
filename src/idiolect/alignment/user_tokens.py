"""P-RLHF's user tokens: soft tokens of a generic user, and each person's own difference from them (arXiv:2402.05133).

The released code reads whose a row is out of its text; here a person is a job. Whoever is new begins as the generic
user, and gets tokens of their own from their choices alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from idiolect import registry
from idiolect.adaptation.shared.attach import people_under, plain, records_under, shaping
from idiolect.adaptation.shared.examples import Writer, split
from idiolect.adaptation.shared.making import Asked, told_of
from idiolect.alignment.shared.comparisons import Comparison
from idiolect.alignment.shared.pairs import chosen, pairs
from idiolect.alignment.shared.user_tokens import Form, Tokens, train
from idiolect.prompting.assembly import Named, fold
from idiolect.prompting.shared.effect import inside
from idiolect.registry import method
from idiolect.trainable import Job, Recipe
from idiolect.training.prefixes import prefixed, random_start
from idiolect.training.soft_prompts import Model
from idiolect.training.user_encoder import pack, unpack
from idiolect.types import EVERYONE, Artifact, Call, Context, Floats, Used, User

Told = Callable[[int], None] | None
NAME, GENERIC, OWN = "user_tokens", "generic_tokens", "user_tokens"


@dataclass(frozen=True)
class _Taught:
    # Somebody who chose something, their choices, and these as what is learnt and what is held out.
    user: User
    choices: Sequence[Comparison]
    job: Job

    @property
    def ids(self) -> list[str]:
        return list(dict.fromkeys(one.record.id for one in self.choices))

    @property
    def calls(self) -> list[Call]:
        return [one.call for one in (*self.job.examples, *self.job.held)]

    @property
    def time(self) -> float:
        return max(one.record.time for one in self.choices)


@method(
    NAME, level="objective", paper="arXiv:2402.05133", needs=("soft_prompt",), fit_needs=("inside",), together=True,
)  # fmt: skip
@dataclass(frozen=True)
class UserTokens:
    """Set soft tokens before the prompt that were trained on the choices of people, moved by those of this person.

    Somebody of whom no choice was learnt is served with the generic user's tokens. Where none of those who are fitted
    taught the generic tokens that are there, these stay as they are and only people's own are learnt.
    """

    length: int = 4
    """Vectors of a person (10 in the paper); they count against the token budget."""
    alpha: float = 0.5
    """What a person's own tokens count in the loss; what is left of 1 is the generic user's."""
    beta: float = 0.5
    """How strongly the model is held to what it was; higher moves it less."""
    context: tuple[str, ...] = ("none",)
    """Methods that personalize the prompt too, and adapters that lie under the tokens."""
    rate: float = 0.05
    """Step of Adam, as a part of the usual size of an embedding's number."""
    epochs: int = 5
    """Most passes over the choices."""
    batch: int = 16
    """Pairs of texts in a step."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the rate falls after it rose over the first tenth."""
    patience: int = 2
    """End once the held-out loss has not fallen for so many passes; 0 makes all passes."""
    newest: int = 100
    """So many of each person's newest choices are learnt from."""
    rivals: int = 4
    """So many of the texts that were not taken are held against the one that was."""
    hold_out: float = 0.1
    """Part of each person's choices, the newest, that tells which pass was best; 0 learns all."""
    least: int = 2
    """Whoever chose less teaches nothing and gets no tokens of their own."""
    people: int = 1000
    """So many people teach the generic tokens; of the others only their own are learnt."""
    tokens: int = 0
    """Budget of the personal part of the prompts that are learnt from; 0 for that of the prompts that are answered."""
    seed: int = 0
    """Of the tokens that all begin from, and of the order of choices."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Personalize the call, and set the person's tokens, or the generic ones; nothing without history."""
        if user.count == 0:
            return call
        planned, generic = fold(call, user, self.parts, ctx), self._generic(user, ctx)
        if generic is None or not 0 < self.length <= ctx.tokens:
            return planned
        vectors, used = unpack(generic.payload)[0]["tokens"], [generic]
        own = self._own(user, generic)
        if own is not None:
            vectors, used = vectors + unpack(own.payload)[0]["tokens"], [generic, own]
        told = (Used("artifact", one.id, NAME, NAME, 1.0) for one in used)
        return replace(prefixed(planned, vectors), used=(*planned.used, *told))

    @property
    def parts(self) -> tuple[Named, ...]:
        """The methods that personalize the call too, in order."""
        return registry.make_folded("+".join(self.context))

    @property
    def _learnt(self) -> dict[str, Any]:
        return plain(self)

    def _generic(self, user: User, ctx: Context) -> Artifact | None:
        mine = (a for a in user.artifacts if a.method == NAME and a.kind == GENERIC and a.settings == self._learnt)
        return next((a for a in mine if a.base_model == ctx.model.fingerprint), None)

    def _own(self, user: User, generic: Artifact) -> Artifact | None:
        mine = (a for a in user.artifacts if a.method == NAME and a.kind == OWN and a.user_id == user.id)
        return next((a for a in mine if unpack(a.payload)[1]["generic"] == generic.id), None)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Train the generic tokens and everybody's own, or own ones alone over tokens that these people did not teach.

        Nobody's own tokens are trained again on the same choices.
        """
        taught = self._taught(users, ctx)
        if not taught:
            return
        model = cast("Model", inside(ctx, f"fit {NAME}"))
        asked: Asked = {one.user.id: (one.user, [one.choices[0].record] * len(one.job.examples)) for one in taught}
        told = told_of(ctx, [one.user for one in taught], asked, self.epochs)  # it counts pairs
        generic, newcomers = self._generic(taught[0].user, ctx), taught
        if generic is None or {one.user.id for one in taught} & set(unpack(generic.payload)[1]["taught"]):
            teachers, newcomers = taught[: max(1, self.people)], taught[max(1, self.people) :]
            made = self._train(model, teachers, random_start(model, self.length, self.seed), ctx, told)
            generic = self._shared(made, teachers, ctx)
            yield generic
            for one in teachers:
                yield self._artifact(one, made, generic, ctx)
            if ctx.checkpoints is not None:  # not before: what is made of it would be lost with a killed run
                ctx.checkpoints.drop(EVERYONE)
        start = unpack(generic.payload)[0]["tokens"]
        for one in newcomers:
            old = self._own(one.user, generic)
            if old is None or list(old.record_ids[: len(one.ids)]) != one.ids:
                yield self._artifact(one, self._train(model, [one], start, ctx, told, one.user.id), generic, ctx)
                if ctx.checkpoints is not None:
                    ctx.checkpoints.drop(one.user.id)

    def _taught(self, users: Iterable[User], ctx: Context) -> list[_Taught]:
        writer, options = Writer(self.parts, ctx, self.tokens), () if ctx.template is None else ctx.template.options
        taught = list[_Taught]()
        for user in users:
            found = chosen(user, self.newest, options)
            if len(found) >= self.least:
                learnt, held = (pairs(writer, user, part, self.rivals) for part in split(found, self.hold_out))
                taught.append(_Taught(user, found, Job(user.id, learnt, held)))
        return taught

    def _train(
        self, model: Model, taught: Sequence[_Taught], start: Floats, ctx: Context, told: Told, key: str = EVERYONE
    ) -> Tokens:  # fmt: skip
        recipe = Recipe(
            rate=self.rate, epochs=self.epochs, batch=self.batch, schedule=self.schedule,
            patience=self.patience if self.hold_out else 0, seed=self.seed,
        )  # fmt: skip
        return train(
            model, [one.job for one in taught], start, Form(self.alpha, self.beta), recipe, key=key,
            fixed=key != EVERYONE, progress=told, check=ctx.check, checkpoints=ctx.checkpoints,
        )  # fmt: skip

    def _shared(self, made: Tokens, teachers: Sequence[_Taught], ctx: Context) -> Artifact:
        names = sorted(one.user.id for one in teachers)
        told = {"taught": names, "losses": made.losses, "held": made.held}
        people = {*names, *shaping(teachers[0].user, (call for one in teachers for call in one.calls))}
        return Artifact.new(
            EVERYONE, GENERIC, method=NAME, settings=self._learnt, payload=pack({"tokens": made.generic}, told),
            record_ids=(), time=max(one.time for one in teachers), base_model=ctx.model.fingerprint, people=people,
            scores={"steps": made.steps, **({} if made.generic_held is None else {"held": made.generic_held})},
        )  # fmt: skip

    def _artifact(self, one: _Taught, made: Tokens, generic: Artifact, ctx: Context) -> Artifact:
        told = {"generic": generic.id, "records": one.user.count}
        rests_on = dict.fromkeys([*one.ids, *records_under(one.user, one.calls)])
        people = {*generic.people, *people_under(one.user, one.calls)} - {one.user.id}
        return Artifact.new(
            one.user.id, OWN, method=NAME, settings=self._learnt, record_ids=rests_on, people=people,
            payload=pack({"tokens": made.own[one.user.id]}, told), time=max(generic.time, one.time),
            base_model=ctx.model.fingerprint, scores={"steps": made.steps},
        )  # fmt: skip
