"""From a trace and what the person says of its answer to the record that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from idiolect.errors import InputError
from idiolect.memory import gate
from idiolect.memory.feedback import Feedback, record_of
from idiolect.types import Call, Record, User

_LOOKED_AT = 20


def rated(trace: Mapping[str, Any], said: Feedback, user: User, now: float) -> Record:
    """Return the record of a feedback on a trace's answer; the one that is there where the same was said before.

    The question is the last user message as the client sent it. Secrets are taken out. Raises :class:`InputError`
    where the feedback says nothing, cannot be, or speaks of what the person wants never to be kept.
    """
    said.check()
    question, answer = Call(tuple(trace["base"])).query, str(trace["answer"])
    if gate.unwanted("\n".join((question, answer, *_texts(said))), user.wishes):
        raise InputError("not kept: it speaks of what the person wants never to be kept")
    plain = replace(
        said, comment=_clean(said.comment), edit=_clean(said.edit), drafts=tuple(_clean(text) for text in said.drafts)
    )
    new = record_of(user.id, _clean(question), _clean(answer), plain, time=now, trace=str(trace["id"]))
    before = (hit.record for hit in user.search(question, _LOOKED_AT, kinds=("preference",)))
    return next((r for r in before if r.source == new.source and r.output == new.output and r.meta == new.meta), new)


def _texts(said: Feedback) -> tuple[str, ...]:
    return (said.comment, said.edit, *said.drafts)


def _clean(text: str) -> str:
    return gate.without_secrets(text)[0]
