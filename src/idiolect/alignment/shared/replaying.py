"""What a person wrote, over what the model would have written in their place: comparisons without anybody's judgment.

As self-play fine-tuning takes the data's answer over the model's own (SPIN, arXiv:2401.01335), for each person.
"""

from __future__ import annotations

from dataclasses import replace

from idiolect.alignment.shared.comparisons import Comparison
from idiolect.prompting.shared.replay import latest
from idiolect.types import Context, Sampling, User

TOKENS = 64
"""So many tokens of a draft are written at most."""


def over_drafts(user: User, ctx: Context, replays: int) -> list[Comparison]:
    """Return the person's ``replays`` latest texts, each over what the model writes on the same prompt.

    One that the model writes in the very same words says nothing. Choices and labels are not asked again.
    """
    if not replays:
        return []
    _, asked = latest(user, ctx.template, replays)
    asked = [one for one in asked if not one.options and one.record.input.strip() and "options" not in one.record.meta]
    calls = [replace(one.call, sampling=Sampling(temperature=0.0, max_tokens=TOKENS)) for one in asked]
    made = ctx.model.generate(calls) if calls else []
    drafts = [_cut(draft.text, one.record.output) for draft, one in zip(made, asked, strict=True)]
    return [
        Comparison.over(one.record, one.call.query, one.record.output, draft)
        for one, draft in zip(asked, drafts, strict=True)
        if draft and draft != one.record.output.strip()
    ]


def _cut(draft: str, own: str) -> str:
    """Return as many lines of a draft as the person wrote, so that rambling on is not what tells the two apart."""
    return "\n".join(draft.strip().split("\n")[: own.strip().count("\n") + 1]).strip()
