"""The API over what is kept of what each user said, and their control over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from idiolect import control
from idiolect.control import Kept, Written
from idiolect.errors import InputError
from idiolect.serve import bodies
from idiolect.serve.bodies import reply
from idiolect.serve.state import State, state_of
from idiolect.serve.users_api import (
    MAX_HITS,
    MAX_PAGE,
    PAGE,
    check_known,
    moment,
    number,
    record_json,
    segment,
    user_in,
)
from idiolect.store.forget import forget
from idiolect.store.states import wishes_of
from idiolect.types import Wishes

_MARKS = ("pinned", "holds")


async def memories(request: Request) -> Response:
    """GET /v1/users/{user}/memories?q=&k=&all=&as_of=&after=&limit=: what holds, oldest first; with q the best first.

    ``all=true`` also gives what no longer holds, ``as_of`` what held then.
    """
    state, user = state_of(request), user_in(request)
    query, everything, as_of = request.query_params.get("q"), _flag(request, "all"), moment(request, "as_of")
    store, now = state.idiolect.store, state.idiolect.clock()
    if query is not None:
        k = number(request, "k", 10, MAX_HITS)
        best = await state.engine.run(control.search, store, user, query, k, now, everything=everything)
        return reply({"object": "list", "data": [_json(kept, now) for kept in best], "next": None})
    after, limit = number(request, "after", 0, 1 << 31), number(request, "limit", PAGE, MAX_PAGE)
    found = await state.engine.run(control.memories, store, user, now, as_of=as_of, everything=everything)
    following = after + limit if after + limit < len(found) else None
    data = [_json(kept, now if as_of is None else as_of) for kept in found[after : after + limit]]
    return reply({"object": "list", "data": data, "next": following})


async def one_memory(request: Request) -> Response:
    """GET /v1/users/{user}/memories/{record}: with the exchanges it came from and what replaced what."""
    state, user = state_of(request), user_in(request)
    return reply(await state.engine.run(_told, state, user, segment(request, "record")))


async def add_memory(request: Request) -> Response:
    """POST /v1/users/{user}/memories with ``{"text": ...}``: kept as if it had been said, closing what it contradicts.

    201 for a new memory, 200 for one that is known already.
    """
    state, user = state_of(request), user_in(request)
    house, text = state.idiolect, await _text(request, state)
    written = await state.engine.run(control.add, house.store, user, text, house.context())
    return _written(written, house.clock(), 201 if written.new else 200)


async def correct_memory(request: Request) -> Response:
    """PUT /v1/users/{user}/memories/{record} with ``{"text": ...}``: a new memory, with another id, closes this one."""
    state, user, wanted = state_of(request), user_in(request), segment(request, "record")
    house, text = state.idiolect, await _text(request, state)
    written = await state.engine.run(control.correct, house.store, user, wanted, text, house.context())
    return _written(written, house.clock(), 200, replaces=wanted)


async def mark_memory(request: Request) -> Response:
    """PATCH /v1/users/{user}/memories/{record} with ``{"pinned": true}`` or ``{"holds": false}``, or their contrary."""
    state, user, wanted = state_of(request), user_in(request), segment(request, "record")
    body = bodies.parse_object(await bodies.read(request, state.max_body))
    if not body or not all(name in _MARKS and isinstance(value, bool) for name, value in body.items()):
        raise InputError('the body must be {"pinned": true or false, "holds": true or false}, or one of them')
    return reply(await state.engine.run(_mark, state, user, wanted, body))


async def forget_memory(request: Request) -> Response:
    """DELETE /v1/users/{user}/memories/{record}: for good, with the exchanges it was said in and all that was derived.

    Names the records and artifacts that went, and counts traces and waiting turns.
    """
    state, user, wanted = state_of(request), user_in(request), segment(request, "record")
    return reply(await state.engine.run(_forget, state, user, wanted))


async def wishes(request: Request) -> Response:
    """GET /v1/users/{user}/wishes: the topics and words that are not brought up, and what is never to be kept."""
    state, user = state_of(request), user_in(request)
    return reply(_wishes(user, await state.engine.run(_known_wishes, state, user)))


async def set_wishes(request: Request) -> Response:
    """PUT /v1/users/{user}/wishes with ``{"muted": [...], "never": [...]}``; a list that is left out stays as it is."""
    state, user = state_of(request), user_in(request)
    body = bodies.parse_object(await bodies.read(request, state.max_body))
    for name, value in body.items():
        if name not in ("muted", "never") or not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise InputError('the body must be {"muted": ["..."], "never": ["..."]}')
    return reply(_wishes(user, await state.engine.run(_set_wishes, state, user, body)))


def _json(kept: Kept, now: float) -> dict[str, Any]:
    return {**record_json(kept.record), **kept.about(now)}


def _written(written: Written, now: float, status: int, **more: Any) -> Response:
    about = {**_json(written.kept, now), "new": written.new, "closed_ids": list(written.closed)}
    return reply({**about, "artifacts": list(written.artifacts), **more}, status)


def _told(state: State, user: str, wanted: str) -> dict[str, Any]:
    store, now = state.idiolect.store, state.idiolect.clock()
    kept = control.memory(store, user, wanted)
    told = control.story(store, user, kept)
    return {
        **_json(kept, now), "sources": [record_json(record) for record in told.sources],
        "replaces": [_json(one, now) for one in told.replaces],
        "replaced_by": [_json(one, now) for one in told.replaced_by],
    }  # fmt: skip


def _mark(state: State, user: str, wanted: str, marks: Mapping[str, bool]) -> dict[str, Any]:
    store, now = state.idiolect.store, state.idiolect.clock()
    if "pinned" in marks:
        control.pin(store, user, wanted, marks["pinned"])
    gone: tuple[str, ...] = ()
    if marks.get("holds") is False:
        _, gone = control.close(store, user, wanted, now)
    elif marks.get("holds"):
        control.reopen(store, user, wanted)
    return {**_json(control.memory(store, user, wanted), now), "artifacts": list(gone)}


def _forget(state: State, user: str, wanted: str) -> dict[str, Any]:
    control.memory(state.idiolect.store, user, wanted)
    state.idiolect.drain()  # what was just answered is written down first, or it would come after
    gone = forget(state.idiolect.store, user, wanted)
    state.idiolect.let_go(gone.artifacts)
    return {"id": wanted, "deleted": True, **gone.as_json()}


def _known_wishes(state: State, user: str) -> Wishes:
    check_known(state, user)
    return wishes_of(state.idiolect.store, user)


def _set_wishes(state: State, user: str, body: Mapping[str, list[str]]) -> Wishes:
    store = state.idiolect.store
    before = wishes_of(store, user)
    wanted = Wishes(tuple(body.get("muted", before.muted)), tuple(body.get("never", before.never)))
    return control.put_wishes(store, user, wanted)


def _wishes(user: str, found: Wishes) -> dict[str, Any]:
    return {"user": user, "muted": list(found.muted), "never": list(found.never)}


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "false")
    if text not in ("true", "false"):
        raise InputError(f"{name} must be true or false, got {text!r:.40}")
    return text == "true"


async def _text(request: Request, state: State) -> str:
    body: Mapping[str, Any] = bodies.parse_object(await bodies.read(request, state.max_body))
    text = body.get("text")
    if not isinstance(text, str) or not text.strip():
        raise InputError('the body must be {"text": "..."}')
    return text.strip()
