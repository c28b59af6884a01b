"""What a person wanted of answers, as questions that can be asked again: from their feedback, else from their records.

The turns that judge are the newest; all that is learnt from comes before the first of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from idiolect.memory.feedback import Said, read
from idiolect.prompting.shared.replay import Replay, latest, replay
from idiolect.types import Record, Template, User


@dataclass(frozen=True)
class Case:
    """A question with what the person wanted for an answer, and the feedback that says so, if any.

    The gold is empty where they said what was wrong and not what would have been right.
    """

    asked: Replay
    said: Said | None = None

    @property
    def record(self) -> Record:
        """The record it comes from."""
        return self.asked.record

    @property
    def gold(self) -> str:
        """What the person wanted."""
        return self.asked.gold


@dataclass(frozen=True)
class Material:
    """What there is to learn from, oldest first, and the later turns to judge by.

    ``rest`` are the other records before the first of those that judge, without feedback.
    """

    learn: tuple[Case, ...]
    held: tuple[Case, ...]
    rest: tuple[Record, ...]


def wanted(said: Said) -> str:
    """Return the answer that a feedback asks for: the edit, the chosen draft, or an answer that was liked; else ''."""
    given = said.feedback
    if given.edit.strip():
        return given.edit
    if given.chosen is not None:
        return given.drafts[given.chosen]
    return said.answer if (given.rating or 0) > 0 else ""


def material(user: User, template: Template | None, learn: int, hold: int, least: int) -> Material:
    """Part a person's past into at most ``learn`` cases to learn from and at most ``hold`` later ones to judge by.

    Feedback judges where a third of what says an answer is ``least`` or more; else the latest records, asked again.
    Feedback is learnt from first, records fill up. Whatever judges is never more than a third of its kind, and none of
    it was said before in the same words.
    """
    said = [case for case in (_case(record, template) for record in user.history) if case is not None]
    telling = [case for case in said if case.gold]
    if len(telling) // 3 >= least:
        held = telling[len(telling) - min(hold, len(telling) // 3) :]
        earlier = user.before(held[0].record.time)
        known = {(case.record.input, case.gold) for case in said if case.record.time < earlier.now}
        held = [case for case in held if (case.record.input, case.gold) not in known]
    else:
        earlier, asked = latest(user, template, hold)
        held = _cases(asked, template)
    if not held:
        return Material((), (), ())
    told = [case for case in said if case.record.time < earlier.now][-learn:]
    more = [case for case in _cases(latest(earlier, template, learn)[1], template) if case.said is None]
    chosen = [*told, *more[len(more) - min(len(more), learn - len(told)) :]]
    chosen.sort(key=lambda case: (case.record.time, case.record.id))
    taken = {case.record.id for case in chosen}
    rest = (r for r in earlier.history if r.id not in taken and read(r) is None)
    return Material(tuple(chosen), tuple(held), tuple(rest))


def _case(record: Record, template: Template | None) -> Case | None:
    said = read(record)
    return None if said is None else Case(replay(replace(record, output=wanted(said)), template), said)


def _cases(asked: Sequence[Replay], template: Template | None) -> list[Case]:
    """Take replays for cases; a record of feedback is asked again for the answer it wants."""
    return [_case(one.record, template) or Case(one) for one in asked]
