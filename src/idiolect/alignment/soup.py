"""Soup: a person's weighted sum of several adapters (rewarded soups, arXiv:2306.04488; P-Soups, arXiv:2310.11564).

The changes of the weights are added, which is exact; published code averages the factors, which is another model.
Members are what other methods learnt: for everyone, or for people who share, whose adapters then serve everybody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import orjson

from idiolect import registry
from idiolect.adaptation.shared.attach import KIND, Begins, attached, plain
from idiolect.adaptation.shared.examples import Writer, newest
from idiolect.alignment.shared.mixing import Weights, best_weights
from idiolect.alignment.shared.pairs import chosen, pairs
from idiolect.errors import ConfigError
from idiolect.prompting.assembly import Named, fold
from idiolect.prompting.shared.learnt import due
from idiolect.registry import method
from idiolect.trainable import Example
from idiolect.types import EVERYONE, Artifact, Call, Context, Fits, Record, User

NAME = "soup"
_CHOICE, _OF = "soup", "of"


@method(
    NAME, level="objective", paper="arXiv:2306.04488, arXiv:2310.11564", needs=("adapters",),
    fit_needs=("training", "logprobs"), peers=True, together=True,
)  # fmt: skip
@dataclass(frozen=True)
class Soup:
    """Serve each person with a weighted sum of adapters, in the weights that their own choices speak for.

    With ``weights`` nothing is learnt: the person's own adapters and everybody's are mixed as the request says
    (``soup:members=[dpo|dpo:objectives=brief:margins=[0.5]]:weights=[0.7|0.3]``).
    """

    members: tuple[str, ...] = ("dpo",)
    """Methods whose adapters are mixed: everybody's (``task_lora``), those of people who share (``dpo``, ``lora``)."""
    weights: tuple[float, ...] = ()
    """How much of each of ``members``; without any they are learnt for each person."""
    context: tuple[str, ...] = ("profile", "retrieval")
    """Methods that personalize the prompt too; those of the members."""
    weight: float = 1.0
    """How much of the whole sum is added."""
    people: int = 8
    """So many people's adapters are mixed at most: of those whose adapters rest on most."""
    beta: float = 0.1
    """How much a difference in likelihood says when choices are foreseen; that of ``dpo``."""
    choices: int = 16
    """So many of a person's newest choices say which weights fit; without choices, as many of their own texts."""
    rivals: int = 2
    """So many of the texts that were not taken are held against the one that was."""
    steps: int = 4
    """Points that are tried on the line from one sum to another."""
    rounds: int = 2
    """So often all lines are tried."""
    tokens: int = 0
    """Budget of the personal part of the prompts that are looked at; 0 for that of the prompts that are answered."""
    refresh: int = 20
    """Choose weights anew once so many records have come since."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Personalize the prompt, and add the members by their weights; nothing for somebody without history."""
        found = self.mixed(user, ctx.model.fingerprint) if user.count else []
        call = fold(call, user, self.parts, ctx)
        for artifact, share in found:
            if share * self.weight:
                call = attached(call, artifact, NAME, share * self.weight)
                whose = _owner(artifact)
                used = replace(call.used[-1], owner="" if whose in ("", user.id) else whose)
                call = replace(call, used=(*call.used[:-1], used))
        return call

    @property
    def parts(self) -> tuple[Named, ...]:
        """The methods of the prompt, in order."""
        return registry.make_folded("+".join(self.context))

    def mixed(self, user: User, base_model: str) -> list[tuple[Artifact, float]]:
        """Return the adapters that a person is served with for a model, and how much of each."""
        if self.weights:
            own = [one.current(user, base_model) for _, one in self._methods]
            both = zip(own, self.weights, strict=True)
            return [(artifact, share) for artifact, share in both if artifact is not None]
        found = self._current(user, base_model)
        if found is None:
            return []
        choice, artifacts = found
        shares = orjson.loads(choice.payload)["weights"]
        return list(zip(artifacts, shares, strict=True))

    @property
    def _methods(self) -> tuple[tuple[str, Begins], ...]:
        """The methods whose adapters are mixed; :class:`ConfigError` for one that learns none."""
        if self.weights and len(self.weights) != len(self.members):
            raise ConfigError(f"{NAME}: {len(self.members)} members and {len(self.weights)} weights; give one for each")
        return tuple(_member(spec) for spec in self.members)

    @property
    def _given(self) -> dict[str, Any]:
        """The settings that tell whose adapters are mixed."""
        return {"members": list(self.members)}

    @property
    def _learnt(self) -> dict[str, Any]:
        """The settings that weights depend on."""
        return plain(self, without=("weights", "weight", "people", "refresh"))

    # -- members -----------------------------------------------------------------------------------------------

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Let the members learn for people who share, make their adapters everybody's, and weigh them for each."""
        everybody, pool = list(users), list[Artifact]()
        if self.weights or not everybody:
            return
        for spec, (name, one) in zip(self.members, self._methods, strict=True):
            if _learns_together(name):
                found = one.current(everybody[0], ctx.model.fingerprint)
                pool += [] if found is None else [found]
            else:
                pool += yield from self._adapters(spec, one, everybody, ctx)
        for done, user in enumerate(everybody, 1):
            yield from self._weigh(user, pool, ctx)
            if ctx.progress is not None:
                ctx.progress(done, len(everybody))

    def _adapters(
        self, spec: str, one: Begins, everybody: Sequence[User], ctx: Context
    ) -> Generator[Artifact, None, list[Artifact]]:
        """Yield what a member learns for people, and their adapters as everybody's; return these."""
        there = {user.id: one.current(user, ctx.model.fingerprint) for user in everybody}
        own = {giver: found for giver, found in there.items() if found is not None}
        if isinstance(one, Fits):  # nobody is trained again on the same
            for made in one.fit(everybody, ctx):
                yield made
                if made.kind == KIND and made.body is not None:
                    own[made.user_id] = made
        givers = sorted(own, key=lambda giver: (-len(own[giver].record_ids), giver))[: self.people]
        shared = [self._shared(own[giver], spec) for giver in givers]
        yield from shared
        return shared

    def _shared(self, own: Artifact, spec: str) -> Artifact:
        """Return a person's adapter as everybody's, for as long as the person shares."""
        of = hashlib.blake2b(f"{spec}\x1f{own.user_id}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        return Artifact.new(
            EVERYONE, KIND, method=NAME, settings={**self._given, _OF: of},
            payload=orjson.dumps({"rests_on": own.id, "owner": own.user_id, "rank": _rank(own)}), record_ids=(),
            time=own.time, base_model=own.base_model, people=[own.user_id, *own.people], body=own.body,
        )  # fmt: skip

    def _pool(self, user: User, base_model: str = "") -> list[Artifact]:
        """Return the newest adapter of each member that a person may be given, in a fixed order; not their own."""
        found = dict[str, Artifact]()
        for one in user.artifacts:
            mine = one.kind == KIND and one.method == NAME and one.user_id == EVERYONE
            if mine and base_model in ("", one.base_model) and one.settings.get("members") == self._given["members"]:
                found.setdefault(str(one.settings[_OF]), one)
        together = {name for name, _ in self._methods if _learns_together(name)}
        if not base_model:  # any model's will do to say that there is something
            learnt = [one for one in user.artifacts if one.user_id == EVERYONE and one.method in together]
        else:
            both = (one.current(user, base_model) for name, one in self._methods if name in together)
            learnt = [one for one in both if one is not None]
        return [*learnt, *(found[of] for of in sorted(found))]

    # -- weights -----------------------------------------------------------------------------------------------

    def place(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Weigh the members that are there for people, whether they share or not; no training."""
        if "logprobs" not in ctx.model.supports or self.weights:
            return
        for user in users:
            yield from self._weigh(user, self._pool(user, ctx.model.fingerprint), ctx)

    def stale(self, user: User) -> bool:
        """Whether there are members but no weights yet, or ``refresh`` records have come since they were chosen."""
        if self.weights or user.count == 0 or not self._pool(user):
            return False
        found = self._current(user)
        return found is None or due(user, int(orjson.loads(found[0].payload)["records"]), self.refresh)

    def _current(self, user: User, base_model: str = "") -> tuple[Artifact, list[Artifact]] | None:
        """Return the newest weights all of whose members are still there, and these."""
        there = {a.id: a for a in user.artifacts if a.kind == KIND}
        for choice in user.artifacts:
            mine = choice.kind == _CHOICE and choice.method == NAME and choice.settings == self._learnt
            names = orjson.loads(choice.payload)["members"] if mine and base_model in ("", choice.base_model) else [""]
            if all(name in there for name in names):
                return choice, [there[name] for name in names]
        return None

    def _weigh(self, user: User, pool: Sequence[Artifact], ctx: Context) -> Iterator[Artifact]:
        """Yield the weights that foresee best what a person chose, or wrote; nothing for somebody who did neither."""
        others = sorted((one for one in pool if _owner(one) != user.id), key=lambda one: one.id)
        asked, records, preference = self._asked(user, ctx)
        if not others or not asked:
            return
        measure = partial(self._foreseen, asked=asked, members=others, ctx=ctx, preference=preference)
        weights, gain = best_weights(len(others), measure, self.steps, self.rounds)
        payload = {
            "members": [one.id for one in others], "weights": [round(weight, 6) for weight in weights], "gain": gain,
            "by": "choices" if preference else "texts", "records": user.count,
        }  # fmt: skip
        yield Artifact.new(
            user.id, _CHOICE, method=NAME, settings=self._learnt, payload=orjson.dumps(payload),
            record_ids=dict.fromkeys(record.id for record in records),
            time=max(*(record.time for record in records), *(one.time for one in others)),
            base_model=ctx.model.fingerprint,
            people={person for one in others for person in one.people} - {user.id},
        )  # fmt: skip

    def _asked(self, user: User, ctx: Context) -> tuple[list[Example], list[Record], bool]:
        """Return what weights are measured on, the records it comes from, and whether it is choices."""
        writer = Writer(self.parts, ctx, self.tokens)
        found = chosen(user, self.choices, () if ctx.template is None else ctx.template.options)
        if found:
            return pairs(writer, user, found, self.rivals), [one.record for one in found], True
        records = newest(user, self.choices)
        return writer.examples(user, records), records, False

    def _foreseen(
        self, tried: Sequence[Weights], asked: Sequence[Example], members: Sequence[Artifact], ctx: Context,
        preference: bool,
    ) -> list[float]:  # fmt: skip
        """Return how well each sum foresees what was chosen or written, the mean over it [nats].

        Of a choice it is ``log sigmoid(beta * (gain of the chosen - gain of the rejected))``, where a gain is what the
        sum adds to a text's log likelihood: the reward that DPO's model stands for. Of a text it is its log likelihood
        per byte.
        """
        if ctx.check is not None:
            ctx.check()
        texts = [(one.call, one.text) for one in asked]
        texts += [(one.call, one.rejected or "") for one in asked if preference]
        sums = [(0.0,) * len(members), *tried]
        calls = [_dressed(call, members, weights) for weights in sums for call, _ in texts]
        scores = np.array(ctx.model.logprobs(calls, [text for _ in sums for _, text in texts])).reshape(len(sums), -1)
        share = np.array([one.weight for one in asked])
        if preference:
            chosen, rejected = np.split(scores[1:] - scores[0], 2, axis=1)
            each = -np.logaddexp(0.0, -self.beta * (chosen - rejected))
        else:
            each = scores[1:] / [max(1, len(text.encode())) for _, text in texts]
        return [float(value) for value in each @ share / share.sum()]


def _member(spec: str) -> tuple[str, Begins]:
    (name, one), *more = registry.make_folded(spec)
    if more or not hasattr(one, "current") or "adapters" not in registry.methods.get(name).info["needs"]:
        raise ConfigError(f"{NAME}: {spec!r} learns no adapters; name methods that do: dpo, lora, task_lora")
    return name, cast("Begins", one)


def _learns_together(name: str) -> bool:
    return bool(registry.methods.get(name).info["together"])


def _dressed(call: Call, members: Sequence[Artifact], weights: Weights) -> Call:
    for artifact, weight in zip(members, weights, strict=True):
        if weight:
            call = attached(call, artifact, NAME, weight)
    return call


def _owner(artifact: Artifact) -> str:
    """Return whose adapter it was before it was everybody's; nobody's where it was learnt for everybody."""
    if artifact.method != NAME or artifact.kind != KIND:
        return ""
    return str(orjson.loads(artifact.payload)["owner"])


def _rank(artifact: Artifact) -> Any:
    head: Mapping[str, Any] = orjson.loads(artifact.payload)
    return head.get("rank")
