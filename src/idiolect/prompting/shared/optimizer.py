"""Texts about a person, measured on the person's own past: written into a prompt and scored in one batch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import numpy.typing as npt

from idiolect.prompting.assembly import assemble
from idiolect.prompting.shared.replay import Replay, log_probabilities, utilities
from idiolect.text.features import content_words
from idiolect.text.rendering import defuse, render, shorten
from idiolect.types import Artifact, Block, Call, Context, Hit, Item, Record, Used, User

Doubles = npt.NDArray[np.float64]

_NUMBERED = re.compile(r"^\W*\d+\W*[.):]\W*(?=\w)(.+)$")
_CHOICE_CHARS = 40


@dataclass(frozen=True, eq=False)
class Trial:
    """How well texts serve: ``scores [texts, replays]`` and what the model chose, empty where the answer is free text.

    A score is 1 or 0 for the right or another option, the utility of
    :func:`idiolect.prompting.shared.replay.utilities` for free text. ``calls`` counts what the model scored.
    """

    scores: Doubles
    answers: tuple[tuple[str, ...], ...]
    calls: int


def block(text: str, title: str, used: Used, share: float = 1.0, *, stable: bool = True) -> Block:
    """Return a text as a slot of the prompt, one item a line: the token budget cuts at lines, from the end."""
    lines = [line for line in text.splitlines() if line.strip()]
    items = tuple(Item(line, used, 1.0 - at / 1e3, order=at) for at, line in enumerate(lines))
    return Block(used.slot, title, items, share, stable)


def written(call: Call, text: str, title: str, slot: str, ctx: Context) -> Call:
    """Return the call with a text in its prompt, as it will stand there; without text the call itself."""
    offered = call.add(block(text, title, Used("artifact", "", slot, slot)))
    return assemble(offered, ctx.tokens, ctx.model.count_tokens)


def tried(texts: Sequence[str], replays: Sequence[Replay], title: str, slot: str, ctx: Context) -> Trial:
    """Try each text on each replay in one batch (a second one where some answers are options and some free text).

    An empty text is the bare question. Raises :class:`idiolect.errors.UnsupportedCall` without log probabilities.
    """
    cells = [(written(r.call, text, title, slot, ctx), r) for text in texts for r in replays]
    closed = [(call, r) for call, r in cells if r.options]
    found = iter(log_probabilities(ctx, closed))
    free = [(call, r) for call, r in cells if not r.options]
    utility = iter(utilities(ctx, free) if free else ())
    scores, answers = [], []
    for _, r in cells:
        if r.options:
            answers.append(r.options[int(np.argmax(next(found)))])
            scores.append(float(answers[-1] == r.gold))
        else:
            answers.append("")
            scores.append(next(utility))
    n = len(replays)
    rows = tuple(tuple(answers[at * n : (at + 1) * n]) for at in range(len(texts)))
    return Trial(
        np.array(scores, np.float64).reshape(len(texts), n), rows, sum(len(r.options) for _, r in closed) + len(free)
    )


def describe(history: Sequence[Record], quoted: int = 3) -> tuple[str, tuple[str, ...]]:
    """Describe a person in a few lines by counting and quoting, and name the records that the lines rest on.

    What they say of themselves, what they choose how often, what they wrote last, which words come back.
    """
    own = [r for r in history if r.output.strip() and not r.meta.get("speaker")]
    said = [r for r in own if r.kind == "profile"][-quoted:]
    chosen = [r for r in own if r.input and r.kind != "profile" and len(r.output) <= _CHOICE_CHARS]
    counts = Counter(r.output for r in chosen)
    often = [(output, n) for output, n in counts.most_common(6) if n > 1]
    repeated = [r for r in chosen if counts[r.output] > 1]
    said_once = {r.id for r in own if r.kind != "profile"} - {r.id for r in repeated}
    wrote = [r for r in own if r.id in said_once][-quoted:]
    words = Counter(word for r in own for word in content_words(r.output))
    common = sorted((w for w, n in words.items() if n >= 3), key=lambda w: (-words[w], w))[:8]
    lines = [f"This person says: {shorten(r.output, 160)}" for r in said]
    if often:
        answers = ", ".join(f'"{shorten(output, 40)}" {n} times' for output, n in often)
        lines.append(f"Out of {len(chosen)} choices this person gave {answers}.")
    lines += [f"This person wrote lately: {shorten(r.output, 160)}" for r in wrote]
    if common:
        lines.append(f"Words that come back: {', '.join(common)}.")
    rests = [*said, *repeated, *wrote]
    if common:
        rests += [r for r in own if content_words(r.output) & set(common)]
    return "\n".join(lines), tuple(dict.fromkeys(r.id for r in rests))


def numbered(answer: str, limit: int) -> tuple[list[str], int]:
    """Read '1. text' lines, each text once; return at most ``limit`` and the number of lines of another form."""
    found: list[str] = []
    malformed = 0
    for line in filter(str.strip, answer.splitlines()):
        match = _NUMBERED.match(line)
        if match is None:
            malformed += 1
        else:
            found.append(match[1].strip())
    return list(dict.fromkeys(found))[:limit], malformed


def records_within(hits: Sequence[Hit], tokens: int, count: Callable[[str], int]) -> tuple[list[str], list[Record]]:
    """Return the first records, best first, that fit ``tokens``, as defused lines and themselves."""
    lines = [f"- {defuse(render(hit.record, 200, 400))}" for hit in hits]
    spent = np.cumsum([count(line) for line in lines])
    fitting = sum(1 for _ in takewhile(lambda total: total <= tokens, spent))
    return lines[:fitting], [hit.record for hit in hits[:fitting]]


def newest(user: User, method: str, kind: str, base_model: str) -> Artifact | None:
    """Return the person's own newest artifact of a method that was made for this model."""
    mine = (a for a in user.artifacts if a.user_id == user.id and (a.method, a.kind) == (method, kind))
    return next((a for a in mine if a.base_model == base_model), None)
