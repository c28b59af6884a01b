"""A person's records as examples to learn from, each with what was known of the person before it."""

from __future__ import annotations

from collections.abc import Sequence

from idiolect.prompting.assembly import Named, personalize
from idiolect.prompting.shared.replay import own_options, replay
from idiolect.trainable import Example
from idiolect.types import Context, Record, User

CHARS = 2000
"""So much of a text is learnt."""


def examples_of(
    user: User, records: Sequence[Record], methods: Sequence[Named], ctx: Context, chars: int = CHARS
) -> list[Example]:
    """Ask records again in the form of the question at hand, each personalized from what came before it alone.

    A record never stands in its own prompt: methods see the person as of just before it (arXiv:2402.04401, section 3;
    there the retrieval of row ``i`` reads rows before ``i``).
    """
    options = ctx.template.options if ctx.template is not None else own_options(records)
    out = []
    for record in records:
        asked = replay(record, ctx.template, options)
        call = personalize(asked.call, user.before(record.time), methods, ctx)[0] if methods else asked.call
        text = record.output.strip()
        out.append(Example(call, text[:chars], ends=len(text) <= chars))
    return out
