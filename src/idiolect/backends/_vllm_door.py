"""Where vLLM's plugin fetches adapters: an endpoint on loopback that answers only for names that were handed out."""

from __future__ import annotations

import hmac
import os
import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson

from idiolect.errors import IdiolectError

_PATH = "/adapters/"


class Door:
    """``GET /adapters/<name>`` with a bearer token made at random; opened by the first :meth:`put`.

    Port and token lie in a file of their own (mode 0600) in the folder ``access`` (0700) for as long as it is open.
    """

    def __init__(self, access: Path) -> None:
        self._access = access
        self._reads: dict[str, Callable[[], bytes]] = {}
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._file: Path | None = None

    def put(self, name: str, read: Callable[[], bytes]) -> None:
        """Answer for a name from now on, with what ``read`` returns at the time; where it raises, with 404."""
        self._reads[name] = read
        with self._lock:
            if self._server is None:
                self._open()

    def drop(self, name: str) -> None:
        """Answer for a name no longer."""
        self._reads.pop(name, None)

    def close(self) -> None:
        """Stop answering."""
        self._reads.clear()
        with self._lock:
            server, file, self._server, self._file = self._server, self._file, None, None
        if file is not None:
            file.unlink(missing_ok=True)
        if server is not None:
            server.shutdown()
            server.server_close()

    def blob(self, name: str) -> bytes | None:
        """Return the adapter of a name, ``None`` for any other."""
        read = self._reads.get(name)
        try:
            return None if read is None else read()
        except IdiolectError:  # erased since: the store has it no more
            self.drop(name)
            return None

    def _open(self) -> None:
        token = secrets.token_urlsafe(32)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, token))
        threading.Thread(target=self._server.serve_forever, name="idiolect-adapters", daemon=True).start()
        self._access.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = self._access / f"{secrets.token_hex(8)}.json"
        draft = self._file.with_suffix(".new")
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(orjson.dumps({"port": self._server.server_port, "token": token}))
        os.replace(draft, self._file)


def _handler(door: Door, token: str) -> type[BaseHTTPRequestHandler]:
    expected = f"Bearer {token}".encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            given = (self.headers.get("Authorization") or "").encode("utf-8", "replace")
            if not hmac.compare_digest(given, expected):
                return self._answer(401, b"")
            blob = door.blob(self.path.removeprefix(_PATH)) if self.path.startswith(_PATH) else None
            return self._answer(404, b"") if blob is None else self._answer(200, blob)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response_only(status)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Write no log: names stay out of it."""

    return Handler
