"""Meta LoRA: the adapter from which a new person's own is learnt from few records (Reptile, arXiv:1803.02999).

In each round some of those who share are trained for a few steps from the adapter as it is, and it moves towards the
mean of what came of them. ``lora:start=meta_lora`` begins from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from idiolect import registry
from idiolect.adaptation.shared.attach import adapter_of, dressed, plain, shaping
from idiolect.adaptation.shared.examples import Writer, newest
from idiolect.adaptation.shared.making import adapter_artifact, trainable
from idiolect.adaptation.shared.meta import moved
from idiolect.prompting.assembly import Named
from idiolect.registry import method
from idiolect.trainable import Example, Job, Recipe, Trained
from idiolect.training import peft_format
from idiolect.training.factors import LowRank
from idiolect.types import EVERYONE, Artifact, Body, Call, Context, Record, User

NAME = "meta_lora"


@dataclass
class _State:
    # How far it has come, and each round's mean loss; what a killed run goes on from.
    adapter: LowRank | None = None
    losses: list[float] = field(default_factory=list)

    @property
    def round(self) -> int:
        return len(self.losses)

    def dump(self, digest: str) -> bytes:
        assert self.adapter is not None, "a round was made"
        head = orjson.dumps({"digest": digest, "losses": self.losses})
        return len(head).to_bytes(8, "little") + head + peft_format.dump(self.adapter)

    @staticmethod
    def load(data: bytes | None, digest: str) -> _State:
        if data is None:
            return _State()
        size = int.from_bytes(data[:8], "little")
        head = orjson.loads(data[8 : 8 + size])
        return _State(peft_format.load(data[8 + size :]), head["losses"]) if head["digest"] == digest else _State()


@method(
    NAME, level="model", paper="arXiv:1803.02999, arXiv:2106.09685", needs=("adapters",), fit_needs=("training",),
    together=True,
)  # fmt: skip
@dataclass(frozen=True)
class MetaLora:
    """Serve everybody with an adapter that is the best one to begin a person's own from.

    By itself it is everybody's mean taste; its use is ``lora:start=meta_lora``.
    """

    context: tuple[str, ...] = ("profile", "retrieval")
    """Methods that personalize the prompts that are learnt from and answered; those of ``lora``."""
    weight: float = 1.0
    """How much of the adapter is added when it is served."""
    rank: int = 8
    """Inner dimension of the change of a module; that of ``lora``, as are scale, modules and layers."""
    alpha: float = 16.0
    """The change is scaled by ``alpha / rank``."""
    modules: tuple[str, ...] = ()
    """Linear modules by their last name; all of a layer without any."""
    layers: int = 0
    """Change the last so many layers alone, 0 for all."""
    rounds: int = 20
    """So often the adapter moves."""
    people: int = 8
    """So many people are trained in a round."""
    shots: int = 4
    """On so many records of each, other ones in each round."""
    epochs: int = 3
    """Passes over these records."""
    step: float = 0.5
    """Part of the way to the mean that is gone in a round; it falls to 0 over the rounds."""
    rate: float = 1e-3
    """Rate of learning within a round."""
    newest: int = 200
    """So many of each person's newest records are drawn from."""
    tokens: int = 0
    """Budget of the personal part of the prompts that are learnt from; 0 for that of the prompts that are answered."""
    seed: int = 0
    """Of the first weights, and of who and what is drawn."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Personalize the prompt, and add the adapter; nothing for somebody without history."""
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
        """Learn the adapter from all these people; a killed run goes on with the round it was in."""
        writer, read = Writer(self.parts, ctx, self.tokens), list[Record]()
        known, under = dict[str, list[Example]](), set[str]()
        for user in users:
            records = newest(user, self.newest)
            if records:
                known[user.id] = writer.examples(user, records)
                under |= shaping(user, (one.call for one in known[user.id]))
                read += records
        if not known:
            return
        state = self._learn(known, _digest(read), ctx)
        assert state.adapter is not None, "there is a round"
        body = Body.of(peft_format.dump(state.adapter, "float16"))
        made = Trained(EVERYONE, body, tuple(state.losses), (), state.round, 0, 0.0)
        told = {"records": len(read), "rank": self.rank, "people": len(known)}
        yield adapter_artifact(made, EVERYONE, NAME, self._learnt, ctx, read, told, {*known, *under})
        if ctx.checkpoints is not None:
            ctx.checkpoints.drop(EVERYONE)

    def _learn(self, known: dict[str, list[Example]], digest: str, ctx: Context) -> _State:
        """Make the rounds that are left, over people's examples."""
        kept = ctx.checkpoints
        state = _State.load(None if kept is None else kept.load(EVERYONE), digest)
        while state.round < self.rounds:
            made = list(trainable(ctx.model).train(self._jobs(known, state), self._recipe, check=ctx.check))
            loss = float(np.mean([one.losses[-1] for one in made]))
            step = self.step * (1 - state.round / self.rounds)
            trained = [peft_format.load(one.body.read()) for one in made]
            state = _State(moved(state.adapter, trained, step, self.rank), [*state.losses, loss])
            if kept is not None:
                kept.save(EVERYONE, state.dump(digest))
            if ctx.progress is not None:
                ctx.progress(state.round, self.rounds)
        return state

    @property
    def _recipe(self) -> Recipe:
        return Recipe(
            self.rank, self.alpha, self.modules, self.layers, self.rate, self.epochs, self.shots, warmup=0.0,
            schedule="constant", dtype="float32", seed=self.seed,
        )  # fmt: skip

    def _jobs(self, known: dict[str, list[Example]], state: _State) -> Iterator[Job]:
        rng = np.random.default_rng((self.seed, state.round))
        start = None if state.adapter is None else Body.of(peft_format.dump(state.adapter))
        names = sorted(known)
        for n in rng.permutation(len(names))[: self.people]:
            examples = known[names[n]]
            drawn = rng.permutation(len(examples))[: self.shots]
            yield Job(names[n], [examples[m] for m in drawn], start=start)


def _digest(records: Iterable[Record]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for record in records:
        found.update(f"{record.user_id}\x1f{record.id}\x1e".encode("utf-8", "surrogatepass"))
    return found.hexdigest()
