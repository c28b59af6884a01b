"""What people chose over what: the comparisons that their records hold.

Three kinds of records hold some: a choice among drafts or an edit given as feedback (what was edited lost to the edit),
a record of a choice among texts (``meta["options"]`` with the texts, ``meta["choice"]`` with the position of the one
taken, ``meta["option_items"]`` with their names where others choose among the same, ``meta["labels"]`` where the texts
are the same for many prompts), and a label given to a text. ``meta["known"]`` may say what is known of the options from
elsewhere, for everybody (``""``) and for groups: ``{group: {option: share}}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from idiolect.memory.feedback import read
from idiolect.types import Record


@dataclass(frozen=True, slots=True)
class Question:
    """What can be chosen: on ``prompt`` one of ``texts``; ``items`` name these, ``item`` what is asked about."""

    prompt: str
    texts: tuple[str, ...]
    items: tuple[str, ...] = ()
    item: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What options are known by among people: their items, else their texts."""
        return self.items or self.texts


@dataclass(frozen=True, slots=True)
class Comparison:
    """One choice: on ``prompt``, of ``texts`` the one at ``chosen``; ``items`` name the texts, ``item`` what is asked.

    Where the texts are ``labels``, the same few for many prompts, what was chosen says something of the prompt.
    """

    record: Record
    prompt: str
    texts: tuple[str, ...]
    chosen: int
    items: tuple[str, ...] = ()
    item: str = ""
    labels: bool = False

    @staticmethod
    def over(record: Record, prompt: str, better: str, worse: str) -> Comparison:
        """Return that a text won over another where nobody saw them side by side: in either order, by the record."""
        chosen = int(record.id[-1], 16) % 2
        return Comparison(record, prompt, (worse, better) if chosen else (better, worse), chosen)

    @property
    def question(self) -> Question:
        """What was to be chosen from."""
        return Question(self.prompt, self.texts, self.items, self.item)

    @property
    def better(self) -> str:
        """The text that was taken."""
        return self.texts[self.chosen]

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield ``(better, worse)`` for each text that was not taken."""
        yield from ((self.better, text) for place, text in enumerate(self.texts) if place != self.chosen)


def comparisons(records: Iterable[Record], labels: Sequence[str] = ()) -> list[Comparison]:
    """Return the comparisons that records hold, in their order; ``labels`` are what texts may be labelled with."""
    return [found for record in records for found in _of(record, tuple(labels))]


def _of(record: Record, labels: tuple[str, ...]) -> Iterator[Comparison]:
    said = read(record)
    if said is not None:
        given = said.feedback
        if given.chosen is not None and len(set(given.drafts)) > 1:
            yield Comparison(record, said.question, given.drafts, given.chosen)
        if given.edit.strip() and said.answer.strip() and given.edit.strip() != said.answer.strip():
            yield Comparison.over(record, said.question, given.edit, said.answer)
        return
    options, choice = record.meta.get("options"), record.meta.get("choice")
    item = str(record.meta.get("item", ""))
    if isinstance(options, Sequence) and not isinstance(options, str):
        if isinstance(choice, int) and 0 <= choice < len(options) > 1:
            items = tuple(str(name) for name in record.meta.get("option_items", ()))
            about = str(record.meta.get("about", record.input))
            same = bool(record.meta.get("labels"))
            yield Comparison(record, about, tuple(map(str, options)), choice, items, item, same)
    elif record.output in labels:
        yield Comparison(record, record.input, labels, labels.index(record.output), item=item, labels=True)
