"""The API over what is known of what serves each user, and over consent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from idiolect.config import spec_of
from idiolect.errors import InputError
from idiolect.evidence.account import account
from idiolect.serve import bodies
from idiolect.serve.bodies import reply
from idiolect.serve.state import State, state_of
from idiolect.serve.users_api import check_known, user_in
from idiolect.store.sharing import share, shares
from idiolect.store.view import StoredUser


async def evidence(request: Request) -> Response:
    """GET /v1/users/{user}/evidence: which method serves the user, what each gained on their own latest records."""
    state, user = state_of(request), user_in(request)
    return reply(await state.engine.run(_account, state, user))


async def measure(request: Request) -> Response:
    """POST /v1/users/{user}/evidence measures now, and answers once it is done; it costs many scored prompts."""
    state, user = state_of(request), user_in(request)
    return reply(await state.engine.run(_measure, state, user))


async def consent(request: Request) -> Response:
    """GET /v1/users/{user}/consent: whether the user's records may serve other people."""
    state, user = state_of(request), user_in(request)
    return reply(await state.engine.run(_consent, state, user))


async def put_consent(request: Request) -> Response:
    """PUT /v1/users/{user}/consent with ``{"shares": true}``; a withdrawal deletes what was learnt with the records."""
    state, user = state_of(request), user_in(request)
    body: Mapping[str, Any] = bodies.parse_object(await bodies.read(request, state.max_body))
    wanted = body.get("shares")
    if not isinstance(wanted, bool):
        raise InputError('the body must be {"shares": true} or {"shares": false}')
    gone = await state.engine.run(share, state.idiolect.store, user, wanted)
    return reply({"user": user, "shares": wanted, "artifacts_deleted": gone})


def _account(state: State, user: str) -> dict[str, Any]:
    check_known(state, user)
    house = state.idiolect
    return account(spec_of(house.settings.methods, "auto"), StoredUser(house.store, user), house.backend.fingerprint)


def _measure(state: State, user: str) -> dict[str, Any]:
    check_known(state, user)
    state.idiolect.prove(spec_of(state.idiolect.settings.methods, "auto"), [user])
    return _account(state, user)


def _consent(state: State, user: str) -> dict[str, Any]:
    check_known(state, user)
    return {"user": user, "shares": shares(state.idiolect.store, user)}
