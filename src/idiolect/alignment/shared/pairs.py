"""What a person chose as pairs of texts that a model can learn from, each with its call as it would be written now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from idiolect.adaptation.shared.examples import Writer
from idiolect.alignment.shared.comparisons import Comparison, comparisons
from idiolect.alignment.shared.objectives import margins
from idiolect.prompting.shared.replay import answered, own_options
from idiolect.trainable import Example
from idiolect.types import User


def chosen(user: User, most: int, options: Sequence[str] = ()) -> list[Comparison]:
    """Return a person's newest choices, oldest first: among drafts or texts, edits of answers, and labels.

    Labels are the ``options`` of the question at hand, or the few answers that the person gives again and again.
    """
    found = comparisons(user.history, options or own_options(answered(user)))
    usable = [one for one in found if one.better.strip() and any(worse.strip() for _, worse in one.pairs())]
    return usable[max(0, len(usable) - most) :]


def pairs(
    writer: Writer, user: User, found: Sequence[Comparison], rivals: int, objectives: Sequence[str] = ()
) -> list[Example]:
    """Return each choice as examples with what was rejected for it, at most ``rivals`` of them.

    A choice counts once, however many texts it was among. ``objectives`` give the margins.
    """
    asked = [replace(one.record, input=one.prompt, output=one.better) for one in found]
    out = []
    for one, call in zip(found, writer.calls(user, asked), strict=True):
        worse = [text for _, text in one.pairs() if text.strip() and text.strip() != one.better.strip()][:rivals]
        text, ends = writer.cut(one.better)
        for other in worse:
            rejected, rejected_ends = writer.cut(other)
            said = margins(objectives, one.better, other)
            out.append(Example(call, text, 1 / len(worse), ends, rejected, rejected_ends, said))
    return out
