"""LaMP: the few records that retrieval finds, worded as examples and cut to equal shares of the prompt.

In-prompt augmentation of LaMP (arXiv:2304.11406, section 4 and its appendix of prompts). What differs: the items stand
one a line between the marks of personal data instead of being joined by ", and " before the question, so that they are
traced, defused and never taken for instructions; and the question itself is never cut.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from idiolect.prompting.shared.feedback import find
from idiolect.registry import method
from idiolect.text.lamp_budget import lamp_budget, lamp_factor
from idiolect.types import Block, Call, Context, Item, Record, Used, User, text_of

log = logging.getLogger("idiolect")

Wording = Literal["tag", "category", "score", "title", "text"]

_TITLES: dict[Wording, str] = {
    "tag": "What this person tagged before:",
    "category": "How this person sorted things before:",
    "score": "What this person rated before:",
    "title": "What this person titled before; follow the patterns:",
    "text": "What this person wrote before; follow the patterns:",
}
_LABEL_WORDS = 4
"""A longer output is no label."""


@method("lamp", level="input", paper="arXiv:2304.11406 section 4 (in-prompt augmentation)")
@dataclass(frozen=True)
class Lamp:
    """Put the few best records before the question as worded examples, each cut to its share of the prompt."""

    k: int = 4
    """So many records."""
    max_len: int = 512
    """Tokens of the prompt that question and records may take together; the prompt budget may allow less."""
    factor: float = 0.6
    """At most this part of ``max_len`` is kept free for the question; lowered by 0.1 where that leaves no room."""
    wording: Literal["auto", "tag", "category", "score", "title", "text"] = "auto"
    """How a record is put; ``auto`` looks at whether the records found are ratings, labels, titles or texts."""
    share: float = 3.0
    """Part of the token budget relative to the other slots."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the worded records; the bare call where the question leaves them no room, which is logged."""
        hits = find(user, call.query, self.k)
        if not hits:
            return call
        records = [hit.record for hit in hits]
        wording = shape(records) if self.wording == "auto" else self.wording
        question = sum(ctx.model.count_tokens(text_of(message)) for message in call.messages)
        title = _TITLES[wording]
        room = ctx.tokens - ctx.model.count_tokens(f"\n{title}\n")
        texts = self.cut([parts(record, wording) for record in records], question, room, ctx.model.count_tokens)
        if texts is None:
            log.warning("lamp: a question of %d tokens leaves no room for records; it is asked bare", question)
            return call
        items = tuple(
            Item(text, Used("record", hit.record.id, "lamp", "lamp", hit.score, hit.parts), hit.score, order=place)
            for place, (text, hit) in enumerate(zip(texts, hits, strict=True))
        )
        return call.add(Block("lamp", title, items, self.share))

    def cut(
        self, worded: Sequence[tuple[str, str, str]], question: int, room: int, count: Callable[[str], int]
    ) -> list[str] | None:
        """Cut the middle of each (before, middle, after) so that the item fits its share, wording included.

        What a short item leaves goes to the later ones. None where no factor leaves room for every item's wording.
        """
        lengths = [count("".join(one)) for one in worded]
        least = [count(before + after) for before, _, after in worded]
        start: float | None = self.factor
        while start is not None and start >= 0:
            usable, _ = lamp_factor(self.max_len, question, len(worded), start)
            if usable is None:
                return None
            # The question's part goes off here, so that a prompt budget below what LaMP leaves is shared alike.
            free = min(self.max_len - min(question, int(usable * self.max_len)), room)
            sizes = lamp_budget(max(0, free), 0, lengths)
            if all(size >= low for size, low in zip(sizes, least, strict=True)):
                return [_fitted(one, size, count) for one, size in zip(worded, sizes, strict=True)]
            start = round(usable - 0.1, 9)
        return None


def shape(records: Sequence[Record]) -> Wording:
    """Return how records are worded: by their outputs, and by whether something stood before them."""
    if not all(record.input.strip() for record in records):
        return "text"
    outputs = [record.output.strip() for record in records]
    if all(_is_number(output) for output in outputs):
        return "score"
    if all(len(output.split()) <= _LABEL_WORDS for output in outputs):
        return "category"
    longer = sum(len(record.output) > len(record.input) for record in records)
    return "text" if 2 * longer > len(records) else "title"


def parts(record: Record, wording: Wording) -> tuple[str, str, str]:
    """Return what stands before, is, and stands after the part of a worded record that may be cut."""
    output, given = " ".join(record.output.split()), " ".join(record.input.split())
    if wording == "text" or not given:
        return '"', output, '"'
    if wording == "score":
        return f'{output} is the score for "', given, '"'
    return f'"{output}" is the {wording} for "', given, '"'


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).lstrip("-").isdecimal()


def _fitted(one: tuple[str, str, str], size: int, count: Callable[[str], int]) -> str:
    """Return the longest form of at most ``size`` tokens."""
    before, middle, after = one
    low, high = 0, len(middle)
    if count(before + middle + after) <= size:
        return before + middle + after
    while low < high:  # the number of tokens grows with the text, as good as always
        half = (low + high + 1) // 2
        if count(before + middle[:half] + after) <= size:
            low = half
        else:
            high = half - 1
    return before + middle[:low] + after
