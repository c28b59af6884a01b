"""The asynchronous half of the OpenAI-compatible backend: one keep-alive client with careful retries."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from idiolect.errors import InputError, UpstreamError

if TYPE_CHECKING:
    import aiohttp

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_STATELESS_PATHS = ("/chat/completions", "/completions", "/embeddings")
"""Paths where a second execution leaves no trace at the endpoint."""
_AGENT = ("User-Agent", "idiolect")
_BUSY = frozenset({429, 503})

Headers = Iterable[tuple[str, str]]


class Client:
    """Requests to one base address, with one connection pool for each event loop.

    A pool belongs to the loop that made it: the server forwards on its own loop, :class:`OpenAIBackend` works on a
    thread of its own. ``timeout`` is the longest silence in seconds.
    """

    def __init__(self, base_url: str, api_key: str, *, timeout: float, retries: int, retry_after_cap: float) -> None:
        self.base_url = base_url.rstrip("/")
        self._api_key, self._timeout = api_key, timeout
        self._retries, self._retry_after_cap = retries, retry_after_cap
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}

    async def aclose(self) -> None:
        """Close the pool of the running loop, and forget those whose loops are gone."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        self._sessions = {loop: open_ for loop, open_ in self._sessions.items() if not loop.is_closed()}
        if session is not None:
            await session.close()

    async def forward(
        self, method: str, path: str, body: bytes, headers: Headers
    ) -> tuple[int, list[tuple[str, str]], AsyncIterator[bytes]]:
        """Send bytes untouched; return the status, the headers and the bytes of the answer as they come.

        The iterator must be read to its end or closed with ``aclose()``. Raises :class:`UpstreamError` where there is
        no answer; an answer with an error status is an answer.
        """
        response = await self.open(method, path, body, _passed_on(headers))
        return response.status, _passed_on(response.headers.items()), self._body(response)

    async def post(self, path: str, payload: Mapping[str, Any]) -> bytes:
        """Send JSON and return the answer's bytes; an error status raises :class:`UpstreamError` with them."""
        async with await self._open_json(path, payload) as response:
            return await self._read(response)

    async def events(self, path: str, payload: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """Yield the data of each server-sent event until ``[DONE]`` or the end."""
        async with await self._open_json(path, payload) as response:
            async for data in _events(self._body(response)):
                if data == b"[DONE]":
                    return
                yield data

    async def open(self, method: str, path: str, body: bytes, headers: Headers) -> aiohttp.ClientResponse:
        """Return the response with its headers read; retry only what cannot have been executed or leaves no trace."""
        import aiohttp

        method, session = method.upper(), self._session()
        url, sent = self._url(path), self._headers(headers)
        again = method in _SAFE_METHODS or path.split("?")[0].endswith(_STATELESS_PATHS)
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                response = await session.request(method, url, data=body or None, headers=sent, allow_redirects=False)
            except aiohttp.ClientConnectorError as error:
                if last:
                    raise self._unreachable(error) from error
                pause = _backoff(attempt)
            except TimeoutError as error:
                raise UpstreamError(f"{self.base_url} was silent for {self._timeout:g} s", 504) from error
            except aiohttp.ClientError as error:
                if last or not again:
                    raise self._unreachable(error) from error
                pause = _backoff(attempt)
            else:
                wait = _retry_after(response.headers.get("Retry-After"), _backoff(attempt))
                if response.status not in _BUSY or last or wait > self._retry_after_cap:
                    return response
                response.release()
                pause = wait
            await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _open_json(self, path: str, payload: Mapping[str, Any]) -> aiohttp.ClientResponse:
        headers = [("Content-Type", "application/json"), ("Accept-Encoding", "identity"), _AGENT]
        response = await self.open("POST", path, orjson.dumps(payload), headers)
        if response.status < 400:
            return response
        async with response:
            raise UpstreamError(
                f"{self.base_url} answered with status {response.status}", response.status, await self._read(response)
            )

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        return b"".join([piece async for piece in self._body(response)])

    async def _body(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        import aiohttp

        try:
            async for piece in response.content.iter_any():
                yield piece
        except TimeoutError as error:
            raise UpstreamError(f"{self.base_url} fell silent for {self._timeout:g} s in its answer", 504) from error
        except aiohttp.ClientError as error:
            raise UpstreamError(f"{self.base_url} broke off its answer ({type(error).__name__})") from error
        finally:
            response.close()

    def _session(self) -> aiohttp.ClientSession:
        import aiohttp

        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None or session.closed:
            session = self._sessions[loop] = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=min(10.0, self._timeout), sock_read=self._timeout
                ),
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                skip_auto_headers=("Accept-Encoding", "Content-Type", "User-Agent"),
            )
        return session

    def _url(self, path: str) -> Any:
        from yarl import URL

        if not path.startswith("/") or ".." in path.split("?")[0].replace("%2e", ".").replace("%2E", ".").split("/"):
            raise InputError(f"{path!r} is not a path below {self.base_url}")
        return URL(self.base_url + path, encoded=True)

    def _headers(self, headers: Headers) -> list[tuple[str, str]]:
        if not self._api_key:
            return list(headers)
        kept = [(name, value) for name, value in headers if name.lower() != "authorization"]
        return [*kept, ("Authorization", f"Bearer {self._api_key}")]

    def _unreachable(self, error: Exception) -> UpstreamError:
        return UpstreamError(
            f"no answer from {self.base_url} ({type(error).__name__}). Is it running, and is base_url right?"
        )


def _passed_on(headers: Headers) -> list[tuple[str, str]]:
    pairs = list(headers)
    named = {part.strip().lower() for name, value in pairs if name.lower() == "connection" for part in value.split(",")}
    drop = _HOP_BY_HOP | named | {"host"}
    return [(name, value) for name, value in pairs if name.lower() not in drop]


def _backoff(attempt: int) -> float:
    return float(min(8.0, 0.25 * 2**attempt) * random.uniform(0.5, 1.0))


def _retry_after(value: str | None, default: float) -> float:
    if value is None:
        return default
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return default


async def _events(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the data field of each server-sent event; comments and other fields are skipped."""
    buffer, data = b"", list[bytes]()
    async for piece in pieces:
        buffer += piece
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data)
                data = []
    if buffer.startswith(b"data:"):
        data.append(buffer.rstrip(b"\r")[5:].removeprefix(b" "))
    if data:
        yield b"\n".join(data)
