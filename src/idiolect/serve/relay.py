"""Answers that are sent piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from idiolect.errors import IdiolectError
from idiolect.serve.failures import of_error
from idiolect.serve.guard import BrokenOff

EVENT_STREAM = "text/event-stream"


class Relay(Response):
    """Sends the pieces as they come. A client that goes away ends a ``streamed`` answer where it stands."""

    def __init__(
        self, status: int, headers: Sequence[tuple[str, str]], pieces: AsyncIterator[bytes], *, streamed: bool
    ) -> None:
        self.status_code, self.background, self.body = status, None, b""
        self.raw_headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self._pieces, self._streamed = pieces, streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; raises :class:`BrokenOff` where it cannot be completed."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        task, watcher = asyncio.current_task(), None
        if self._streamed and task is not None:
            watcher = asyncio.ensure_future(_gone(receive))
            watcher.add_done_callback(lambda done: done.cancelled() or task.cancel())
        try:
            await self._send_pieces(send)
        except asyncio.CancelledError:
            if watcher is None or not watcher.done() or task is None:
                raise
            task.uncancel()
            return
        finally:
            if watcher is not None:
                watcher.cancel()
            await self._pieces.aclose()  # type: ignore[attr-defined]
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_pieces(self, send: Send) -> None:
        last = b""
        try:
            async for piece in self._pieces:
                last = piece
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except IdiolectError as error:
            if not self._streamed:
                raise BrokenOff("the upstream broke off its answer") from None
            # The status is out already: a stream can still say what happened, in the form that OpenAI's clients read.
            gap = b"" if last.endswith(b"\n\n") or not last else b"\n\n"
            event = gap + b"data: " + bytes(of_error(error).body) + b"\n\n"
            await send({"type": "http.response.body", "body": event, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def teed(pieces: AsyncIterator[bytes], done: Callable[[bytes], Awaitable[None]]) -> AsyncIterator[bytes]:
    """Pass the pieces on and hand all of them to ``done`` in the end, also where the reader leaves early."""
    kept: list[bytes] = []
    try:
        async for piece in pieces:
            kept.append(piece)
            yield piece
    finally:
        await pieces.aclose()  # type: ignore[attr-defined]
        await done(b"".join(kept))


async def followed(pieces: AsyncGenerator[bytes], done: Callable[[], Awaitable[None]]) -> AsyncGenerator[bytes]:
    """Pass the pieces on and call ``done`` in the end, also where the reader leaves early."""
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
    finally:
        await done()


def event(value: bytes, name: str = "") -> bytes:
    """Return one server-sent event."""
    return (b"event: %s\n" % name.encode() if name else b"") + b"data: " + value + b"\n\n"


DONE = event(b"[DONE]")
