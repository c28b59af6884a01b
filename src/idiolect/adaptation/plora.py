"""PLoRA: one adapter for everybody, and for each person a bias of the modules that it changes (arXiv:2403.06208).

The paper adds a person's vector ``e`` before the second factor: ``W x + s B (A x + P e)``. The person's part does not
depend on ``x``, so it is kept and served as the bias that it is, and merges into the weights with the shared factors;
the released code folds ``B A`` alone and drops the person.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import orjson

from idiolect import registry
from idiolect.adaptation.shared.attach import KIND, adapter_of, attached, plain, shaping
from idiolect.adaptation.shared.examples import Writer, newest, split
from idiolect.adaptation.shared.making import Asked, adapter_artifact, told_of
from idiolect.prompting.assembly import Named, fold
from idiolect.registry import method
from idiolect.trainable import Job, Recipe, Trained, TrainsJointly, Vectors
from idiolect.types import EVERYONE, Artifact, Body, Call, Context, Record, User

NAME, PROJECTION = "plora", "projection"
Taught = tuple[User, list[Record], Job]


@method(
    NAME, level="model", paper="arXiv:2403.06208", needs=("adapters",), fit_needs=("joint_training",), together=True
)
@dataclass(frozen=True)
class PLora:
    """Serve everybody with one adapter, moved for each person who shares by a small bias of their own.

    Where none of those who are fitted took part in the training of the adapter that is there, only their biases are
    learnt and it stays as it is. Somebody without one is served with the shared adapter, which learnt part of the rows
    without knowing whose they are.
    """

    width: int = 64
    """Numbers of the vector that a person's bias is made of (512 in the paper)."""
    drop: float = 0.1
    """Part of the rows that is learnt without the person's vector."""
    people: int = 1000
    """So many people teach the shared part; of the others only their own bias is fitted."""
    context: tuple[str, ...] = ("none",)
    """Methods that personalize the prompts, those that are learnt from and those that are answered."""
    rank: int = 16
    """Inner dimension of the change of a module."""
    alpha: float = 32.0
    """The change is scaled by ``alpha / rank``."""
    modules: tuple[str, ...] = ("q_proj", "v_proj")
    """Linear modules by their last name; all of a layer without any."""
    rate: float = 1e-3
    """Highest rate of learning of what is shared."""
    rate_of_vectors: float = 1e-2
    """That of people's vectors, which meet fewer rows."""
    epochs: int = 3
    """Passes over the records."""
    batch: int = 16
    """Records in a step; of one person, where only biases are fitted."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the rates fall after they rose over the first tenth."""
    newest: int = 200
    """So many of each person's newest records are learnt from."""
    hold_out: float = 0.1
    """Part of each person's, the newest, that tells which pass was best."""
    seed: int = 0
    """Of the first weights, of the order of records and of which are learnt without the person."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Personalize the prompt, and add everybody's adapter and the person's bias; nothing without history."""
        if user.count == 0:
            return call
        planned = fold(call, user, self.parts, ctx)
        shared = self._shared(user, ctx)
        if shared is None:
            return planned
        planned = attached(planned, shared, NAME)
        own = self._bias(user, shared, ctx)
        return planned if own is None else attached(planned, own, NAME)

    @property
    def parts(self) -> tuple[Named, ...]:
        """The methods of the prompt, in order."""
        return registry.make_folded("+".join(self.context))

    @property
    def _learnt(self) -> dict[str, Any]:
        return plain(self)

    def _shared(self, user: User, ctx: Context) -> Artifact | None:
        return adapter_of(user, NAME, self._learnt, ctx.model.fingerprint, EVERYONE)

    def _bias(self, user: User, shared: Artifact, ctx: Context) -> Artifact | None:
        own = adapter_of(user, NAME, self._learnt, ctx.model.fingerprint)
        return own if own is not None and orjson.loads(own.payload)["shared"] == shared.id else None

    def _is_of(self, user: User, records: Sequence[Record], shared: Artifact, ctx: Context) -> bool:
        own = self._bias(user, shared, ctx)
        return own is not None and own.record_ids == tuple(record.id for record in records)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Train the shared adapter and everybody's bias, or biases alone over one that these people did not teach."""
        taught = self._taught(users, ctx)
        if not taught:
            return
        yield from self._fitted(taught, ctx)
        if ctx.checkpoints is not None:  # not before: a run that is killed among the newcomers keeps what was shared
            ctx.checkpoints.drop(EVERYONE)

    def _fitted(self, taught: Sequence[Taught], ctx: Context) -> Iterator[Artifact]:
        shared = self._shared(taught[0][0], ctx)
        projection = None if shared is None else self._projection(taught[0][0], shared)
        newcomers = taught
        if shared is None or projection is None or {user.id for user, *_ in taught} & _teachers(shared):
            teachers, newcomers = taught[: max(1, self.people)], taught[max(1, self.people) :]
            made = self._together(teachers, ctx)
            shared, projection = made[:2]
            yield from made
        yield from self._alone(newcomers, shared, projection, ctx)

    def _taught(self, users: Iterable[User], ctx: Context) -> list[Taught]:
        writer, taught = Writer(self.parts, ctx), list[Taught]()
        for user in users:
            if records := newest(user, self.newest):
                learnt, held = split(records, self.hold_out)
                job = Job(user.id, writer.examples(user, learnt), writer.examples(user, held))
                taught.append((user, records, job))
        return taught

    def _together(self, teachers: Sequence[Taught], ctx: Context) -> list[Artifact]:
        """Return the shared adapter, its projection, and the bias of each who taught it."""
        read = [record for _, records, _ in teachers for record in records]
        taught = sorted(user.id for user, *_ in teachers)
        joint = _model(ctx).train_jointly(
            [job for *_, job in teachers], self._recipe, self._vectors,
            progress=told_of(ctx, [teachers[0][0]], {EVERYONE: (teachers[0][0], read)}, self.epochs), check=ctx.check,
            checkpoints=ctx.checkpoints,
        )  # fmt: skip
        calls = (one.call for *_, job in teachers for one in (*job.examples, *job.held))
        people = {*taught, *shaping(teachers[0][0], calls)}
        told = {"records": len(read), "people": len(taught), "taught": taught}
        shared = adapter_artifact(joint.shared, EVERYONE, NAME, self._learnt, ctx, read, told, people)
        projection = Artifact.new(
            EVERYONE, PROJECTION, method=NAME, settings=self._learnt, payload=orjson.dumps({"shared": shared.id}),
            record_ids=(), time=shared.time, base_model=shared.base_model, people=people, body=joint.projection,
        )  # fmt: skip
        of = {user.id: (user, records) for user, records, _ in teachers}
        return [shared, projection, *(self._own(one, *of[one.key], shared) for one in joint.people)]

    def _alone(
        self, newcomers: Sequence[Taught], shared: Artifact, projection: Artifact, ctx: Context
    ) -> Iterator[Artifact]:
        newcomers = [one for one in newcomers if not self._is_of(*one[:2], shared, ctx)]
        asked: Asked = {user.id: (user, records) for user, records, _ in newcomers}
        made = _model(ctx).train_vectors(
            [job for *_, job in newcomers], _body(shared), _body(projection), self._recipe, self._vectors,
            progress=told_of(ctx, [user for user, *_ in newcomers], asked, self.epochs), check=ctx.check,
            checkpoints=ctx.checkpoints,
        )  # fmt: skip
        for one in made:
            yield self._own(one, *asked[one.key], shared)

    @property
    def _recipe(self) -> Recipe:
        return Recipe(
            self.rank, self.alpha, self.modules, 0, self.rate, self.epochs, self.batch, schedule=self.schedule,
            patience=1 if self.hold_out else 0, seed=self.seed,
        )  # fmt: skip

    @property
    def _vectors(self) -> Vectors:
        return Vectors(self.width, self.rate_of_vectors, self.drop)

    def _projection(self, user: User, shared: Artifact) -> Artifact | None:
        found = (a for a in user.artifacts if a.kind == PROJECTION and a.method == NAME and a.body is not None)
        return next((a for a in found if orjson.loads(a.payload)["shared"] == shared.id), None)

    def _own(self, made: Trained, user: User, records: Sequence[Record], shared: Artifact) -> Artifact:
        """Return a person's bias; it rests on their records and on those of all who taught the shared part."""
        told = {"shared": shared.id, "records": user.count, "losses": made.losses, "held": made.held}
        return Artifact.new(
            user.id, KIND, method=NAME, settings=self._learnt, payload=orjson.dumps({**told, "bytes": made.body.size}),
            record_ids=[record.id for record in records], time=max(shared.time, *(r.time for r in records)),
            base_model=shared.base_model, people={*shared.people} - {user.id}, body=made.body,
        )  # fmt: skip


def _model(ctx: Context) -> TrainsJointly:
    """Return the model as what it is to those whose ``fit_needs`` names ``joint_training``."""
    return cast("TrainsJointly", ctx.model)


def _teachers(shared: Artifact) -> set[str]:
    """Return who taught the shared adapter; others may have shaped what lies under it."""
    return {*orjson.loads(shared.payload).get("taught", shared.people)}


def _body(artifact: Artifact) -> Body:
    assert artifact.body is not None, "an adapter has a body"
    return artifact.body
