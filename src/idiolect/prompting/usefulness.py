"""Usefulness: the records that help this model answer this person, which need not be the most similar ones.

The language model is asked the person's own past questions with one record at a time; what each record was worth trains
a score that puts the found records in another order. Three ways to train it: ``distillation`` (ROPG-KD) and ``reward``
(ROPG-RL) of arXiv:2404.05970, section 3, and ``calibrated`` (PEARL, arXiv:2311.09180), whose scores also say whether
anything helps at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np

from idiolect.prompting.shared.distillation import (
    Doubles,
    Parameters,
    calibrated,
    descend,
    distill,
    hold_out,
    reinforce,
    softmax,
)
from idiolect.prompting.shared.feedback import Row, block, find, table
from idiolect.prompting.shared.scorer import Batch, Scorer, see
from idiolect.registry import method
from idiolect.types import EVERYONE, Artifact, Call, Context, Hit, Used, User


@method(
    "usefulness",
    level="input",
    paper="arXiv:2404.05970 section 3; arXiv:2311.09180",
    fit_needs=("logprobs",),
    together=True,
)
@dataclass(frozen=True)
class Usefulness:
    """Put the records before the question that the model has been seen to profit from, not merely the similar ones."""

    objective: Literal["distillation", "reward", "calibrated"] = "distillation"
    """Learn the order from what all candidates were worth, from the reward of a sampled one, or order and level."""
    k: int = 32
    """Candidates; how many of them enter is decided by the token budget."""
    l: int = 16  # noqa: E741 - the paper's name
    """So many candidates of each past question are tried out in learning."""
    replays: int = 8
    """So many of each person's latest records are asked again in learning."""
    temperature: float = 1.0
    """Divides what candidates were worth, measured in its own root mean square; lower trusts the best one more."""
    rank: int = 8
    """Rank of the bilinear form on the vectors of question and record."""
    threshold: float = 0.0
    """``calibrated``: no record is shown where the best predicted gain [nats] is not above this."""
    share: float = 3.0
    """Part of the token budget relative to the other slots."""
    seed: int = 0
    """Of the form's start, of who is held out to stop early, and of what is sampled."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the found records in the learnt order; without anything learnt in that of the search."""
        hits = find(user, call.query, self.k)
        found = self._learnt(user, ctx)
        if not hits or found is None:
            return call.add(block(hits, "usefulness", "retrieval", self.share))
        artifact, scorer = found
        values = scorer.of(see(call.query, hits, ctx.embedder))
        kept = self._kept(hits, values, scorer.unit)
        if not kept:
            return call
        mark = Used("artifact", artifact.id, "usefulness", "ranking", max(hit.score for hit in kept))
        call = call.add(block(kept, "usefulness", "retrieval", self.share))
        return replace(call, used=(*call.used, mark))

    def _kept(self, hits: list[Hit], values: Doubles, unit: float) -> list[Hit]:
        """Return the candidates with their new scores; those expected to do harm are left out where that is known."""
        level = self.objective == "calibrated"
        if level and float(values.max()) * unit <= self.threshold:
            return []
        out = []
        for hit, value in zip(hits, values.tolist(), strict=True):
            if not level or value >= 0:
                parts = {**hit.parts, "search": hit.score} | ({"gain": value * unit} if level else {})
                out.append(Hit(hit.record, value, parts))
        return out

    def _learnt(self, user: User, ctx: Context) -> tuple[Artifact, Scorer] | None:
        """Return the newest scorer for this objective, model and embedder."""
        embedder = "" if ctx.embedder is None else ctx.embedder.fingerprint
        for artifact in user.artifacts:
            same = artifact.method == "usefulness" and artifact.settings.get("objective") == self.objective
            if same and artifact.base_model == ctx.model.fingerprint:
                scorer = Scorer.unpack(artifact.payload)
                if scorer.embedder == embedder:
                    return artifact, scorer
        return None

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Learn one scorer from everybody's past questions; nothing where there are none to learn from."""
        measured = table(users, ctx, replays=self.replays, candidates=self.l)
        rows = [
            (user.id, row) for user, some in measured for row in some if self.objective == "calibrated" or not row.flat
        ]
        if not rows:
            return
        scorer = self._train(rows, ctx)
        newest = max(max(row.replay.record.time, *(r.time for r in row.candidates)) for _, row in rows)
        yield Artifact.new(
            EVERYONE, "scorer", method="usefulness", settings=asdict(self), payload=scorer.pack(), record_ids=(),
            time=newest, base_model=ctx.model.fingerprint, people=[name for name, _ in rows],
        )  # fmt: skip

    def _train(self, rows: list[tuple[str, Row]], ctx: Context) -> Scorer:
        worth = np.concatenate([row.gains for _, row in rows]).astype(np.float64)
        unit = float(np.sqrt((worth**2).mean())) * self.temperature or 1.0
        seen = [see(row.replay.call.query, row.hits, ctx.embedder) for _, row in rows]
        whole = Batch.of(seen, [row.gains / unit for _, row in rows])
        embedder = "" if ctx.embedder is None else ctx.embedder.fingerprint
        held = hold_out([name for name, _ in rows], self.seed)
        aside = np.array([name in held for name, _ in rows])
        batch, other = _only(whole, ~aside), _only(whole, aside)
        scorer = Scorer.untrained(batch, self.rank, self.seed, unit, embedder)
        rng = np.random.default_rng(self.seed)

        def loss(parameters: Parameters) -> tuple[float, Parameters]:
            scores = scorer.scores(batch, parameters)
            value, slope = self._loss(scores, batch, rng)
            return float(value.mean()), scorer.slopes(batch, parameters, slope / len(slope))

        def judge(parameters: Parameters) -> float:
            return self._judge(scorer.scores(other, parameters), other)

        trained = descend(scorer.parameters, loss, judge if held else None)
        return replace(scorer, parameters=trained)

    def _loss(self, scores: Doubles, batch: Batch, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
        if self.objective == "distillation":
            return distill(scores, batch.gains, mask=batch.mask)
        if self.objective == "calibrated":
            return calibrated(scores, batch.gains, mask=batch.mask)
        likely = softmax(scores, batch.mask).cumsum(axis=-1)
        point = rng.random((len(scores), 1)) * likely[:, -1:]
        sampled = np.minimum((likely <= point).sum(axis=-1), batch.mask.sum(axis=-1) - 1)
        rewards = rewarded(batch.gains)
        return reinforce(scores, rewards[np.arange(len(scores)), sampled], sampled, batch.mask)

    def _judge(self, scores: Doubles, batch: Batch) -> float:
        """Return what is to be small on people who were held out: the loss, or minus the expected reward."""
        if self.objective == "reward":
            return -float((softmax(scores, batch.mask) * rewarded(batch.gains)).sum(axis=-1).mean())
        loss = distill if self.objective == "distillation" else calibrated
        return float(loss(scores, batch.gains, mask=batch.mask)[0].mean())


def rewarded(gains: Doubles) -> Doubles:
    """Return what each candidate was worth beyond the search's own first one, ``[rows, n]`` (ROPG-RL's reward)."""
    return gains - gains[:, :1]


def _only(batch: Batch, rows: Doubles) -> Batch:
    return Batch(batch.plain[rows], batch.query[rows], batch.records[rows], batch.mask[rows], batch.gains[rows])
