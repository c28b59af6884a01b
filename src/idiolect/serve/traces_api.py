"""Answers that were given: why each came out so, what the person says of it, and what is still to be learnt."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from idiolect.errors import InputError, NotFound, UnknownName
from idiolect.memory.feedback import Feedback
from idiolect.serve import bodies
from idiolect.serve.bodies import reply
from idiolect.serve.state import State, state_of
from idiolect.serve.users_api import record_json
from idiolect.store.finishing import queue as count_queue

_THUMBS = {"up": 1.0, "down": -1.0}
_SAID = ("rating", "comment", "edit", "drafts", "chosen")


async def trace(request: Request) -> Response:
    """GET /v1/traces/{trace}."""
    return reply(await _own(request, state_of(request)))


async def influence(request: Request) -> Response:
    """POST /v1/traces/{trace}/influence: drops each used thing in turn and measures the answer's log likelihood."""
    state = state_of(request)
    found = await _own(request, state)
    effects = await state.engine.run(state.idiolect.influence, found["id"])
    return reply({"object": "list", "data": [asdict(effect) for effect in effects]})


async def feedback(request: Request) -> Response:
    """POST /v1/traces/{trace}/feedback: a rating, a comment, the person's own version, or a choice among drafts.

    The body is ``{"rating": "up", "down" or -1..1, "comment": "...", "edit": "...", "drafts": ["..."], "chosen": 0}``
    with at least one of them. Durable when answered, and learnt from in the background.
    """
    state = state_of(request)
    found = await _own(request, state)
    said = _feedback(bodies.parse_object(await bodies.read(request, state.max_body)))
    return reply(record_json(await state.engine.run(state.idiolect.feedback, found["id"], said)), 201)


async def queue(request: Request) -> Response:
    """GET /v1/queue: how many turns of all users wait to be learnt from; administrators only."""
    request.scope["caller"].check_admin()
    state = state_of(request)
    return reply(asdict(await state.engine.run(count_queue, state.idiolect.store)))


def _feedback(body: dict[str, Any]) -> Feedback:
    for name in body:
        if name not in _SAID:
            raise UnknownName("field of a feedback", name, _SAID)
    rating, drafts, chosen = body.get("rating"), body.get("drafts") or [], body.get("chosen")
    rating = _THUMBS.get(rating, rating) if isinstance(rating, str) else rating
    if rating is not None and (isinstance(rating, bool) or not isinstance(rating, int | float)):
        raise InputError('\'rating\' must be "up", "down" or a number from -1 to 1')
    if not isinstance(drafts, list) or not all(isinstance(draft, str) for draft in drafts):
        raise InputError("'drafts' must be a list of texts")
    if chosen is not None and (isinstance(chosen, bool) or not isinstance(chosen, int)):
        raise InputError("'chosen' must be a position in 'drafts', from 0 on")
    comment, edit = (_text(body, name) for name in ("comment", "edit"))
    return Feedback(None if rating is None else float(rating), comment, edit, tuple(drafts), chosen)


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{name!r} must be text")
    return (value or "").strip()


async def _own(request: Request, state: State) -> dict[str, Any]:
    """Return the trace; for a key bound to another user there is no such trace."""
    wanted, user = str(request.path_params["trace"]), request.scope["caller"].user
    found = await state.engine.run(state.idiolect.trace, wanted)
    if user and found["user"] != user:
        raise NotFound(f"no trace {wanted!r}; traces of erased users are gone, and old ones are dropped")
    return found
