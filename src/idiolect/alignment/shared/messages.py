"""System messages: at most one sentence a dimension, those under which choices are likeliest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from idiolect.adaptation.shared.examples import split
from idiolect.alignment.shared.choices import Change, log_likelihoods
from idiolect.alignment.shared.comparisons import Comparison
from idiolect.prompting.shared.optimizer import block, written
from idiolect.types import Artifact, Call, Context, Used

SLOT: Final = "system_message"
_TITLE = "This person wants to be answered like this:"
_COST = 1.0
"""What a sentence costs [nats]: one that explains less is left out (Akaike's criterion)."""
_GAINS = 8

Lines = Mapping[str, str]
"""A message: by dimension one sentence."""


def lines_of(artifact: Artifact) -> dict[str, str]:
    """Return the message that an artifact holds, empty where none was found."""
    return dict(orjson.loads(artifact.payload)["lines"])


def said(call: Call, artifact: Artifact, method: str, share: float) -> Call:
    """Return the call with the message of an artifact as a stable block of its prompt."""
    used = Used("artifact", artifact.id, method, SLOT)
    return call.add(block(_text(lines_of(artifact)), _TITLE, used, share))


def find(
    asked: Sequence[Comparison], sentences: Mapping[str, Lines], hold_out: float, beta: float, ctx: Context
) -> dict[str, Any]:
    """Return the message under which choices are likeliest; empty where it does not hold for the newest ones.

    ``sentences`` are tried by dimension and name: each alone, then the best of each dimension together, the one that
    explains most first. ``lines`` is the message, ``held`` what was held out [choices] and by how much it is likelier
    under the message [nats], ``gains`` the same of sentences alone on what was learnt from.
    """
    if ctx.check is not None:
        ctx.check()
    learnt, held = split(asked, hold_out)
    alone = [(name, text) for name, texts in sentences.items() for text in texts.values()]
    tried = gains(learnt, [{name: text} for name, text in alone], beta, ctx)
    ranked = sorted(((gain, *one) for one, gain in zip(alone, tried, strict=True)), reverse=True)
    best = dict[str, str]()
    for gain, name, text in ranked:
        if gain > _COST:
            best.setdefault(name, text)
    grown = [dict([*best.items()][:size]) for size in range(1, len(best) + 1)]
    worth = [gain - _COST * len(one) for one, gain in zip(grown, gains(learnt, grown, beta, ctx), strict=True)]
    lines = grown[max(range(len(worth)), key=worth.__getitem__)] if worth else {}
    holds = gains(held, [lines], beta, ctx)[0] if lines and held else 0.0
    return {
        "lines": lines if holds > 0 or not held else {}, "choices": len(asked),
        "held": {"choices": len(held), "gain": holds}, "gains": {text: gain for gain, _, text in ranked[:_GAINS]},
    }  # fmt: skip


def gains(asked: Sequence[Comparison], messages: Sequence[Lines], beta: float, ctx: Context) -> list[float]:
    """Return by how much choices are likelier under each message than at random [nats], in one batch."""

    def under(lines: Lines) -> Change:
        return lambda call: written(call, _text(lines), _TITLE, SLOT, ctx)

    if not messages:
        return []
    random = sum(math.log(len(one.texts)) for one in asked)
    changes = [under(lines) for lines in messages]
    return [random + float(one) for one in log_likelihoods(ctx, asked, changes, beta)]


def _text(lines: Lines) -> str:
    return "\n".join(lines.values())
