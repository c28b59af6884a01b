"""A finished turn as it waits to be learnt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from idiolect.types import Learnt, State, Turn


def use_of(turn: Turn) -> Learnt:
    """Return the use that an answer made of records."""
    return Learnt(states={rid: State(1, turn.time) for rid in turn.used})


def plain_turn(turn: Turn, methods: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a turn, and the methods that are to learn from it, as a JSON value."""
    return {
        "messages": list(turn.messages), "answer": turn.answer, "time": turn.time, "session": turn.session,
        "trace": turn.trace_id, "used": list(turn.used), "methods": list(methods),
    }  # fmt: skip


def dump(plainly: Mapping[str, Any]) -> bytes:
    """Return a JSON document; what a client put into a message that is no JSON value stands as its text."""
    return orjson.dumps(plainly, default=str)


def read_turn(plainly: Mapping[str, Any]) -> tuple[Turn, list[str | dict[str, Any]]]:
    """Inverse of :func:`plain_turn`."""
    p = plainly
    turn = Turn(tuple(p["messages"]), p["answer"], p["time"], p["session"], p["trace"], tuple(p["used"]))
    return turn, list(p["methods"])
