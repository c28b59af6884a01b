"""Fints: a steering vector for each question, out of the person's answers to similar ones (arXiv 2510.27206)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from idiolect.inside import Inside
from idiolect.measure.rouge import rouge_l
from idiolect.prompting.shared.effect import inside
from idiolect.prompting.shared.feedback import block, find
from idiolect.prompting.shared.learnt import due, newest
from idiolect.prompting.shared.vectors import Pair, layer_of, norm_of, pack, pairs, states, steer, unpack
from idiolect.registry import method
from idiolect.types import Artifact, Call, Context, Floats, Hit, Used, User

NAME = "fints"
_WIDER = 10  # so many times k records are looked through for k that have a vector


@method(NAME, level="input", paper="arXiv:2510.27206", needs=("steering",), fit_needs=("inside",))
@dataclass(frozen=True)
class Fints:
    """Show the similar records and add the mean of their own steering vectors while the answer is written.

    A record's vector is the mean state of the person's answer minus that of a generic one. The paper steers the outputs
    of attention and of the feed-forward part; here it is the output of the whole layer. What the person has no similar
    record for is not steered.
    """

    k: int = 5
    """How many similar records are shown, and how many vectors are averaged."""
    strength: float = 0.1
    """Length of what is added, as a part of the usual length of the layer's states; 0 is off."""
    layer: int = -1
    """Which layer's output is steered, from 0; -1 is the middle one."""
    overlap: float = 0.15
    """A record whose generic answer has at least this ROUGE-L with the person's gets no vector: they hardly differ."""
    newest: int = 64
    """How many of the person's latest records get a vector."""
    tokens: int = 64
    """Longest generic answer."""
    share: float = 3.0
    """Part of the token budget relative to the other slots."""
    refresh: int = 20
    """Learn them anew once so many records have come since."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the best records as a block and steer with the weighted mean of the best ones' vectors."""
        artifact = self.current(user, ctx.model.fingerprint) if self.strength else None
        if artifact is None:
            return call
        head, vectors = unpack(artifact.payload)
        rows = {record_id: row for row, record_id in enumerate(head["ids"])}
        hits = find(user, call.query, self.k * _WIDER)
        near = [hit for hit in hits if hit.record.id in rows][: self.k]
        offered = call.add(block(hits[: self.k], NAME, NAME, self.share))
        if not near:
            return offered
        vector = weights_of(near) @ vectors[[rows[hit.record.id] for hit in near]]
        if not np.any(vector):
            return offered
        steering = steer(head["layer"], vector, head["norm"], self.strength)
        used = Used("artifact", artifact.id, NAME, NAME, near[0].score)
        return replace(offered, steering=(*call.steering, steering), used=(*call.used, used))

    def current(self, user: User, base_model: str = "") -> Artifact | None:
        """Return the newest vectors learnt with these settings, and inside that model where one is named."""
        return newest(user, NAME, self._learnt, base_model)

    @property
    def _learnt(self) -> dict[str, Any]:
        return {"layer": self.layer, "overlap": self.overlap, "newest": self.newest, "tokens": self.tokens}

    def stale(self, user: User) -> bool:
        """Whether there are no vectors yet or ``refresh`` records have come since they were learnt."""
        artifact = self.current(user)
        if artifact is None:
            return user.count > 0
        return due(user, int(unpack(artifact.payload)[0]["records"]), self.refresh)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Give each record whose generic answer differs from the person's a vector of its own."""
        model = inside(ctx, f"fit {NAME}")
        layer = layer_of(model, self.layer)
        for user in users:
            found, empty = pairs(user, ctx, self.newest, self.tokens)
            if found:
                yield self._artifact(user, found, empty, layer, model, ctx)

    def _artifact(self, user: User, found: list[Pair], empty: int, layer: int, model: Inside, ctx: Context) -> Artifact:
        apart = [pair for pair in found if rouge_l(pair.personal, pair.generic) < self.overlap]
        personal, generic = states(model, apart, layer) if apart else ([], [])
        vectors = [a.mean(axis=0) - b.mean(axis=0) for a, b in zip(personal, generic, strict=True)]
        ids = [pair.record.id for pair in apart]  # questions may repeat, records do not
        head = {
            "ids": ids, "layer": layer, "norm": norm_of(personal) if apart else 0.0, "malformed": empty,
            "alike": len(found) - len(apart), "records": len(user.history),
        }  # fmt: skip
        return Artifact.new(
            user.id, "vectors", method=NAME, settings=self._learnt,
            record_ids=ids or [pair.record.id for pair in found],
            payload=pack(head, np.stack(vectors) if vectors else np.zeros((0, model.hidden), np.float32)),
            time=max(pair.record.time for pair in found), base_model=ctx.model.fingerprint,
        )  # fmt: skip


def weights_of(hits: Sequence[Hit]) -> Floats:
    """Return the scores as weights that sum to 1, ``[n]``; equal ones where no score is above 0."""
    scores = np.maximum([hit.score for hit in hits], 0.0)
    weights = scores / scores.sum() if scores.any() else np.full(len(hits), 1.0 / len(hits))
    return weights.astype(np.float32)
