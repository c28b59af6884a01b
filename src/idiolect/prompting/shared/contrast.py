"""The same question with and without personal text: mixing the two, and which mixture explains what a person wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from idiolect.decoding.weights import weights
from idiolect.prompting.shared.replay import Replay, utilities
from idiolect.types import Branch, Call, Context, Message

Doubles = npt.NDArray[np.float64]


def steered(call: Call, bare: Sequence[Message], strength: float, plausibility: float = 0.0) -> Call:
    """Return a call whose personal text counts ``1 + strength`` times (CoS, arXiv:2405.01768, equation 3).

    ``bare`` is the same prompt without personal text. At 0 it is the call itself, at -1 the bare prompt alone; both are
    read once. Only a mixture that goes beyond the contextual prompt (above 0) is held to ``plausibility``: between the
    two prompts nothing is extrapolated.
    """
    if strength == 0:
        return call
    if strength == -1:
        return replace(call, messages=tuple(bare), context=(), mix=(), plausibility=0.0)
    with_context, without = weights(strength)
    mix = (Branch(None, with_context), Branch(tuple(bare), without))
    return replace(call, mix=mix, plausibility=plausibility if strength > 0 else 0.0)


def log_likelihoods(ctx: Context, asked: Sequence[tuple[Call, Replay]], grid: Sequence[float]) -> Doubles:
    """Return the log probability [nats] of all that was given, at each strength of ``grid``, in one batch ``[grid]``.

    Each replay comes with its call, personal text written in. What was given is scored among the options where there
    are some, else as text. No token is masked: what a person wrote may be implausible to the model. Every strength is a
    call of its own, since a mixture has to be normalized over the vocabulary.
    """
    pairs = [(steered(call, replay.call.messages, strength), replay) for call, replay in asked for strength in grid]
    found = np.array(utilities(ctx, pairs), np.float64).reshape(len(asked), len(grid))
    lengths = [1.0 if replay.options else float(max(1, len(replay.gold.encode()))) for _, replay in asked]
    total: Doubles = (found * np.array(lengths)[:, None]).sum(axis=0)
    return total


def posterior(log_likelihood: Doubles) -> Doubles:
    """Return the probability of each strength under a uniform prior, ``[grid]`` (CoS, arXiv:2405.01768)."""
    found: Doubles = np.exp(log_likelihood - np.logaddexp.reduce(log_likelihood))
    return found
