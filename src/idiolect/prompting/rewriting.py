"""Rewriting: the personal part of the prompt is cut to what helps, as learnt by search and then by reward.

RewriterSlRl (arXiv 2310.00152) over pieces of records: keep, drop, and join what says the same. Instructions and what
the person just wrote are never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import orjson

from idiolect.prompting.assembly import assemble
from idiolect.prompting.shared.feedback import TITLE
from idiolect.prompting.shared.replay import Replay, latest, utilities
from idiolect.prompting.shared.rewriter import (
    Doubles,
    Mask,
    Policy,
    Reinforcement,
    Rewards,
    divergence,
    imitate,
    reinforce,
    search,
)
from idiolect.prompting.shared.segments import FEATURES, Segment, items, measure, merge, segments
from idiolect.registry import method
from idiolect.types import EVERYONE, Artifact, Block, Call, Context, Used, User


@dataclass(frozen=True, eq=False)
class Episode:
    """A past question of somebody, and the pieces found for it with their features ``[pieces, features]``."""

    user: str
    replay: Replay
    pieces: Sequence[Segment]
    features: Doubles


@method("rewriting", level="input", paper="arXiv:2310.00152", together=True)
@dataclass(frozen=True)
class Rewriting:
    """Put the pieces of the person's records that help before the question, the others left out."""

    k: int = 8
    """Records whose pieces are looked at; how many enter is decided by the token budget."""
    replays: int = 4
    """How many of each person's newest records are asked again."""
    edits: int = 3
    """The search drops at most so many pieces of a prompt."""
    decay: float = 1.0
    """Weight decay of the supervised policy."""
    steps: int = 4
    """Steps of reinforcement."""
    samples: int = 4
    """Prompts drawn for each question in a step."""
    rate: float = 0.1
    """Size of a step."""
    kl: float = 0.1
    """How strongly reinforcement holds to the supervised policy."""
    seed: int = 0
    """Of the prompts drawn."""
    share: float = 3.0
    """Part of the token budget relative to the other slots."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the pieces that the policy keeps; where none was learnt, all of them."""
        pieces, artifact = segments(user, call.query, self.k), _learnt(user, ctx)
        if not pieces or artifact is None:
            return call.add(_block(pieces, self.share))
        pieces = merge(pieces)
        kept = read_policy(artifact).keep(measure(pieces, user, call.query))
        cut = Used("artifact", artifact.id, "rewriting", "rewriting", 1 - float(kept.mean()))
        return replace(call, used=(*call.used, cut)).add(_block(_kept(pieces, kept), self.share))

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Learn one policy from all people's own past: search, imitation, reinforcement."""
        episodes = [episode for user in users for episode in self._episodes(user, ctx)]
        if not episodes:
            return
        rewards = Rewards(lambda asked: self._rewards(episodes, asked, ctx))
        features = [episode.features for episode in episodes]
        targets = search([len(own) for own in features], rewards, self.edits)
        supervised = imitate(features, targets, self.decay)
        how = Reinforcement(self.steps, self.samples, self.rate, self.kl)
        policy = reinforce(supervised, features, rewards, how, np.random.default_rng(self.seed))
        everything = [np.ones(len(own), np.bool_) for own in features]
        notes = {
            "reward": {
                "all": _mean(rewards, everything), "search": _mean(rewards, targets),
                "supervised": _mean(rewards, [supervised.keep(own) for own in features]),
                "reinforced": _mean(rewards, [policy.keep(own) for own in features]),
            },
            "dropped": float(1 - np.concatenate(targets).mean()), "episodes": len(episodes), "asked": rewards.asked,
            "divergence": divergence(policy, supervised, features),
        }  # fmt: skip
        yield Artifact.new(
            EVERYONE, "policy", method="rewriting", settings=asdict(self), payload=write_policy(policy, notes),
            record_ids=(), time=max(episode.replay.record.time for episode in episodes),
            base_model=ctx.model.fingerprint, people=[episode.user for episode in episodes],
        )  # fmt: skip

    def _episodes(self, user: User, ctx: Context) -> Iterator[Episode]:
        earlier, asked = latest(user, ctx.template, self.replays)
        for replay in asked:
            pieces = merge(segments(earlier, replay.call.query, self.k))
            if pieces:
                yield Episode(user.id, replay, pieces, measure(pieces, earlier, replay.call.query))

    def _rewards(self, episodes: Sequence[Episode], asked: Sequence[tuple[int, Mask]], ctx: Context) -> Sequence[float]:
        pairs = []
        for at, mask in asked:
            episode = episodes[at]
            offered = episode.replay.call.add(_block(_kept(episode.pieces, mask), self.share))
            pairs.append((assemble(offered, ctx.tokens, ctx.model.count_tokens), episode.replay))
        return utilities(ctx, pairs)


def write_policy(policy: Policy, notes: dict[str, Any]) -> bytes:
    """Return a policy as JSON, with the names of its features and what was measured in learning it."""
    numbers = {"mean": policy.mean, "scale": policy.scale, "weights": policy.weights}
    return orjson.dumps({**notes, "features": FEATURES, **{name: v.tolist() for name, v in numbers.items()}})


def read_policy(artifact: Artifact) -> Policy:
    """Return the policy of an artifact."""
    kept = orjson.loads(artifact.payload)
    return Policy(*(np.array(kept[name]) for name in ("mean", "scale", "weights")))


def _learnt(user: User, ctx: Context) -> Artifact | None:
    shared = (a for a in user.artifacts if (a.user_id, a.method, a.kind) == (EVERYONE, "rewriting", "policy"))
    mine = (a for a in shared if a.base_model == ctx.model.fingerprint)
    return next((a for a in mine if orjson.loads(a.payload)["features"] == [*FEATURES]), None)


def _block(pieces: Sequence[Segment], share: float) -> Block:
    return Block("rewriting", TITLE, items(pieces, "rewriting"), share)


def _kept(pieces: Sequence[Segment], mask: Mask) -> list[Segment]:
    return [piece for piece, kept in zip(pieces, mask, strict=True) if kept]


def _mean(rewards: Rewards, masks: Sequence[Mask]) -> float:
    return float(rewards(list(enumerate(masks))).mean())
