"""BiPO: a steering vector for each person out of what they chose over what (arXiv:2406.00045).

One direction at one layer, trained so that adding it makes the texts that the person took likelier than those they did
not, and taking it away the other way round. The released code loads a second model for the reference and steers the
prompt too; here no vector is the reference, and only the answer is steered, in training as when it is served.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from idiolect.adaptation.shared.attach import plain
from idiolect.adaptation.shared.examples import CHARS, split
from idiolect.adaptation.shared.making import Asked, told_of
from idiolect.alignment.shared.comparisons import comparisons
from idiolect.alignment.shared.steering import Job, Pair, Trained, train
from idiolect.prompting.shared.effect import inside
from idiolect.prompting.shared.learnt import due, newest
from idiolect.prompting.shared.replay import replay
from idiolect.prompting.shared.vectors import layer_of, pack, unpack
from idiolect.registry import method
from idiolect.trainable import Recipe
from idiolect.training.soft_prompts import Model
from idiolect.types import Artifact, Call, Context, Record, Steer, Used, User

NAME = "bipo"
_DEPTH = 15 / 32
"""Where the paper steers: the output of the sixteenth of 32 layers."""


@method(
    NAME, level="objective", paper="arXiv:2406.00045", needs=("steering",), fit_needs=("inside",), batched=True,
)  # fmt: skip
@dataclass(frozen=True)
class BiPO:
    """Steer answers towards what the person chose over what, by a vector that was trained on their choices.

    It learns from choices among texts and from edits; two bytes a number is all that is kept of a person. The first
    token of an answer is drawn without it.
    """

    strength: float = 1.0
    """Multiple of the vector that is added; below 0 it steers away from what the person likes, 0 is off."""
    layer: int = -1
    """Which layer's output is steered, from 0; -1 is that at 15/32 of the depth."""
    beta: float = 0.1
    """How much a nat counts: the smaller, the further the vector goes."""
    rate: float = 0.01
    """Highest step of AdamW, as a part of the usual size of a number of the layer's state."""
    decay: float = 0.05
    """Weight decay."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """How the rate falls after it rose over the first tenth."""
    epochs: int = 20
    """Most passes over the pairs."""
    batch: int = 4
    """Pairs of one person in a step."""
    patience: int = 3
    """End once the held-out loss has not fallen for so many passes; 0 makes all passes."""
    newest: int = 200
    """So many of the person's latest records with a choice are learnt from."""
    hold_out: float = 0.2
    """Part of them, the newest, that is not learnt but tells which pass was best, from 8 on; 0 learns all."""
    least: int = 3
    """With fewer nothing is trained."""
    people: int = 16
    """So many people are trained at once."""
    refresh: int = 20
    """Train anew once so many records have come since."""
    seed: int = 0
    """Of the signs and of the order of pairs."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Steer with the person's vector."""
        artifact = self.current(user, ctx.model.fingerprint) if self.strength else None
        if artifact is None:
            return call
        head, vector = unpack(artifact.payload)
        if not vector.any():
            return call
        steering = Steer(head["layer"], vector, self.strength)
        used = Used("artifact", artifact.id, NAME, NAME, self.strength)
        return replace(call, steering=(*call.steering, steering), used=(*call.used, used))

    def current(self, user: User, base_model: str = "") -> Artifact | None:
        """Return the newest vector trained with these settings, and inside that model where one is named."""
        return newest(user, NAME, self._learnt, base_model)

    @property
    def _learnt(self) -> dict[str, Any]:
        return plain(self, without=("strength", "refresh", "people"))

    def stale(self, user: User) -> bool:
        """Whether there is no vector yet for the choices of a person, or ``refresh`` records have come since."""
        artifact = self.current(user)
        if artifact is None:
            return user.count >= self.least and len(self._records(user)) >= self.least
        return due(user, int(unpack(artifact.payload)[0]["records"]), self.refresh)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Train a vector for each person with enough choices, many people at once; yield each when it is finished.

        It is zero and steers nothing where none foresaw the held-out choices better than no vector did.
        """
        model, asked = cast("Model", inside(ctx, f"fit {NAME}")), Asked()
        layer = layer_of(model, round(_DEPTH * model.layers) if self.layer == -1 else self.layer)
        recipe = Recipe(
            rate=self.rate, epochs=self.epochs, batch=self.batch, schedule=self.schedule, decay=self.decay,
            patience=self.patience if self.hold_out else 0, seed=self.seed,
        )  # fmt: skip
        made = train(
            model, self._jobs(users, ctx, asked), layer, self.beta, recipe, self.people,
            progress=told_of(ctx, users, asked, self.epochs), check=ctx.check, checkpoints=ctx.checkpoints,
        )  # fmt: skip
        for one in made:
            yield self._artifact(one, layer, *asked.pop(one.key), ctx)

    def _records(self, user: User) -> list[Record]:
        found = dict.fromkeys(one.record.id for one in comparisons(user.history))
        return [record for record in user.history if record.id in found][-self.newest :]

    def _jobs(self, users: Iterable[User], ctx: Context, asked: Asked) -> Iterator[Job]:
        for user in users:
            records = self._records(user)
            if len(records) < self.least or self._is_of(user, records, ctx):
                continue
            asked[user.id] = user, records
            learnt, held = split(records, self.hold_out)
            yield Job(user.id, pairs_of(learnt), pairs_of(held))

    def _is_of(self, user: User, records: list[Record], ctx: Context) -> bool:
        old = self.current(user, ctx.model.fingerprint)
        return old is not None and old.record_ids == tuple(record.id for record in records)

    def _artifact(self, made: Trained, layer: int, user: User, records: list[Record], ctx: Context) -> Artifact:
        head = {"layer": layer, "records": user.count, "losses": made.losses, "held": made.held}
        scores = {"plain": made.held[0], "held": min(made.held)} if made.held else {}
        return Artifact.new(
            user.id, "vector", method=NAME, settings=self._learnt, payload=pack(head, made.vector, half=True),
            record_ids=[record.id for record in records], time=max(record.time for record in records),
            base_model=ctx.model.fingerprint, scores={"steps": made.steps, **scores},
        )  # fmt: skip


def pairs_of(records: Iterable[Record]) -> list[Pair]:
    """Return the pairs of texts that records hold, each with its prompt asked again, longer texts cut."""
    found = list[Pair]()
    for one in comparisons(records):
        call = replay(replace(one.record, input=one.prompt)).call
        texts = ((better[:CHARS], worse[:CHARS]) for better, worse in one.pairs())
        found += [Pair(call, better, worse) for better, worse in texts if better != worse]
    return found
