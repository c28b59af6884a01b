"""Adapters over a life: what is learnt when more records have come, and whether what came of it serves.

An update goes on from the person's last adapter, is held near it, and sees some older records again (PESO,
arXiv:2510.25093). Only what foresees the newest records no worse than the version before is kept as an adapter; that
it was tried is kept either way, as a :data:`LESSON` without weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson

from idiolect.adaptation.shared.attach import KIND
from idiolect.adaptation.shared.examples import split
from idiolect.adaptation.shared.playback import Played
from idiolect.prompting.shared.learnt import due
from idiolect.prompting.shared.replay import answered
from idiolect.trainable import Trained
from idiolect.types import Artifact, Body, Record, User

LESSON = "adapter_lesson"
"""Artifacts that say what was tried: from which adapter, on which records, with which held-out losses."""
DAY = 86400.0
_LEAST_HELD = 4


@dataclass(frozen=True)
class Lesson:
    """What one person's training learns: ``learnt`` holds new and replayed records, ``held`` the newest ones."""

    learnt: Sequence[Record]
    held: Sequence[Record]
    since: tuple[float, str]
    """Time and id of the oldest record that counts as learnt from; what is older was passed over."""
    replayed: int = 0
    before: Artifact | None = None
    """The person's adapter that it goes on from; none where it begins anew."""
    begins: Artifact | None = None
    """The adapter of everybody that one which begins anew begins from."""
    playback: Mapping[str, int] = field(default_factory=dict)
    """What became of the instructions for texts that answer nothing: how many were made, malformed, copied."""

    @property
    def records(self) -> list[Record]:
        """All that is read, what is held out last."""
        return [*self.learnt, *self.held]

    @property
    def start(self) -> Body | None:
        """The weights that training begins with; none for no change of the model."""
        origin = self.before or self.begins
        return None if origin is None else origin.body

    @property
    def rests_on(self) -> list[str]:
        """Ids of all records that shape the adapter: also those that the one before came from; the held out last."""
        now = [record.id for record in self.records]
        return [*(rid for rid in _ids(self.before) if rid not in set(now)), *now]

    @property
    def people(self) -> tuple[str, ...]:
        """The others whose records shape it."""
        origin = self.before or self.begins
        return () if origin is None else origin.people

    def asked(self, found: Played) -> Lesson:
        """Return the same with instructions before texts that answer nothing."""
        return replace(self, learnt=found.over(self.learnt), held=found.over(self.held), playback=found.counts)

    def told(self) -> dict[str, Any]:
        """Return what the payload of an adapter and of a lesson say of where it comes from."""
        origin = self.before or self.begins
        more = {"playback": dict(self.playback)} if self.playback else {}
        return {
            "from": "" if origin is None else origin.id, "new": len(self.records) - self.replayed,
            "replayed": self.replayed, "withheld": len(self.held), "since": list(self.since), **more,
        }  # fmt: skip

    def no_worse(self, made: Trained) -> bool:
        """Whether some pass foresaw what is held out no worse than the adapter that training went on from."""
        return self.before is None or not made.held or min(made.held[1:], default=math.inf) <= made.held[0]


@dataclass(frozen=True)
class Course:
    """How a person's lessons follow each other; the fields are the settings of the methods that have them."""

    newest: int
    hold_out: float
    least: int
    onward: bool
    replay: float
    half_life: float
    span: int
    seed: int

    def goes_on(self, before: Artifact | None) -> bool:
        """Whether the next training goes on from an adapter: one that rests on too many records is begun anew."""
        return self.onward and before is not None and len(before.record_ids) + self.newest <= self.span

    def first(
        self, user: User, before: Artifact | None, tried: Artifact | None, begins: Artifact | None = None
    ) -> Lesson | None:
        """Return the newest records, to begin from nothing or from everybody's adapter.

        ``None`` for too few, or where the same were tried and an adapter is there.
        """
        found = answered(user)
        records = found[max(0, len(found) - self.newest) :]
        if len(records) < self.least:
            return None
        lesson = Lesson(*split(records, self.hold_out), _place(records[0]), begins=begins)
        same = tried is not None and list(tried.record_ids) == [record.id for record in lesson.records]
        return None if before is not None and same else lesson

    def next(self, user: User, before: Artifact, tried: Artifact | None) -> Lesson | None:
        """Return what has come since an adapter, and older records again; ``None`` where too few are untried.

        What a lesson that does not serve was on (it was refused, or rolled back) does not count as come since.
        """
        told = orjson.loads(before.payload)
        withheld = set(before.record_ids[len(before.record_ids) - told["withheld"] :])
        known, since = {*before.record_ids} - withheld, tuple(told["since"])
        found = answered(user)
        new = [r for r in found if r.id in withheld or (r.id not in known and _place(r) > since)]
        if len({r.id for r in new} - withheld - {*_ids(tried)}) < self.least:
            return None
        kept = new[max(0, len(new) - self.newest) :]
        learnt, held = self._split(kept)
        taken = {record.id for record in new}
        again = self._again([r for r in found if r.id not in taken], self.newest - len(kept), kept[-1].time)
        since = since if len(kept) == len(new) else _place(kept[0])
        return Lesson(sorted([*again, *learnt], key=_place), held, since, len(again), before)

    def _split(self, new: Sequence[Record]) -> tuple[list[Record], list[Record]]:
        # A tenth of the few records that have come would be one or two: too few to compare versions on.
        least = min(_LEAST_HELD, len(new) // 3) if self.hold_out else 0
        cut = len(new) - max(int(len(new) * self.hold_out), least)
        return list(new[:cut]), list(new[cut:])

    def _again(self, older: Sequence[Record], most: int, now: float) -> list[Record]:
        """Draw a part of the older records, each half as likely for every half-life that it is older."""
        count = max(0, min(most, round(self.replay * len(older))))
        age = np.array([(now - record.time) / DAY for record in older])
        noise = np.random.default_rng((self.seed, len(older))).gumbel(size=len(older))
        best = np.argsort(age * math.log(2) / self.half_life - noise, kind="stable")[:count]
        return [older[int(n)] for n in best]


def lesson_of(lesson: Lesson, made: Trained, adapter: Artifact, kept: bool, records: int) -> Artifact:
    """Return what a training was on and what came of it, for a person with so many records."""
    told = {"records": records, **lesson.told(), "held": made.held, "served": adapter.id if kept else ""}
    return Artifact.new(
        adapter.user_id, LESSON, method=adapter.method, settings=adapter.settings, payload=orjson.dumps(told),
        record_ids=[record.id for record in lesson.records], time=adapter.time, base_model=adapter.base_model,
        people=adapter.people,
    )  # fmt: skip


def tried_last(user: User, method: str, settings: Mapping[str, Any], base_model: str) -> Artifact | None:
    """Return the lesson that was tried last for a model, whether it serves or not."""
    mine = _own(user, method, settings)
    return next((a for a in mine if a.kind == LESSON and a.base_model == base_model), None)


def is_due(user: User, method: str, settings: Mapping[str, Any], least: int, refresh: int) -> bool:
    """Whether a person has no adapter yet but enough records, or ``refresh`` have come since one was tried.

    A version that was rolled back was tried: its lesson is still there.
    """
    mine = [a for a in _own(user, method, settings) if a.kind in (KIND, LESSON)]
    if not any(a.kind == KIND for a in mine):
        return user.count >= least
    return due(user, int(orjson.loads(mine[0].payload)["records"]), refresh)


def _own(user: User, method: str, settings: Mapping[str, Any]) -> Iterable[Artifact]:
    return (a for a in user.artifacts if a.method == method and a.user_id == user.id and a.settings == settings)


def _place(record: Record) -> tuple[float, str]:
    return record.time, record.id


def _ids(artifact: Artifact | None) -> tuple[str, ...]:
    return () if artifact is None else artifact.record_ids
