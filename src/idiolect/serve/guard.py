"""What every request passes first: who may ask, from where, and that no fault of ours leaves its text in a log."""

from __future__ import annotations

import functools
import re
import time

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from idiolect.serve.auth import ANYONE, Caller, Keys, is_loopback
from idiolect.serve.failures import failure, unexpected
from idiolect.serve.metrics import Metrics

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::\d+)?")
_OWN_SITE = (b"none", b"same-origin")
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Answered without a key; they tell nothing but whether the server is up."""


class BrokenOff(Exception):
    """An answer that had begun cannot be finished; the connection is closed so that the client notices."""


class Guard:
    """ASGI middleware: authentication, refusal of browsers on other sites, counting, and the last resort for faults."""

    def __init__(self, app: ASGIApp, *, keys: Keys, metrics: Metrics) -> None:
        self._app, self._keys, self._metrics = app, keys, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await (self._refuse(scope) or self._app)(scope, receive, noting)
        except BrokenOff:
            raise
        except Exception as error:  # noqa: BLE001 - logged without its text; uvicorn would print it
            answer = unexpected(error)
            if status:
                raise BrokenOff("the answer was broken off; see the line above") from None
            await answer(scope, receive, noting)
        finally:
            endpoint = getattr(scope.get("endpoint"), "__name__", "none")
            self._metrics.request(endpoint, status, time.perf_counter() - start)

    def _refuse(self, scope: Scope) -> Response | None:
        """Put the caller into the scope, or return why the request is refused."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        path: str = scope["path"]
        if path.startswith("/v1/users/"):
            # An id may hold a slash as %2F: route on the undecoded path, the endpoints decode.
            scope["path"] = scope["raw_path"].decode("ascii", "replace").split("?")[0]
        if not self._keys:
            scope["caller"] = ANYONE
            return _refuse_foreign(headers)
        caller = self._authenticate(headers)
        if caller is None and path not in OPEN_PATHS:
            return failure(
                401, "no valid API key; send one as 'Authorization: Bearer <key>'", "invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        scope["caller"] = caller or Caller()
        return None

    def _authenticate(self, headers: dict[bytes, bytes]) -> Caller | None:
        scheme, _, secret = headers.get(b"authorization", b"").partition(b" ")
        return self._keys.find(secret.strip()) if scheme.lower() == b"bearer" else None


def _refuse_foreign(headers: dict[bytes, bytes]) -> Response | None:
    """Refuse what a browser sends on behalf of another site: by cross-site request, or by a name that points here."""
    host = headers.get(b"host", b"")
    if not _is_here(host):
        return failure(403, "this host name is not localhost; without API keys no other is answered", "foreign_host")
    origin = headers.get(b"origin")
    if (origin is not None and origin != b"http://" + host) or headers.get(b"sec-fetch-site", b"none") not in _OWN_SITE:
        return failure(403, "pages of other sites may not use this server; set up an API key", "foreign_origin")
    return None


@functools.lru_cache(64)
def _is_here(host: bytes) -> bool:
    match = _HOST.fullmatch(host.decode("latin-1"))
    return match is not None and is_loopback(match[1])
