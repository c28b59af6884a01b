"""The API over the changes of the model's weights that were learnt for a user."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from idiolect.errors import NotFound
from idiolect.serve.bodies import reply
from idiolect.serve.state import State, state_of
from idiolect.serve.users_api import check_known, segment, user_in
from idiolect.store.adapters import adapters as read


async def adapters(request: Request) -> Response:
    """GET /v1/users/{user}/adapters: what was learnt into weights, the newest first; the weights are in the export."""
    state, user = state_of(request), user_in(request)
    return reply(await state.engine.run(_adapters, state, user))


async def delete_adapter(request: Request) -> Response:
    """DELETE /v1/users/{user}/adapters/{adapter}, for good; the version before it serves again."""
    state, user, wanted = state_of(request), user_in(request), segment(request, "adapter")
    return reply(await state.engine.run(_delete, state, user, wanted))


def _adapters(state: State, user: str) -> dict[str, Any]:
    check_known(state, user)
    return {"object": "list", "data": [kept.about() for kept in read(state.idiolect.store, user)]}


def _delete(state: State, user: str, wanted: str) -> dict[str, Any]:
    check_known(state, user)
    store = state.idiolect.store
    if wanted not in {kept.artifact.id for kept in read(store, user)}:
        raise NotFound(f"this user has no adapter {wanted!r:.40}")
    store.delete_artifacts(user, [wanted])
    store.rows.scrub()
    return {"id": wanted, "deleted": True}
