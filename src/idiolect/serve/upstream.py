"""Passing requests on to an OpenAI-compatible endpoint, the answer's bytes untouched."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import orjson
from starlette.datastructures import Headers
from starlette.responses import Response

from idiolect.serve.metrics import Metrics
from idiolect.serve.relay import EVENT_STREAM, Relay, teed
from idiolect.types import Adapter, Completion, text_of

_NOT_PASSED_ON = frozenset(
    {
        "accept-encoding", "content-length", "cookie", "forwarded", "host", "origin", "referer", "via", "x-real-ip",
        "x-session-id", "x-user-id",
    }
)  # fmt: skip
_PREFIXES = ("sec-fetch-", "x-forwarded-", "x-idiolect-")
_NOT_RETURNED = frozenset({"date", "server", "set-cookie"})
_ABSENT = frozenset({404, 405, 501})
_MAX_KEPT = 32 << 20
"""Bytes of an answer that are read again for the trace; a longer one is passed on but not learnt from."""


@runtime_checkable
class Forwards(Protocol):
    """A backend that can pass a request on as it is."""

    async def forward(
        self, method: str, path: str, body: bytes, headers: Iterable[tuple[str, str]], adapters: Sequence[Adapter] = ()
    ) -> tuple[int, list[tuple[str, str]], AsyncIterator[bytes]]:
        """Return status, headers and body of the answer; adapters of the call are in force for it."""

    async def aclose(self) -> None:
        """Close what :meth:`forward` opened on the running loop."""


class Upstream:
    """One endpoint behind the server. ``keyed``: the client's own key is for us and is not passed on."""

    def __init__(self, backend: Forwards, metrics: Metrics, *, keyed: bool) -> None:
        self._backend, self._metrics = backend, metrics
        self._drop = _NOT_PASSED_ON | ({"authorization", "x-api-key", "api-key"} if keyed else set())
        self.model: str = getattr(backend, "model", "")
        self.has_responses = True
        """Until the endpoint says that it has no ``/responses``."""

    async def send(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Headers,
        *,
        adapters: Sequence[Adapter] = (),
        ours: Callable[[bool], Mapping[str, str]] = lambda answered: {},
        done: Callable[[Completion], Awaitable[None]] | None = None,
    ) -> Response:
        """Send a request on and return its answer; ``ours(answered)`` are the headers to add.

        ``done`` gets what a successful answer said, once it is out. Raises :class:`UpstreamError` without an answer.
        """
        answer = await self._backend.forward(method, path, body, self._passed_on(headers), adapters)
        return self._relay(*answer, ours, done)

    async def send_if_there(
        self,
        path: str,
        body: bytes,
        headers: Headers,
        *,
        adapters: Sequence[Adapter],
        ours: Callable[[bool], Mapping[str, str]],
        done: Callable[[Completion], Awaitable[None]] | None,
    ) -> Response | None:
        """Post as :meth:`send`; ``None`` where the endpoint has no such path, and then never again."""
        status, got, pieces = await self._backend.forward("POST", path, body, self._passed_on(headers), adapters)
        if status not in _ABSENT:
            return self._relay(status, got, pieces, ours, done)
        refusal = b"".join([piece async for piece in pieces])
        if b"model" in refusal.lower():  # the path is there, the model is not
            return self._relay(status, got, _once(refusal), ours, None)
        self.has_responses = False
        return None

    def _relay(
        self,
        status: int,
        got: list[tuple[str, str]],
        pieces: AsyncIterator[bytes],
        ours: Callable[[bool], Mapping[str, str]],
        done: Callable[[Completion], Awaitable[None]] | None,
    ) -> Response:
        answered = status < 400
        if not answered:
            self._metrics.upstream_errors.labels(status).inc()
        kept = [(name, value) for name, value in got if name.lower() not in _NOT_RETURNED]
        streamed = any(n.lower() == "content-type" and v.startswith(EVENT_STREAM) for n, v in got)
        if answered and done is not None:
            pieces = teed(pieces, lambda raw: _tell(done, raw, streamed))
        return Relay(status, [*kept, *ours(answered).items()], pieces, streamed=streamed)

    def _passed_on(self, headers: Headers) -> list[tuple[str, str]]:
        kept = [(n, v) for n, v in headers.items() if n not in self._drop and not n.startswith(_PREFIXES)]
        return [*kept, ("accept-encoding", "identity")]

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._backend.aclose()


async def _once(piece: bytes) -> AsyncGenerator[bytes]:
    yield piece


async def _tell(done: Callable[[Completion], Awaitable[None]], raw: bytes, streamed: bool) -> None:
    completion = None if len(raw) > _MAX_KEPT else read_stream(raw) if streamed else read_answer(raw)
    if completion is not None:
        await done(completion)


def read_answer(raw: bytes) -> Completion | None:
    """Return what a chat completion or a response says; ``None`` where it cannot be read."""
    try:
        answer = orjson.loads(raw)
        if answer.get("object") == "response":
            return _of_response(answer)
        choice, usage = answer["choices"][0], answer.get("usage") or {}
        return Completion(
            text_of(choice["message"]), choice.get("finish_reason") or "stop",
            usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0,
        )  # fmt: skip
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _of_response(response: Mapping[str, Any]) -> Completion:
    parts = [part for item in response["output"] if item.get("type") == "message" for part in item["content"]]
    usage = response.get("usage") or {}
    text = "".join(part.get("text") or "" for part in parts if part.get("type") == "output_text")
    return Completion(text, "stop", usage.get("input_tokens") or 0, usage.get("output_tokens") or 0)


def read_stream(raw: bytes) -> Completion | None:
    """Return what the first choice of a stream said, as far as it came; ``None`` where no event can be read."""
    texts: list[str] = []
    reason, tokens_in, tokens_out, seen = "stop", 0, 0, False
    for line in raw.split(b"\n"):
        if not line.startswith(b"data:") or line.strip() == b"data: [DONE]":
            continue
        try:
            data = orjson.loads(line[5:])
            if data.get("type") == "response.completed":
                return _of_response(data["response"])
            if data.get("type") == "response.output_text.delta":
                texts.append(data["delta"])
            choice: Mapping[str, Any] = next((c for c in data.get("choices") or () if not c.get("index")), {})
            texts.append(text_of(choice.get("delta") or {}))
            reason, usage = choice.get("finish_reason") or reason, data.get("usage") or {}
            tokens_in, tokens_out = usage.get("prompt_tokens", tokens_in), usage.get("completion_tokens", tokens_out)
            seen = True
        except (ValueError, LookupError, TypeError, AttributeError):
            continue  # cut off in the middle, or an event that is not of the protocol
    return Completion("".join(texts), reason, tokens_in, tokens_out) if seen else None
