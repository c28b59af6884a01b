"""A person's past as questions: a record is asked again in the form of the question at hand; what they gave is known.

What a method may learn from (which records helped, which prompt served) is measured on these, never on the question
that is to be answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from idiolect.memory.feedback import read
from idiolect.text.rendering import shorten
from idiolect.types import Call, Context, Record, Sampling, Template, User, text_of

Doubles = npt.NDArray[np.float64]
CHARS = 300
"""So much of a text is scored."""
INPUT_CHARS = 1500
_MOST_OPTIONS, _OPTION_CHARS = 24, 40


@dataclass(frozen=True)
class Replay:
    """A past record asked again: the call as it would have come, what was given, and what else could have been."""

    record: Record
    call: Call
    gold: str
    options: tuple[str, ...] = ()


def replay(record: Record, template: Template | None = None, options: Sequence[str] = ()) -> Replay:
    """Ask a record again.

    With a template whose focus stands in its last user message, the record's input takes the focus's place; else the
    input is the message. ``options`` count where the record's output is one of them.
    """
    asked = shorten(record.input, INPUT_CHARS)
    item = str(record.meta.get("item", ""))
    call = Call(({"role": "user", "content": asked or "Write what this person writes next."},), asked, item)
    if template is not None and template.call.focus and asked:
        last = template.call.messages[-1]
        content = text_of(last)
        if template.call.focus in content:
            message = {**last, "content": content.replace(template.call.focus, asked, 1)}
            call = replace(call, messages=(*template.call.messages[:-1], message))
    known = tuple(options) or (template.options if template is not None else ())
    if record.output in known:
        return Replay(record, call, record.output, known)
    return Replay(record, call, record.output[:CHARS])


def own_options(history: Sequence[Record]) -> tuple[str, ...]:
    """Return what a person chooses among, where they give few short outputs again and again; else nothing."""
    counts = Counter(record.output for record in history if record.input)
    if not 2 <= len(counts) <= _MOST_OPTIONS or max(map(len, counts)) > _OPTION_CHARS:
        return ()
    return tuple(sorted(counts)) if sum(counts.values()) >= 2 * len(counts) else ()


def latest(user: User, template: Template | None, n: int, kinds: Sequence[str] = ()) -> tuple[User, list[Replay]]:
    """Hold out a person's ``n`` latest records (never more than a third); return them as they were before, and those.

    Records without output, what people say of themselves (``profile``) and mere remarks on an answer are not asked.
    What is held out with the same output to the same input as an earlier record is left out: it is known.
    """
    own = [r for r in answered(user) if not kinds or r.kind in kinds]
    held = own[len(own) - min(n, len(own) // 3) :]
    if not held:
        return user, []
    earlier = user.before(held[0].time)
    known = {(record.input, record.output) for record in earlier.history}
    options = template.options if template is not None and template.options else own_options(own)
    asked = [replay(record, template, options) for record in held if (record.input, record.output) not in known]
    return earlier, asked


def answered(user: User) -> list[Record]:
    """Return the records in which a person gave something, oldest first.

    Records without output, what people say of themselves (``profile``) and mere remarks on an answer are left out.
    """
    return [r for r in user.history if r.output.strip() and r.kind != "profile" and not _is_remark(r)]


def _is_remark(record: Record) -> bool:
    """Whether a record says something of an answer and is none itself, as an edit or the draft that was taken is."""
    said = read(record)
    return said is not None and not said.feedback.edit and said.feedback.chosen is None


def log_probabilities(ctx: Context, pairs: Sequence[tuple[Call, Replay]]) -> list[Doubles]:
    """Return the log probabilities [nats] of each replay's options, or of the gold alone, in one batch."""
    asked = [(replace(call, sampling=Sampling()), text) for call, one in pairs for text in one.options or (one.gold,)]
    scores = iter(ctx.model.logprobs([call for call, _ in asked], [text for _, text in asked]) if asked else ())
    return [np.array([next(scores) for _ in one.options or (one.gold,)], np.float64) for _, one in pairs]


def utilities(ctx: Context, pairs: Sequence[tuple[Call, Replay]]) -> list[float]:
    """Return how well each written call foresees what was given, in one batch.

    With options it is the gold's log probability [nats] among them, without it the gold's log probability per UTF-8
    byte [nats]; a backend without log probabilities raises :class:`UnsupportedCall`.
    """
    out = []
    for (_, one), found in zip(pairs, log_probabilities(ctx, pairs), strict=True):
        if one.options:
            out.append(float(found[one.options.index(one.gold)] - np.logaddexp.reduce(found)))
        else:
            out.append(float(found[0]) / max(1, len(one.gold.encode())))
    return out
