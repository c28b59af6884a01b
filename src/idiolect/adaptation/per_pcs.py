"""Per-Pcs: an adapter assembled for a person from pieces of other people's, without training (arXiv:2406.10471).

People who share give the pieces: the change that their adapter makes to one module, with a key that a gate vector
learns. A new person's records are read once; at each module the pieces whose keys fit best are taken, and what is
deeper sees what was taken before. Kept of the person are places and weights alone; the adapter is put together when it
is served. Published code averages the factors of several pieces, which is off by most of the change; here the whole
changes are added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import orjson

from idiolect.adaptation.shared.attach import KIND, attached, plain
from idiolect.adaptation.shared.examples import Writer, newest
from idiolect.adaptation.shared.making import trainable
from idiolect.adaptation.shared.portrait import readable, vectors_of
from idiolect.prompting.shared.learnt import due
from idiolect.prompting.shared.replay import CHARS
from idiolect.registry import method
from idiolect.text.clusters import kmeans
from idiolect.trainable import Job, Recipe
from idiolect.training import peft_format
from idiolect.training.pieces import Assembles, Chosen, Gating, Pieces, assembled
from idiolect.types import EVERYONE, Artifact, Body, Call, Context, Record, Used, User

NAME = "per_pcs"
_PIECES, _CHOICE, _OF = "pieces", "choice", "of"
_RECORDS = 64
"""So many records say which people are alike."""


@method(
    NAME, level="model", paper="arXiv:2406.10471", needs=("adapters",), fit_needs=("training",), peers=True,
    together=True,
)  # fmt: skip
@dataclass(frozen=True)
class PerPcs:
    """Serve each person with weights assembled, module by module, from those of people who share; nothing is trained.

    Someone who came since the last fit, or shares nothing, is served as well: what fits them is chosen after their next
    turn.
    """

    k: int = 1
    """Pieces at a module."""
    temperature: float = 1.0
    """Divides the scores of the pieces before their softmax; lower trusts the best one more."""
    weight: float = 1.0
    """How much of the adapter is added when it is served."""
    newest: int = 32
    """So many of a person's newest records say which pieces fit."""
    sharers: int = 50
    """People who give pieces: where more share, the one with the most records of each of so many groups alike."""
    adapters: str = "lora"
    """The method whose adapters are taken apart; for somebody without one it is trained with the settings below."""
    rank: int = 8
    """Inner dimension of the change of a module."""
    alpha: float = 16.0
    """The change is scaled by ``alpha / rank``."""
    modules: tuple[str, ...] = ()
    """Linear modules by their last name; all of a layer without any."""
    rate: float = 1e-3
    """Highest rate of learning."""
    epochs: int = 3
    """Passes over the records."""
    records: int = 100
    """So many of a sharer's newest records are learnt from."""
    least: int = 4
    """Somebody with fewer records gives no pieces."""
    gate_rate: float = 0.02
    """Length of a gate's steps."""
    gate_epochs: int = 2
    """Passes over the records in which gates are trained."""
    refresh: int = 30
    """Choose anew once so many records have come since."""
    seed: int = 0
    """Of the first weights, the groups and the order of records."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Add the adapter that was chosen for the person, and name those whose pieces it is made of."""
        found = self._current(user, ctx.model.fingerprint) if self.weight else None
        if found is None:
            return call
        choice, pieces = found
        call = attached(call, replace(choice, body=_body(choice, pieces)), NAME, self.weight)
        shares = _shares(choice)
        used = (
            Used("artifact", one.id, NAME, _PIECES, share, owner=_owner(one) if _owner(one) != user.id else "")
            for one, share in zip(pieces, shares, strict=True)
        )
        return replace(call, used=(*call.used, *used))

    @property
    def _given(self) -> dict[str, Any]:
        """The settings that pieces depend on."""
        return plain(self, without=("k", "temperature", "weight", "newest", "sharers", "refresh"))

    @property
    def _chosen(self) -> dict[str, Any]:
        """The settings that a choice depends on."""
        return plain(self, without=("weight", "sharers", "refresh"))

    def _current(self, user: User, base_model: str = "") -> tuple[Artifact, list[Artifact]] | None:
        """Return the newest choice all of whose pieces are still there, and these."""
        there = {a.id: a for a in user.artifacts if a.kind == _PIECES and a.method == NAME}
        for choice in user.artifacts:
            mine = choice.kind == _CHOICE and choice.method == NAME and choice.settings == self._chosen
            if not mine or base_model not in ("", choice.base_model):
                continue
            names = orjson.loads(choice.payload)["pieces"]
            if all(name in there for name in names):
                return choice, [there[name] for name in names]
        return None

    def _pool(self, user: User) -> dict[str, Artifact]:
        """Return the newest pieces of each person who gave some, of any model."""
        out = dict[str, Artifact]()
        for one in user.artifacts:
            if one.kind == _PIECES and one.method == NAME and _without_owner(one.settings) == self._given:
                out.setdefault(_owner(one), one)
        return out

    def stale(self, user: User) -> bool:
        """Whether there are pieces but none chosen yet, or ``refresh`` records have come since they were."""
        if user.count == 0 or not self._pool(user):
            return False
        found = self._current(user)
        return found is None or due(user, int(orjson.loads(found[0].payload)["records"]), self.refresh)

    # -- pieces ------------------------------------------------------------------------------------------------

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Make the pieces of people who share, then choose for each of them; the same pieces are not made twice."""
        everybody = list(users)
        pool = {
            owner: one for owner, one in (self._pool(everybody[0]) if everybody else {}).items()
            if one.base_model == ctx.model.fingerprint
        }  # fmt: skip
        for one in self._pieces(everybody, pool, ctx):
            pool[_owner(one)] = one
            yield one
        yield from self._choose(everybody, [*pool.values()], ctx)

    def _pieces(self, users: Sequence[User], pool: Mapping[str, Artifact], ctx: Context) -> Iterator[Artifact]:
        givers, bodies = dict[str, tuple[User, list[Record], str]](), dict[str, Body]()
        writer = Writer((), ctx)
        for user in self._sharers(users, ctx):
            records = newest(user, self.records)
            own = self._own(user, ctx)
            rests_on = hashlib.blake2b(repr([r.id for r in records]).encode(), digest_size=8).hexdigest()
            rests_on += "" if own is None else own.id
            if user.id in pool and orjson.loads(pool[user.id].payload)["rests_on"] == rests_on:
                continue
            givers[user.id] = user, records, rests_on
            if own is not None and own.body is not None:
                bodies[user.id] = own.body
        jobs = (
            Job(name, writer.examples(user, records)) for name, (user, records, _) in givers.items()
            if name not in bodies
        )  # fmt: skip
        recipe = Recipe(self.rank, self.alpha, self.modules, rate=self.rate, epochs=self.epochs, seed=self.seed)
        trained = trainable(ctx.model).train(jobs, recipe, check=ctx.check, checkpoints=ctx.checkpoints)
        bodies |= {one.key: one.body for one in trained}
        asked = [Gating(name, bodies[name], writer.examples(*givers[name][:2])) for name in givers]
        gates = Recipe(rate=self.gate_rate, epochs=self.gate_epochs, warmup=0.0, schedule="constant", seed=self.seed)
        for done, (name, made) in enumerate(_assembling(ctx).train_gates(asked, gates, check=ctx.check), 1):
            yield self._as_artifact(*givers[name], made, ctx)
            if ctx.progress is not None:
                ctx.progress(done, len(asked))

    def _as_artifact(
        self, user: User, records: Sequence[Record], rests_on: str, made: Pieces, ctx: Context
    ) -> Artifact:
        of = hashlib.blake2b(user.id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        body = Body.of(made.dump())
        return Artifact.new(
            EVERYONE, _PIECES, method=NAME, settings={**self._given, _OF: of},
            payload=orjson.dumps({"rests_on": rests_on, "learnt": len(records), "bytes": body.size}), record_ids=(),
            time=max(record.time for record in records), base_model=ctx.model.fingerprint, people=[user.id], body=body,
        )  # fmt: skip

    def _own(self, user: User, ctx: Context) -> Artifact | None:
        """Return the newest adapter that the other method trained for somebody."""
        found = (
            a for a in user.artifacts
            if a.kind == KIND and a.method == self.adapters and a.user_id == user.id
            and a.base_model == ctx.model.fingerprint
        )  # fmt: skip
        return next(found, None)

    def _sharers(self, users: Sequence[User], ctx: Context) -> list[User]:
        """Return those who give pieces: most of what people are like, each told as well as can be."""
        able = [user for user in users if len(newest(user, self.least)) == self.least]
        if len(able) <= self.sharers:
            return able
        means = [vectors_of(user, readable(user, _RECORDS), ctx, NAME).mean(axis=0) for user in able]
        groups, _ = kmeans(np.stack(means), self.sharers, seed=self.seed)
        best = dict[int, User]()
        for group, user in zip(groups.tolist(), able, strict=True):
            if group not in best or user.count > best[group].count:
                best[group] = user
        return [best[group] for group in sorted(best)]

    # -- choices -----------------------------------------------------------------------------------------------

    def place(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Choose for people from the pieces that are there, whether they share or not."""
        if "training" not in ctx.model.supports:
            return
        for user in users:
            pool = [one for one in self._pool(user).values() if one.base_model == ctx.model.fingerprint]
            yield from self._choose([user], pool, ctx)

    def _choose(self, users: Sequence[User], pool: Sequence[Artifact], ctx: Context) -> Iterator[Artifact]:
        pieces, writer = list[Pieces](), Writer((), ctx, chars=CHARS)
        for user in users:
            records = newest(user, self.newest)
            if not records or not pool:
                continue
            pieces = pieces or [_read(one) for one in pool]
            examples = writer.examples(user, records)
            chosen = _assembling(ctx).choose_pieces(examples, pieces, self.k, self.temperature)
            taken = sorted({place for places, _ in chosen.values() for place in places})
            size = len(peft_format.dump(assembled([one.adapter for one in pieces], chosen)))
            yield Artifact.new(
                user.id, _CHOICE, method=NAME, settings=self._chosen,
                payload=_written(chosen, taken, [pool[n].id for n in taken], user.count, size),
                record_ids=(record.id for record in records),
                time=max(*(record.time for record in records), *(pool[n].time for n in taken)),
                base_model=ctx.model.fingerprint, people={_owner(pool[n]) for n in taken} - {user.id},
            )  # fmt: skip


def _assembling(ctx: Context) -> Assembles:
    return cast("Assembles", ctx.model)


def _owner(pieces: Artifact) -> str:
    return pieces.people[0]


def _without_owner(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != _OF}


def _read(pieces: Artifact) -> Pieces:
    assert pieces.body is not None, "pieces have a body"
    return Pieces.load(pieces.body.read())


def _written(chosen: Mapping[str, Chosen], taken: Sequence[int], names: Sequence[str], count: int, size: int) -> bytes:
    # Modules stand in the order of their names, which need not be kept: they are those that the pieces have together.
    rows = [
        [[taken.index(place), round(weight, 6)] for place, weight in zip(places, weights, strict=True)]
        if len(places) > 1 else taken.index(places[0])
        for _, (places, weights) in sorted(chosen.items())
    ]  # fmt: skip
    return orjson.dumps({"pieces": names, "chosen": rows, "records": count, "bytes": size})


def _places(choice: Artifact) -> list[Chosen]:
    """Return what each module is made of, by places in the choice's own list of pieces."""
    rows = orjson.loads(choice.payload)["chosen"]
    return [
        ((row,), (1.0,)) if isinstance(row, int) else (tuple(one[0] for one in row), tuple(one[1] for one in row))
        for row in rows
    ]


def _shares(choice: Artifact) -> list[float]:
    """Return how much of the adapter each of the pieces is, over all modules."""
    rows = _places(choice)
    shares = [0.0] * len(orjson.loads(choice.payload)["pieces"])
    for places, weights in rows:
        for place, weight in zip(places, weights, strict=True):
            shares[place] += weight / len(rows)
    return shares


def _body(choice: Artifact, pieces: Sequence[Artifact]) -> Body:
    """Return the adapter that a choice stands for, put together when it is read."""
    digest = hashlib.blake2b(choice.payload, digest_size=16).hexdigest()
    return Body(digest, int(orjson.loads(choice.payload)["bytes"]), partial(_assembled, choice, pieces))


def _assembled(choice: Artifact, pieces: Sequence[Artifact]) -> bytes:
    adapters = [_read(one).adapter for one in pieces]
    modules = sorted({name for one in adapters for name in one.modules})
    return peft_format.dump(assembled(adapters, dict(zip(modules, _places(choice), strict=True))))
