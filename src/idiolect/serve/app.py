"""The server: routes, start and graceful end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from idiolect.config import Serve, Settings
from idiolect.errors import ConfigError, IdiolectError
from idiolect.pipeline import Idiolect
from idiolect.serve import (
    adapters_api,
    evidence_api,
    failures,
    imports,
    memories_api,
    openai_api,
    openapi,
    ranking_api,
    responses_api,
    traces_api,
    users_api,
)
from idiolect.serve.auth import check_bind
from idiolect.serve.bodies import reply
from idiolect.serve.guard import Guard
from idiolect.serve.metrics import CONTENT_TYPE
from idiolect.serve.state import State, state_of

if TYPE_CHECKING:
    import uvicorn

Endpoint = Callable[[Request], Any]

SWITCH_SECONDS = 0.0005

_USER = "/v1/users/{user}"
ENDPOINTS: tuple[tuple[str, str, Endpoint], ...] = (
    ("POST", "/v1/chat/completions", openai_api.chat),
    ("POST", "/v1/responses", responses_api.create),
    ("POST", "/v1/embeddings", openai_api.embeddings),
    ("POST", "/v1/completions", openai_api.completions),
    ("GET", "/v1/models", openai_api.models),
    ("GET", "/v1/models/{model:path}", openai_api.model),
    ("GET", "/v1/users", users_api.users),
    ("DELETE", _USER, users_api.erase),
    ("GET", _USER + "/export", users_api.export),
    ("POST", _USER + "/import", imports.take_import),
    ("GET", _USER + "/records", users_api.records),
    ("POST", _USER + "/records", users_api.add_records),
    ("GET", _USER + "/records/{record}", users_api.record),
    ("DELETE", _USER + "/records/{record}", users_api.delete_record),
    ("GET", _USER + "/search", users_api.search),
    ("GET", _USER + "/profile", users_api.profile),
    ("POST", _USER + "/profile", users_api.refresh_profile),
    ("DELETE", _USER + "/profile", users_api.delete_profile),
    ("GET", _USER + "/evidence", evidence_api.evidence),
    ("POST", _USER + "/evidence", evidence_api.measure),
    ("GET", _USER + "/groups", users_api.groups),
    ("PUT", _USER + "/groups", users_api.put_groups),
    ("GET", _USER + "/consent", evidence_api.consent),
    ("PUT", _USER + "/consent", evidence_api.put_consent),
    ("GET", _USER + "/memories", memories_api.memories),
    ("POST", _USER + "/memories", memories_api.add_memory),
    ("GET", _USER + "/memories/{record}", memories_api.one_memory),
    ("PUT", _USER + "/memories/{record}", memories_api.correct_memory),
    ("PATCH", _USER + "/memories/{record}", memories_api.mark_memory),
    ("DELETE", _USER + "/memories/{record}", memories_api.forget_memory),
    ("GET", _USER + "/adapters", adapters_api.adapters),
    ("DELETE", _USER + "/adapters/{adapter}", adapters_api.delete_adapter),
    ("POST", _USER + "/rank", ranking_api.rank),
    ("POST", _USER + "/choices", ranking_api.choose),
    ("GET", _USER + "/wishes", memories_api.wishes),
    ("PUT", _USER + "/wishes", memories_api.set_wishes),
    ("GET", "/v1/traces/{trace}", traces_api.trace),
    ("POST", "/v1/traces/{trace}/influence", traces_api.influence),
    ("POST", "/v1/traces/{trace}/feedback", traces_api.feedback),
    ("GET", "/v1/queue", traces_api.queue),
)


async def healthz(request: Request) -> Response:
    """GET /healthz: the process answers."""
    return reply({"status": "ok"})


async def readyz(request: Request) -> Response:
    """GET /readyz: the store can be read."""
    state = state_of(request)
    await state.engine.run(state.idiolect.store.rows.uids, 0, 1)
    return reply({"status": "ready"})


async def metrics(request: Request) -> Response:
    """GET /metrics: Prometheus; not for keys bound to one user."""
    if request.scope["caller"].user:
        request.scope["caller"].check_admin()
    return Response(state_of(request).metrics.text(), media_type=CONTENT_TYPE)


async def document(request: Request) -> Response:
    """GET /openapi.json."""
    return reply(openapi.document((method, path, endpoint) for method, path, endpoint in (*ENDPOINTS, *PLAIN)))


PLAIN: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", "/healthz", healthz),
    ("GET", "/readyz", readyz),
    ("GET", "/metrics", metrics),
    ("GET", "/openapi.json", document),
)


def create_app(idiolect: Idiolect) -> Starlette:
    """Return the ASGI application around an open library; whoever opened the library closes it."""
    state = State.of(idiolect)
    app = Starlette(
        routes=_routes(),
        middleware=[Middleware(Guard, keys=state.keys, metrics=state.metrics)],
        exception_handlers={IdiolectError: failures.on_idiolect_error, HTTPException: failures.on_http_error},
        lifespan=_lifespan,
    )
    app.router.redirect_slashes = False
    app.state.server = state
    return app


def _routes() -> list[BaseRoute]:
    ours: list[BaseRoute] = [Route(path, endpoint, methods=[method]) for method, path, endpoint in (*ENDPOINTS, *PLAIN)]
    return [*ours, Route("/v1/{path:path}", openai_api.others, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])]


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    state: State = app.state.server
    learning = asyncio.create_task(state.engine.keep_learning())
    yield
    learning.cancel()
    state.engine.close()
    if state.upstream is not None:
        await state.upstream.aclose()


def serve(
    settings: Settings,
    *,
    ask: Callable[[str], str] | None = None,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; open answers are finished first, and what they taught is kept.

    ``ask`` is called for a passphrase where the master key is ``prompt``; ``announce`` with the address, once all is
    loaded (port 0 takes a free one). Raises :class:`ConfigError` for an address that needs a key or is taken, and
    whatever opening the store or the model raises.
    """
    check_bind(settings.serve)
    with _listen(settings.serve) as listener, Idiolect.build(_with_timeout(settings), ask) as idiolect:
        idiolect.proving = settings.measure
        idiolect.backend.count_tokens("ready")  # a model that cannot be loaded is an error now, not at a request
        server = uvicorn_server(create_app(idiolect), settings.serve)
        if announce is not None:
            announce(_address(listener))
        with _own_signals():
            server.run(sockets=[listener])


def uvicorn_server(app: Starlette, options: Serve) -> uvicorn.Server:
    """Return a server for the app that writes no user data to its log."""
    import uvicorn

    # A thread that plans or learns holds the interpreter for so long before the event loop gets it; the default of
    # 5 ms is then what the slowest requests wait.
    sys.setswitchinterval(SWITCH_SECONDS)
    config = uvicorn.Config(
        app,
        loop="uvloop" if sys.platform != "win32" and find_spec("uvloop") else "asyncio",
        http="httptools",
        ws="none",
        access_log=False,  # it would write user ids and queries
        log_level="debug" if options.log_level == "trace" else options.log_level,  # trace would write paths, too
        server_header=False,
        proxy_headers=False,  # nothing here depends on the client's address
        timeout_keep_alive=75,
        timeout_graceful_shutdown=round(options.upstream_timeout),
    )
    return uvicorn.Server(config)


def _listen(options: Serve) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"cannot serve on {options.host}, port {options.port}: {error.strerror or error}. Is a server running "
            "already? Choose another port with --port"
        ) from error


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    # uvicorn raises the signal that ended it once more: let that pass, so that model and store are closed after it.
    old = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _with_timeout(settings: Settings) -> Settings:
    """Hand the server's upstream timeout to the backend that has one, unless it has its own."""
    chosen = settings.backends.get("openai", {})
    if settings.backend != "openai" or "timeout" in chosen:
        return settings
    backend = {**chosen, "timeout": settings.serve.upstream_timeout}
    return dataclasses.replace(settings, backends={**settings.backends, "openai": backend})
