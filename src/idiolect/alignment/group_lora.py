"""Weights for each group of people and for everybody: what serves somebody who has none of their own.

Personalization at three grains: a person, the groups they belong to (personas), everybody (survey arXiv:2411.00027,
section 4). Published work chooses one of the three; here the narrowest that exists serves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from idiolect import registry
from idiolect.adaptation.shared.attach import KIND, dressed, plain
from idiolect.adaptation.shared.examples import Writer, newest, split
from idiolect.adaptation.shared.making import Asked, Lesson, told_of, trainable
from idiolect.alignment.shared.groups import ALL, by_group, groups_of
from idiolect.alignment.shared.pairs import chosen, pairs
from idiolect.prompting.assembly import Named
from idiolect.registry import method
from idiolect.trainable import Example, Job, Recipe
from idiolect.types import EVERYONE, Artifact, Call, Context, Record, User

NAME = "group_lora"


@method(
    NAME, level="objective", paper="arXiv:2411.00027 section 4, arXiv:2305.18290", needs=("adapters",),
    fit_needs=("training",), together=True,
)  # fmt: skip
@dataclass(frozen=True)
class GroupLora:
    """Serve whoever has no weights of their own with those of the narrowest group they belong to, or of everybody.

    Groups are what the operator says of people (``idiolect groups``). A group's adapter is trained on its people who
    share, all groups at once. What they wrote is learnt, or what they chose over what.
    """

    own: tuple[str, ...] = ()
    """Methods whose weights serve instead where the person has some of their own (``lora``, ``dpo``)."""
    learn: Literal["texts", "choices"] = "texts"
    """Learn what people wrote, or that it was chosen over something else (DPO)."""
    least: int = 3
    """A group in which fewer people share gets no weights."""
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
    """Records of a group in a step."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the rate falls after it rose over the first tenth."""
    beta: float = 0.1
    """How strongly choices hold the model to what it was; higher moves it less."""
    rivals: int = 4
    """So many of the texts that were not taken are held against the one that was."""
    newest: int = 200
    """So many of each person's newest records or choices are learnt from."""
    hold_out: float = 0.1
    """Part of each person's, the newest, that tells which pass was best."""
    tokens: int = 0
    """Budget of the personal part of the prompts that are learnt from; 0 for that of the prompts that are answered."""
    seed: int = 0
    """Of the first weights and of the order of records."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Personalize the call by the person's own weights where they have some, else by those of their group."""
        if user.count == 0:
            return call
        mine = {artifact.id for artifact in user.artifacts if artifact.user_id == user.id}
        for _, one in registry.make_folded("+".join(self.own)) if self.own else ():
            planned = one.apply(call, user, ctx)
            if any(adapter.id in mine for adapter in planned.adapters):
                return planned
        return dressed(call, user, ctx, self.parts, self.current(user, ctx.model.fingerprint), NAME, self.weight)

    def current(self, user: User, base_model: str) -> Artifact | None:
        """Return the newest adapter of the narrowest of a person's groups that has one, else that of everybody."""
        adapters = (
            one for one in user.artifacts
            if one.method == NAME and one.kind == KIND and one.base_model == base_model and one.body is not None
            and one.settings == self._learnt
        )  # fmt: skip
        return next(by_group(user, adapters), None)

    @property
    def parts(self) -> tuple[Named, ...]:
        """The methods of the prompt, in order."""
        return registry.make_folded("+".join(self.context))

    @property
    def _learnt(self) -> dict[str, Any]:
        return plain(self, without=("weight", "own"))

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Train an adapter for each group with enough people, and one for everybody, all at once."""
        groups, asked = self._groups(users, ctx), Asked()
        if not groups:
            return
        for name, group in groups.items():
            asked[_key(name)] = group.people[0], [group.read[0]] * len(group.learnt)  # progress counts examples
        made = trainable(ctx.model).train(
            [Job(_key(name), group.learnt, group.held) for name, group in groups.items()],
            self._recipe(any(group.held for group in groups.values())),
            progress=told_of(ctx, [group.people[0] for group in groups.values()], asked, self.epochs),
            check=ctx.check, checkpoints=ctx.checkpoints,
        )  # fmt: skip
        for one in made:
            name = one.key.removeprefix(_key(ALL))
            group = groups[name]
            told = {"group": name, "records": len(group.read), "rank": self.rank, "people": len(group.givers)}
            yield group.artifact(one, NAME, self._learnt, ctx, told)

    def _groups(self, users: Iterable[User], ctx: Context) -> dict[str, Lesson]:
        """Return the groups in which enough people share something to learn, everybody first."""
        writer, found = Writer(self.parts, ctx, self.tokens), dict[str, Lesson]()
        for user in users:
            learnt, held, read = self._given(user, writer, ctx)
            for name in groups_of(user) if learnt else ():
                group = found.setdefault(name, Lesson())
                group.people.append(user)
                group.learnt += learnt
                group.held += held
                group.read += read
        return {name: group for name, group in found.items() if name == ALL or len(group.people) >= self.least}

    def _given(self, user: User, writer: Writer, ctx: Context) -> tuple[list[Example], list[Example], list[Record]]:
        """Return what is learnt and what is held out of a person, and the records it comes from."""
        if self.learn == "texts":
            records = newest(user, self.newest)
            learnt, held = (writer.examples(user, part) for part in split(records, self.hold_out))
            return learnt, held, records
        choices = chosen(user, self.newest, () if ctx.template is None else ctx.template.options)
        learnt, held = (pairs(writer, user, part, self.rivals) for part in split(choices, self.hold_out))
        return learnt, held, [one.record for one in choices]

    def _recipe(self, held: bool) -> Recipe:
        return Recipe(
            self.rank, self.alpha, self.modules, self.layers, self.rate, self.epochs, self.batch,
            schedule=self.schedule, patience=1 if held else 0, seed=self.seed, beta=self.beta,
            objective="likelihood" if self.learn == "texts" else "preference",
        )  # fmt: skip


def _key(group: str) -> str:
    """Return what a group's training is known by, none of which is a person's."""
    return f"{EVERYONE}\x1f{group}"
