"""Ranges of bytes from the network, each transfer able to go on where it stopped."""

from __future__ import annotations

import base64
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from idiolect.errors import ModelError

_CHUNK = 1 << 20
_TAIL = 1 << 16
_TIMEOUT = 60.0  # [s] of silence

Tick = Callable[[int], None]
"""Called with the number of bytes that just arrived."""


class Unreachable(ModelError):
    """Nobody answered, or the transfer broke off; trying again goes on where it stopped."""


class Missing(ModelError):
    """The server answered, but has no such file."""


@dataclass(frozen=True)
class Web:
    """Fetches over HTTP(S) and from ``file:`` addresses; ``certificate`` is a file of trusted authorities."""

    certificate: str = ""

    def text(self, url: str, accept: str) -> tuple[str, str, str]:
        """Return ``(body, content type, final address)`` of a small page."""
        with self._open(url, {"Accept": accept}) as response:
            body = self._read(response, url, -1)
            return body.decode("utf-8", "replace"), response.headers.get_content_type(), response.url

    def tail(self, url: str, size: int = _TAIL) -> tuple[bytes, int]:
        """Return the last ``size`` bytes (or all) of ``url``, and its length."""
        with self._open(url, {"Range": f"bytes=-{size}"}) as response:
            body, total = b"", 0
            while piece := self._read(response, url, _CHUNK):  # a server without ranges sends everything
                total += len(piece)
                body = (body + piece)[-size:]
            span = response.headers.get("Content-Range", "")
            return body, int(span.rpartition("/")[2]) if response.status == 206 else total

    def range(self, url: str, start: int, size: int) -> Iterator[bytes]:
        """Yield ``size`` bytes from ``start``; :class:`Unreachable` when they break off."""
        if size == 0:
            return
        with self._open(url, {"Range": f"bytes={start}-{start + size - 1}"}) as response:
            skip, left = (0 if response.status == 206 else start), size
            while left > 0:
                piece = self._read(response, url, min(_CHUNK, left + skip))
                if not piece:
                    raise Unreachable(f"{host_of(url)} broke off the transfer")
                dropped = min(skip, len(piece))
                skip -= dropped
                left -= len(piece) - dropped
                yield piece[dropped:]

    def save(self, url: str, start: int, size: int, path: Path, tick: Tick) -> None:
        """Append to ``path`` until it holds those ``size`` bytes of ``url``; what is there already is kept."""
        have = path.stat().st_size if path.exists() else 0
        if have > size:
            path.unlink()
            have = 0
        tick(have)
        with path.open("ab") as file:
            for piece in self.range(url, start + have, size - have):
                file.write(piece)
                tick(len(piece))

    def size_and_sha256(self, url: str) -> tuple[int, str]:
        """Return a file's length and, where the hub names it, its sha256 (else an empty text)."""
        seen = _SeenHashes()
        with self._open(url, {"Range": "bytes=0-0"}, seen) as response:
            span = response.headers.get("Content-Range", "")
            length = span.rpartition("/")[2] if response.status == 206 else response.headers.get("Content-Length", "")
            digest = (seen.etag or response.headers.get("X-Linked-Etag", "")).strip('"')
        if not length.isdigit():
            raise Missing(f"{host_of(url)} does not say how long {urlsplit(url).path} is")
        return int(length), digest if re.fullmatch(r"[0-9a-f]{64}", digest) else ""

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificate or None)

    def _open(self, url: str, headers: dict[str, str], *handlers: urllib.request.BaseHandler) -> Any:
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=self._trusted), *handlers)
        plain, login = without_login(url)
        request = urllib.request.Request(plain, headers={"User-Agent": "idiolect", **headers})
        for name, value in login.items():
            request.add_unredirected_header(name, value)  # a login never travels to another host
        try:
            return opener.open(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            error.close()
            kind = Missing if error.code in (401, 403, 404, 410) else Unreachable
            raise kind(f"{host_of(url)} answered {error.code} for {urlsplit(url).path}") from error
        except (OSError, HTTPException) as error:
            raise Unreachable(f"{host_of(url)} cannot be reached ({_reason(error)})") from error

    def _read(self, response: Any, url: str, size: int) -> bytes:
        try:
            return bytes(response.read(size))
        except (OSError, HTTPException) as error:
            raise Unreachable(f"{host_of(url)} broke off the transfer ({type(error).__name__})") from error


class _SeenHashes(urllib.request.HTTPRedirectHandler):
    # The hub names the sha256 on the answer that redirects to its storage.
    etag = ""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.etag = self.etag or headers.get("X-Linked-Etag", "")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def host_of(url: str) -> str:
    """Return the host of an address, without a login; the scheme where it has none."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or parts.scheme


def without_login(url: str) -> tuple[str, dict[str, str]]:
    """Return the address without its login, and the header that carries the login instead."""
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    if not login:
        return url, {}
    token = base64.b64encode(unquote(login).encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {token}"}


def with_login(url: str, like: str) -> str:
    """Return ``url`` with the login of ``like`` where both have the same host."""
    login = urlsplit(like).netloc.rpartition("@")[0]
    if not login or host_of(url) != host_of(like):
        return url
    return urlunsplit(urlsplit(url)._replace(netloc=f"{login}@{host_of(url)}"))


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return reason if isinstance(reason, str) else getattr(reason, "strerror", None) or type(reason).__name__
