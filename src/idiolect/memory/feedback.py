"""What people say of an answer: a rating, a comment, their own version of it, or a choice among drafts.

Each becomes one ``preference`` record with the question for its input; every method that learns from people reads it
from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from idiolect.errors import InputError
from idiolect.types import Record

SOURCE = "feedback"


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a person says of one answer; at least one of the fields.

    ``rating`` goes from -1 to 1 (thumbs are its ends). ``edit`` is the whole answer as the person would have it.
    ``drafts`` are the answers that were shown and ``chosen`` the position of the one that was taken.
    """

    rating: float | None = None
    comment: str = ""
    edit: str = ""
    drafts: tuple[str, ...] = ()
    chosen: int | None = None

    def check(self) -> Feedback:
        """Return the feedback itself; raises :class:`InputError` where it says nothing or cannot be."""
        if self.rating is not None and not -1 <= self.rating <= 1:
            raise InputError(f"'rating' is {self.rating}; it goes from -1 (bad) to 1 (good)")
        if (self.chosen is None) != (not self.drafts):
            raise InputError("a choice needs both 'drafts', the texts that were shown, and 'chosen', its position")
        if self.chosen is not None and not 0 <= self.chosen < len(self.drafts):
            raise InputError(f"'chosen' is {self.chosen}, but there are {len(self.drafts)} drafts, numbered from 0")
        if self.rating is None and self.chosen is None and not self.comment.strip() and not self.edit.strip():
            raise InputError("feedback needs a rating, a comment, an edit or a choice")
        return self


@dataclass(frozen=True, slots=True)
class Said:
    """One feedback as it is read back: what was asked, what was answered, what the person said of it."""

    record: Record
    question: str
    answer: str
    feedback: Feedback


def record_of(user_id: str, question: str, answer: str, feedback: Feedback, *, time: float, trace: str) -> Record:
    """Return the record of a feedback; the same said twice of one answer is one record.

    ``output`` is the most telling of what the person gave: the edit, the draft that was taken, or the comment.
    """
    taken = "" if feedback.chosen is None else feedback.drafts[feedback.chosen]
    plain: dict[str, Any] = {
        "rating": feedback.rating, "comment": feedback.comment, "edit": feedback.edit,
        "drafts": list(feedback.drafts), "chosen": feedback.chosen,
    }  # fmt: skip
    given = {name: value for name, value in plain.items() if value not in (None, "", [])}
    return Record.new(
        user_id, feedback.edit or taken or feedback.comment, time=time, kind="preference", input=question,
        source=SOURCE, key=f"{trace}|{sorted(given.items())!r}" if trace else "",
        meta={"answer": answer, "trace": trace, "feedback": given},
    )  # fmt: skip


def read(record: Record) -> Said | None:
    """Return the feedback that a record holds, ``None`` where it holds none."""
    given = record.meta.get("feedback")
    if record.kind != "preference" or record.source != SOURCE or not isinstance(given, Mapping):
        return None
    fields = {**given, "drafts": tuple(given.get("drafts", ()))}
    return Said(record, record.input, str(record.meta.get("answer", "")), Feedback(**fields))
