"""Trained adapters as artifacts."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from idiolect.adaptation.shared.attach import KIND, shaping
from idiolect.trainable import Example, Trainable, Trained
from idiolect.types import EVERYONE, Artifact, Backend, Context, Record, User

Asked = dict[str, tuple[User, list[Record]]]
"""Who is in training, and on which records."""


def trainable(model: Backend) -> Trainable:
    """Return the model as what it is to those whose ``fit_needs`` names ``training``."""
    return cast("Trainable", model)


def adapter_artifact(
    made: Trained, owner: str, method: str, settings: Mapping[str, Any], ctx: Context, records: Iterable[Record],
    told: Mapping[str, Any], people: Iterable[str] = (), rests_on: Sequence[str] | None = None,
) -> Artifact:  # fmt: skip
    """Return a trained adapter as an artifact; ``told`` is what its payload says beside losses and sizes.

    It rests on the records it was trained on unless ``rests_on`` names more; one that belongs to everyone names
    ``people`` and no records.
    """
    read = list(records)
    head = {
        "losses": made.losses, "held": made.held, "steps": made.steps, "tokens": made.tokens, "bytes": made.body.size,
        **told,
    }  # fmt: skip
    ids = [record.id for record in read] if rests_on is None else rests_on
    return Artifact.new(
        owner, KIND, method=method, settings=settings, payload=orjson.dumps(head),
        record_ids=() if owner == EVERYONE else ids, time=max(record.time for record in read),
        base_model=ctx.model.fingerprint, people=people, body=made.body,
    )  # fmt: skip


@dataclass
class Lesson:
    """What people teach one adapter: what is learnt, what is held out, and the records that both come from."""

    people: list[User] = field(default_factory=list)
    learnt: list[Example] = field(default_factory=list)
    held: list[Example] = field(default_factory=list)
    read: list[Record] = field(default_factory=list)

    @property
    def givers(self) -> set[str]:
        """Whose records these are."""
        return {record.user_id for record in self.read}

    def artifact(
        self, made: Trained, method: str, settings: Mapping[str, Any], ctx: Context, told: Mapping[str, Any]
    ) -> Artifact:  # fmt: skip
        """Return the adapter as everybody's; it goes with anybody who taught it, or what lies under it."""
        people = self.givers | shaping(self.people[0], (one.call for one in (*self.learnt, *self.held)))
        return adapter_artifact(made, EVERYONE, method, settings, ctx, self.read, told, people)


def told_of(ctx: Context, users: Iterable[User], asked: Asked, epochs: int) -> Callable[[int], None] | None:
    """Return what tells of progress: records learnt from, over all passes, and how many there are to learn from.

    How many records those have who were not read yet is guessed from those who were.
    """
    if ctx.progress is None:
        return None
    tell, total = ctx.progress, operator.length_hint(users, 1)
    learnt, seen, records = 0, set[str](), 0

    def progress(count: int) -> None:
        nonlocal learnt, records
        learnt += count
        records += sum(len(asked[name][1]) for name in asked.keys() - seen)
        seen.update(asked)
        whole = records * epochs / max(1, len(seen)) * max(total, len(seen))
        tell(learnt, max(learnt, round(whole)))

    return progress
