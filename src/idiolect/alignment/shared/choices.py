"""Which way of answering explains what a person chose: the likelihood of their choices under changed calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from idiolect.alignment.shared.comparisons import Comparison, comparisons
from idiolect.text.rendering import shorten
from idiolect.types import Call, Context, Sampling, User

Doubles = npt.NDArray[np.float64]
Change = Callable[[Call], Call]
PROMPT_CHARS, TEXT_CHARS = 1500, 600
"""So much of what was asked, and of each text, is read."""


def latest(user: User, most: int) -> list[Comparison]:
    """Return a person's newest ``most`` comparisons of texts, oldest first; choices among labels are none."""
    found = [one for one in comparisons(user.history) if not one.labels and any(map(str.strip, one.texts))]
    return found[max(0, len(found) - most) :]


def log_likelihoods(ctx: Context, asked: Sequence[Comparison], changes: Sequence[Change], beta: float) -> Doubles:
    """Return the log likelihood [nats] of all choices under each change of the call, ``[changes]``, in one batch.

    A text is worth ``beta (log p_changed - log p_plain)``, the reward whose optimal policy the changed call would be
    (DPO, arXiv:2305.18290, equation 5), so that what is likely anyway, and short, is no better for that; people choose
    as in Bradley-Terry's model, of several texts by a softmax. No token is masked.
    """
    dressed: list[Change] = [lambda call: call, *changes]
    plain = [_asked(one) for one in asked]
    calls, texts = list[Call](), list[str]()
    for change in dressed:
        for call, one in zip(plain, asked, strict=True):
            calls += [replace(change(call), plausibility=0.0)] * len(one.texts)
            texts += [text[:TEXT_CHARS] for text in one.texts]
    found = np.array(ctx.model.logprobs(calls, texts) if calls else (), np.float64).reshape(len(dressed), -1)
    rewards, total, at = beta * (found[1:] - found[:1]), np.zeros(len(changes)), 0
    for one in asked:
        mine = rewards[:, at : at + len(one.texts)]
        total += mine[:, one.chosen] - np.logaddexp.reduce(mine, axis=1)
        at += len(one.texts)
    return total


def _asked(one: Comparison) -> Call:
    asked = shorten(one.prompt, PROMPT_CHARS) or "Write what this person writes next."
    return Call(({"role": "user", "content": asked},), asked, one.item, sampling=Sampling())
