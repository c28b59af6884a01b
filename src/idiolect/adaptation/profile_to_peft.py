"""Profile-to-PEFT: one network makes a person's adapter in a single pass from what their records are about.

The task of Profile-to-PEFT with the design of Text-to-LoRA (arXiv:2506.06105). The network
(:mod:`idiolect.training.generator`) is trained through the frozen model on what people gave later. Of a person only the
mean vector of their newest records is kept; the adapter takes some 10 ms to make and is made when it is served, because
kept it would be a thousand times as large.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import numpy as np
import orjson

from idiolect.adaptation.shared.attach import attached, plain
from idiolect.adaptation.shared.portrait import readable, vectors_of
from idiolect.errors import ConfigError
from idiolect.prompting.shared.learnt import due
from idiolect.prompting.shared.replay import CHARS, latest
from idiolect.registry import method
from idiolect.trainable import Example
from idiolect.training import peft_format
from idiolect.training.generating import Differentiable, Fitted, Known, Training, fit, vector_of
from idiolect.training.generator import Generator
from idiolect.training.user_encoder import pack, unpack
from idiolect.types import EVERYONE, Artifact, Body, Call, Context, Floats, Used, User

NAME = "profile_to_peft"
HISTORY = 64
"""So many of the newest records are read."""
EVERY = 5
"""Every fifth person is not trained on but tells when to stop."""
_GENERATOR, _PORTRAIT = "generator", "portrait"


@method(
    NAME, level="model", paper="arXiv:2510.16282, arXiv:2506.06105", needs=("adapters",), fit_needs=("training",),
    peers=True, together=True,
)  # fmt: skip
@dataclass(frozen=True)
class ProfileToPeft:
    """Serve each person with weights that a trained network makes of their records in one pass; one record is enough.

    Someone who came since the last fit, or shares nothing, is served as well, from their next turn on.
    """

    rank: int = 8
    """Inner dimension of the change of a module."""
    alpha: float = 16.0
    """The change is scaled by ``alpha / rank``."""
    modules: tuple[str, ...] = ("q_proj", "v_proj")
    """Linear modules by their last name, in all layers."""
    bound: float = 0.1
    """No change of a module is larger than this part of the module's own matrix, whatever a person's records say."""
    weight: float = 1.0
    """How much of the adapter is added when it is served."""
    width: int = 64
    """Width of the network."""
    steps: int = 100
    """Most steps of training: thousands for thousands of people. It ends earlier once people it was not trained on are
    no longer served better."""
    rate: float = 3e-3
    """Rate of learning."""
    people: int = 8
    """People in a step."""
    replays: int = 8
    """So many of each person's latest records are what is learnt, half of them in a step."""
    refresh: int = 20
    """What was kept of a person serves until so many records have come since."""
    seed: int = 0
    """Of the first weights and of what is left out at random."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Add the adapter that the network makes of the person."""
        found = self._current(user, ctx.model.fingerprint) if self.weight else None
        if found is None:
            return call
        portrait, generator = found
        call = attached(call, replace(portrait, body=_body(portrait, generator)), NAME, self.weight)
        return replace(call, used=(*call.used, Used("artifact", generator.id, NAME, _GENERATOR, 1.0)))

    def _settings(self, embedder: str) -> dict[str, Any]:
        return {**plain(self, without=("weight", "refresh")), "embedder": embedder}

    def _mine(self, artifact: Artifact, kind: str) -> bool:
        same = artifact.kind == kind and artifact.method == NAME
        return same and artifact.settings == self._settings(str(artifact.settings.get("embedder")))

    def _generator(self, user: User, base_model: str, embedder: str) -> Artifact | None:
        """Return the newest network for a model and an embedder."""
        found = (
            a for a in user.artifacts
            if self._mine(a, _GENERATOR) and a.base_model == base_model and a.settings["embedder"] == embedder
        )  # fmt: skip
        return next(found, None)

    def _current(self, user: User, base_model: str = "") -> tuple[Artifact, Artifact] | None:
        """Return what was kept of a person last, and the network it was kept for."""
        generators = {a.id: a for a in user.artifacts if self._mine(a, _GENERATOR)}
        for portrait in user.artifacts:
            if self._mine(portrait, _PORTRAIT) and base_model in ("", portrait.base_model):
                name = unpack(portrait.payload)[1]["generator"]
                if name in generators:
                    return portrait, generators[name]
        return None

    def stale(self, user: User) -> bool:
        """Whether there is a network that a person was not shown to yet, or ``refresh`` records have come since."""
        newest = next((a for a in user.artifacts if self._mine(a, _GENERATOR)), None)
        if user.count == 0 or newest is None:
            return False
        found = self._current(user)
        if found is None or found[1].id != newest.id:
            return True
        return due(user, int(unpack(found[0].payload)[1]["records"]), self.refresh)

    # -- learning ----------------------------------------------------------------------------------------------

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Train the network on people who share; yield it, then what is kept of each of them."""
        everybody = list(users)
        asked = self._asked(everybody, ctx)
        if len(asked.people) < 2:
            return
        generator = self._trained(asked, ctx)
        yield generator
        for user in everybody:
            yield from self._portrait(user, generator, ctx)

    def place(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Yield what is kept of people for the network that is there, whether they share or not."""
        for user in users:
            embedder = "" if ctx.embedder is None else ctx.embedder.fingerprint
            generator = self._generator(user, ctx.model.fingerprint, embedder)
            if generator is not None:
                yield from self._portrait(user, generator, ctx)

    def _asked(self, users: Sequence[User], ctx: Context) -> _Asked:
        asked = _Asked()
        for user in users:
            earlier, replays = latest(user, ctx.template, self.replays)
            seen = readable(earlier, HISTORY)
            if not seen or not replays:
                continue
            examples = [Example(one.call, one.gold, ends=len(one.record.output) <= CHARS) for one in replays]
            asked.known.append(Known(vectors_of(earlier, seen, ctx, NAME), examples))
            asked.people.append(user.id)
            asked.time = max(asked.time, *(one.record.time for one in replays))
        return asked

    def _trained(self, asked: _Asked, ctx: Context) -> Artifact:
        model, embedder = cast("Differentiable", ctx.model), ctx.embedder
        if embedder is None:
            raise ConfigError(f"{NAME} reads records through an embedder; set embedder to 'minilm' or 'static'")
        held = [one for n, one in enumerate(asked.known) if n % EVERY == EVERY - 1]
        learnt = [one for n, one in enumerate(asked.known) if n % EVERY != EVERY - 1]
        start = Generator.new(
            model.linear_places(self.modules), np.stack([vector_of(one.vectors) for one in learnt]), self.rank,
            self.alpha, self.bound, self.width, ctx.model.fingerprint, self.seed,
        )  # fmt: skip
        training = Training(
            self.steps, self.rate, self.people, max(1, self.replays // 2), seed=self.seed
        )  # fmt: skip
        made = fit(model, start, learnt, held, training, progress=ctx.progress, check=ctx.check)
        body = Body.of(made.generator.dump())
        size = len(peft_format.dump(made.generator.adapter(vector_of(learnt[0].vectors))))
        return Artifact.new(
            EVERYONE, _GENERATOR, method=NAME, settings=self._settings(embedder.fingerprint),
            payload=orjson.dumps({"losses": made.losses, "bytes": body.size, "adapter_bytes": size}), record_ids=(),
            time=asked.time, base_model=ctx.model.fingerprint, people=asked.people, scores=_scores(made), body=body,
        )  # fmt: skip

    def _portrait(self, user: User, generator: Artifact, ctx: Context) -> Iterator[Artifact]:
        records = readable(user, HISTORY)
        if not records:
            return
        vector = vector_of(vectors_of(user, records, ctx, NAME))
        yield Artifact.new(
            user.id, _PORTRAIT, method=NAME, settings=generator.settings,
            payload=pack({"vector": vector}, {"generator": generator.id, "records": user.count}),
            record_ids=(record.id for record in records),
            time=max(generator.time, *(record.time for record in records)), base_model=generator.base_model,
            people={*generator.people} - {user.id},
        )  # fmt: skip


@dataclass
class _Asked:
    # What the network learns from: people as they were, and what each of them gave later.
    known: list[Known] = field(default_factory=list)
    people: list[str] = field(default_factory=list)
    time: float = -np.inf


def _scores(made: Fitted) -> dict[str, float]:
    held = {} if made.plain is None or made.held is None else {"plain": made.plain, "held": made.held}
    return {"steps": len(made.losses), **held}


def _body(portrait: Artifact, generator: Artifact) -> Body:
    """Return the adapter of a person, made when it is read."""
    assert generator.body is not None, "a generator has a body"
    digest = hashlib.blake2b(generator.body.digest.encode() + portrait.payload, digest_size=16).hexdigest()
    size = int(orjson.loads(generator.payload)["adapter_bytes"])
    vector: Floats = unpack(portrait.payload)[0]["vector"]
    return Body(digest, size, partial(_made, generator.body, vector))


def _made(generator: Body, vector: Floats) -> bytes:
    return peft_format.dump(Generator.load(generator.read()).adapter(vector))
