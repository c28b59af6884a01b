"""Controller: a small model learns, from its own wins, to write guidance that a larger model answers well by.

Matryoshka, later M-Pilot (arXiv 2410.20749), the training. What is trained is a soft prompt before the controller, its
weights stay as they are. In every round it writes guidances for the people who share, the answering model's success on
their own past says which are the better ones, and DPO against the round before makes those likelier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from idiolect import registry
from idiolect.errors import UnsupportedCall
from idiolect.inside import Inside
from idiolect.prompting.shared.guiding import Case, best, controller_of, offer, pack, prepare, sample, worth
from idiolect.prompting.shared.optimizer import Doubles
from idiolect.prompting.shared.preference import Pair, Settings, optimize, pairs
from idiolect.registry import method
from idiolect.types import EVERYONE, Artifact, Backend, Call, Context, Floats, User

_NEEDED = ("inside", "soft_prompt")
_UNEVEN = 2.0
"""A pair whose texts differ in length by this factor may teach length."""


@dataclass
class Training:
    """The rounds so far: all pairs, and every guidance written with its worth, for each person and round."""

    soft: Floats
    data: list[Pair] = field(default_factory=list)
    texts: list[list[list[str]]] = field(default_factory=list)
    values: list[list[Doubles]] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)
    malformed: int = 0


@method("controller", level="input", paper="arXiv:2410.20749", together=True)
@dataclass(frozen=True)
class Controller:
    """Train a small model to write guidance on people, and put the best it found before each one's question."""

    tokens: int = 8
    """Length of the soft prompt that is trained."""
    rounds: int = 2
    """Rounds of writing, measuring and training; the pairs of all rounds are kept."""
    k: int = 4
    """K, how many guidances are written for each person in a round (10 in the paper)."""
    replays: int = 6
    """How many of a person's newest records are asked again to measure them."""
    history_tokens: int = 1500
    """How much of a person's history the controller reads (4000 in the paper)."""
    max_tokens: int = 120
    """Length of a guidance."""
    beta: float = 0.1
    """How strongly DPO holds to the round before."""
    label_smoothing: float = 0.1
    """Share of the pairs that DPO takes to be the wrong way round."""
    learning_rate: float = 0.02
    """Step of Adam, as a part of the typical size of one number of a token's vector."""
    epochs: int = 2
    """Passes over all pairs in a round."""
    seed: int = 0
    """Of the first vectors, of the order of pairs and of what is written."""
    share: float = 1.0
    """Part of the token budget relative to the other slots."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the best guidance found for the person in training as a stable block."""
        return offer(call, user, ctx, "controller", self.share)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Train, and yield the soft prompt for everyone and the best guidance of each person who took part.

        Raises :class:`UnsupportedCall` where the controller (the helper, without one the model) has no gradients.
        """
        model = _trainable(controller_of(ctx))
        cases = prepare(users, ctx, replays=self.replays, tokens=self.history_tokens)
        if not cases:
            return
        training = self._train(model, cases, ctx)
        if training.data:
            yield self._shared(cases, training, ctx)
        for at, case in enumerate(cases):
            yield self._own(at, case, cases, training, ctx)

    def _train(self, model: Inside, cases: Sequence[Case], ctx: Context) -> Training:
        rng = np.random.default_rng(self.seed)
        size = model.embedding_norm / np.sqrt(model.hidden)
        training = Training((size * rng.normal(size=(self.tokens, model.hidden))).astype(np.float32))
        settings = Settings(self.beta, self.label_smoothing, self.learning_rate, self.epochs)
        for turn in range(self.rounds + 1):  # the last controller also writes, and is measured
            texts, empty = sample(
                cases, ctx, self.k, seed=self.seed + turn * self.k, max_tokens=self.max_tokens, soft=training.soft
            )
            values = worth(cases, texts, "controller", ctx)
            training.texts.append(texts)
            training.values.append(values)
            training.malformed += sum(empty)
            if turn < self.rounds:
                for case, own, found in zip(cases, texts, values, strict=True):
                    training.data += pairs(case.call, own, found.tolist())
                training.soft, losses = optimize(model, training.soft, training.data, settings, rng)
                training.losses.append(losses)
            if ctx.progress is not None:
                ctx.progress(turn + 1, self.rounds + 1)
        return training

    def _shared(self, cases: Sequence[Case], training: Training, ctx: Context) -> Artifact:
        notes = {
            "worth": [float(np.mean([found.mean() for found in turn])) for turn in training.values],
            "losses": training.losses, "pairs": len(training.data), **lengths(training.data),
            "malformed": training.malformed, "answers": ctx.model.fingerprint,
        }  # fmt: skip
        return Artifact.new(
            EVERYONE, "soft_prompt", method="controller", settings=asdict(self), payload=pack(training.soft, notes),
            record_ids=(), time=max(case.time for case in cases), base_model=controller_of(ctx).fingerprint,
            people=[case.user.id for case in cases],
        )  # fmt: skip

    def _own(self, at: int, case: Case, cases: Sequence[Case], training: Training, ctx: Context) -> Artifact:
        texts = [text for turn in training.texts for text in turn[at]]
        values = np.concatenate([turn[at] for turn in training.values])
        # What the untrained controller wrote owes nothing to the others.
        owing = int(np.argmax(values)) >= len(training.texts[0][at])
        others = [other.user.id for other in cases if other is not case] if owing else []
        return best(case, texts, values.tolist(), "controller", asdict(self), ctx, people=others)


def lengths(data: Sequence[Pair]) -> dict[str, Any]:
    """Return the mean lengths [characters] of chosen and rejected texts, and how many pairs differ much in length.

    A training that only learns to write longer, or shorter, shows here.
    """
    chosen, rejected = [len(pair.chosen) for pair in data], [len(pair.rejected) for pair in data]
    uneven = sum(max(a, b) >= _UNEVEN * max(1, min(a, b)) for a, b in zip(chosen, rejected, strict=True))
    return {"chosen_chars": float(np.mean(chosen)), "rejected_chars": float(np.mean(rejected)), "uneven": uneven}


def _trainable(model: Backend) -> Inside:
    for need in _NEEDED:
        if need not in model.supports:
            able = [entry.name for entry in registry.backends if need in entry.info["supports"]]
            raise UnsupportedCall("fit controller", type(model).__name__, need, able)
    assert isinstance(model, Inside)
    return model
