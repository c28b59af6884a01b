"""How well a written prompt serves a person's past questions, in the terms in which an answer is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from idiolect.measure.rouge import rouge_l
from idiolect.prompting.shared.replay import Replay, log_probabilities, utilities
from idiolect.types import Call, Context, Sampling

TEXT_TOKENS = 60
_STEP = 4
"""So many questions are scored between two looks at whether to go on."""


def served(ctx: Context, pairs: Sequence[tuple[Call, Replay]], measure: str) -> list[float]:
    """Score written calls, higher is better.

    Among options: the mean of whether the best one was given (for numbers: how near it is, as a part of their range)
    and of the given one's probability, both in [0, 1]. Text: minus the bits per byte of what was written, or with
    ``measure = "text"`` the ROUGE-L of what the model writes.
    """
    out: list[float] = []
    for start in range(0, len(pairs), _STEP):
        if ctx.check is not None:
            ctx.check()
        out += _served(ctx, pairs[start : start + _STEP], measure)
    return out


def _served(ctx: Context, pairs: Sequence[tuple[Call, Replay]], measure: str) -> list[float]:
    texts = [n for n, (_, asked) in enumerate(pairs) if not asked.options]
    chosen = [n for n, (_, asked) in enumerate(pairs) if asked.options]
    out = np.zeros(len(pairs))
    out[chosen] = _choices(ctx, [pairs[n] for n in chosen])
    out[texts] = (_written if measure == "text" else _likelihood)(ctx, [pairs[n] for n in texts])
    return [float(value) for value in out]


def _choices(ctx: Context, pairs: Sequence[tuple[Call, Replay]]) -> list[float]:
    out = []
    for (_, asked), scores in zip(pairs, log_probabilities(ctx, pairs), strict=True):
        found = scores - np.logaddexp.reduce(scores)
        at = asked.options.index(asked.gold)
        out.append((_nearness(asked.options, int(found.argmax()), at) + float(np.exp(found[at]))) / 2)
    return out


def _nearness(options: Sequence[str], given: int, gold: int) -> float:
    """Return 1 for the gold, 0 for another; between numbers 1 minus their distance as a part of the range."""
    try:
        values = [float(option) for option in options]
    except ValueError:
        return float(given == gold)
    span = max(values) - min(values)
    return 1.0 - abs(values[given] - values[gold]) / span if span else float(given == gold)


def _likelihood(ctx: Context, pairs: Sequence[tuple[Call, Replay]]) -> list[float]:
    return [nats / np.log(2) for nats in utilities(ctx, pairs)]


def _written(ctx: Context, pairs: Sequence[tuple[Call, Replay]]) -> list[float]:
    sampling = Sampling(temperature=0.0, max_tokens=TEXT_TOKENS, stop=("\n",))
    made = ctx.model.generate([replace(call, sampling=sampling) for call, _ in pairs])
    return [rouge_l(asked.gold, one.text) for one, (_, asked) in zip(made, pairs, strict=True)]
