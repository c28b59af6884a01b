"""Why an answer came out so: its trace, and how much each thing in it mattered."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from idiolect.errors import NotFound
from idiolect.serve.bodies import reply
from idiolect.serve.state import State, state_of


async def trace(request: Request) -> Response:
    """GET /v1/traces/{trace}."""
    return reply(await _own(request, state_of(request)))


async def influence(request: Request) -> Response:
    """POST /v1/traces/{trace}/influence: drops each used thing in turn and measures the answer's log likelihood."""
    state = state_of(request)
    found = await _own(request, state)
    effects = await state.engine.run(state.idiolect.influence, found["id"])
    return reply({"object": "list", "data": [asdict(effect) for effect in effects]})


async def _own(request: Request, state: State) -> dict[str, Any]:
    """Return the trace; for a key bound to another user there is no such trace."""
    wanted, user = str(request.path_params["trace"]), request.scope["caller"].user
    found = await state.engine.run(state.idiolect.trace, wanted)
    if user and found["user"] != user:
        raise NotFound(f"no trace {wanted!r}; traces of erased users are gone, and old ones are dropped")
    return found
