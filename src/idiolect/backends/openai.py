"""Any endpoint that speaks the OpenAI protocol: a hosted service, vLLM, Ollama, llama-server, LM Studio."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import orjson

from idiolect.backends._generation import check_lengths, refuse_unmet, unsupported
from idiolect.backends._http import Client, Headers
from idiolect.decoding.choosing import generate_chosen, whole
from idiolect.errors import ConfigError, MalformedAnswer, UpstreamError
from idiolect.registry import backend
from idiolect.types import Adapter, Call, Chunk, Completion, Message, text_of

T = TypeVar("T")

_OTHER_SCRIPTS = bytes(range(128, 256))
_NO_LETTERS = bytes(byte for byte in range(256) if byte > 127 or not (chr(byte).isalpha() or byte == 32))


@backend("openai", supports=("logprobs", "choose"))
@dataclass
class OpenAIBackend:
    """An OpenAI-compatible endpoint.

    ``base_url`` ends where ``/chat/completions`` begins (usually in ``/v1``). ``api_key_env`` names an environment
    variable to take the key from; a key goes to this endpoint alone. ``model`` wins over a model name in
    ``Call.extra``; where it is empty, that one is used. ``timeout`` is the longest silence in seconds. Refused
    connections, and 429 or 503, are tried again ``retries`` times; a longer ``Retry-After`` than ``retry_after_cap``
    seconds is not waited for. Proxy variables of the environment are not read.

    ``logprobs`` needs an endpoint whose ``/completions`` has ``echo`` and ``logprobs``. That interface knows no chat
    template, so the conversation is scored as a plain transcript (:func:`transcript`).
    """

    base_url: str = "https://api.openai.com/v1"
    model: str = ""
    api_key: str = field(default="", repr=False)
    api_key_env: str = ""
    timeout: float = 120.0
    retries: int = 2
    retry_after_cap: float = 20.0
    concurrency: int = 8

    supports = frozenset[str]()  # set by @backend
    label: ClassVar[str] = "openai"

    def __post_init__(self) -> None:
        self.failures: Counter[str] = Counter()
        """Malformed answers, counted by kind."""
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def fingerprint(self) -> str:
        """The endpoint's address and the model's name."""
        return f"{self.label}:{self.base_url.rstrip('/')}#{self.model}"

    def count_tokens(self, text: str) -> int:
        """Return an over-estimate: three letters or spaces a token, one digit or sign, 1.4 bytes of other scripts."""
        data = text.encode("utf-8", "replace")
        other = len(data) - len(data.translate(None, _OTHER_SCRIPTS))
        letters = len(data.translate(None, _NO_LETTERS))
        return math.ceil(letters / 3 + other / 1.4 + (len(data) - other - letters))

    def generate(self, calls: Sequence[Call]) -> list[Completion]:
        """Answer the calls, at most ``concurrency`` at a time; the first failure stops the others and is raised.

        Drafts to choose among are requests of their own.
        """
        refuse_unmet(calls, self.label, self.supports)
        return generate_chosen(calls, lambda plain: self._run(self._bounded(self._answer, plain)))

    def stream(self, call: Call) -> Iterator[Chunk]:
        """Yield the endpoint's chunks as they come, then one with the finish reason and the counts.

        An answer that is chosen among drafts comes as a whole.
        """
        refuse_unmet([call], self.label, self.supports)
        if call.choose is not None:
            return whole(self.generate([call])[0])
        return self._pull(self._stream(call))

    def logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[float]:
        """Return the summed log probability [nats] of each continuation after its transcript.

        Raises :class:`UnsupportedCall` where the endpoint does not echo log probabilities.
        """
        check_lengths(calls, continuations)
        refuse_unmet(calls, self.label, self.supports)
        return self._run(self._bounded(self._score, calls, continuations))

    async def forward(
        self, method: str, path: str, body: bytes, headers: Headers, adapters: Sequence[Adapter] = ()
    ) -> tuple[int, list[tuple[str, str]], AsyncIterator[bytes]]:
        """Pass a request on and its answer back, bytes untouched, on the running event loop.

        ``path`` begins with a slash and continues ``base_url``; a query string stays on it. Hop-by-hop headers and
        ``Host`` are dropped both ways; ``Authorization`` is replaced where this backend has a key, so leave out what
        the endpoint must not see. Read the iterator to its end or ``aclose()`` it. :class:`UpstreamError` where
        there is no answer at all, :class:`UnsupportedCall` for ``adapters`` that this endpoint has no way to serve.
        """
        if adapters:
            raise unsupported(self.label, "adapters")
        return await self._http().forward(method, path, body, headers)

    async def aclose(self) -> None:
        """Close the connections that :meth:`forward` opened on the running event loop."""
        if self._client is not None:
            await self._client.aclose()

    def close(self) -> None:
        """Close the connections of the synchronous methods and end their thread; a later call starts anew."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._http().aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _http(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = Client(
                    self.base_url,
                    self._key(),
                    timeout=self.timeout,
                    retries=self.retries,
                    retry_after_cap=self.retry_after_cap,
                )
            return self._client

    def _key(self) -> str:
        if self.api_key or not self.api_key_env:
            return self.api_key
        key = os.environ.get(self.api_key_env, "")
        if not key:
            raise ConfigError(f"the environment variable {self.api_key_env} with the API key is not set")
        return key

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name=f"idiolect-{self.label}", daemon=True
                )
                self._thread.start()
            loop = self._loop
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # reached by Ctrl-C: do not leave the request running
            raise

    async def _bounded(self, work: Callable[..., Coroutine[Any, Any, T]], *columns: Iterable[Any]) -> list[T]:
        gate = asyncio.Semaphore(max(1, self.concurrency))

        async def one(row: tuple[Any, ...]) -> T:
            async with gate:
                return await work(*row)

        tasks = [asyncio.ensure_future(one(row)) for row in zip(*columns, strict=True)]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    def _pull(self, chunks: AsyncIterator[Chunk]) -> Iterator[Chunk]:
        async def following() -> Chunk | None:
            return await anext(chunks, None)

        async def end() -> None:
            await chunks.aclose()  # type: ignore[attr-defined]

        try:
            while (chunk := self._run(following())) is not None:
                yield chunk
        finally:
            self._run(end())

    def _payload(self, call: Call) -> dict[str, Any]:
        sampling = call.sampling
        limit = "max_completion_tokens" if "max_completion_tokens" in call.extra else "max_tokens"
        given = {
            "model": self.model or call.extra.get("model"),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            limit: sampling.max_tokens,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
        }
        if not given["model"]:
            raise ConfigError(f"no model is named for {self.base_url}; set 'model' of the {self.label} backend")
        set_ = {name: value for name, value in given.items() if value is not None}
        return {**call.extra, "messages": [dict(message) for message in call.messages], **set_, "stream": False}

    async def _answer(self, call: Call) -> Completion:
        answer = self._object(await self._http().post("/chat/completions", self._payload(call)), "chat completion")
        try:
            choice = answer["choices"][0]
            message = dict(choice["message"])
            usage = answer.get("usage") or {}
            return Completion(
                text_of(message),
                choice.get("finish_reason") or "stop",
                int(usage.get("prompt_tokens") or 0),
                int(usage.get("completion_tokens") or 0),
                message,
                answer,
            )
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise self._malformed("chat completion without choices[0].message") from error

    async def _stream(self, call: Call) -> AsyncIterator[Chunk]:
        payload = {"stream_options": {"include_usage": True}} | self._payload(call) | {"stream": True}
        reason, tokens_in, tokens_out = None, 0, 0
        async for data in self._http().events("/chat/completions", payload):
            event = self._event(data)
            choice: Mapping[str, Any] = next(iter(event.get("choices") or ()), {})
            reason = choice.get("finish_reason") or reason
            usage = event.get("usage") or {}
            tokens_in, tokens_out = usage.get("prompt_tokens", tokens_in), usage.get("completion_tokens", tokens_out)
            yield Chunk(text_of(choice.get("delta") or {}), raw=event)
        if reason is None:
            raise UpstreamError(f"{self.base_url} ended its stream without a finish reason")
        yield Chunk("", reason, tokens_in, tokens_out)

    def _object(self, data: bytes, what: str) -> dict[str, Any]:
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise self._malformed(f"{what} of {len(data)} bytes that is not JSON") from None
        if not isinstance(value, dict):
            raise self._malformed(f"{what} of {len(data)} bytes that is not a JSON object")
        return value

    def _event(self, data: bytes) -> Mapping[str, Any]:
        event = self._object(data, "stream event")
        error = event.get("error")
        if error is not None:
            code = error.get("code") if isinstance(error, dict) else None
            status = code if isinstance(code, int) and 400 <= code < 600 else 502
            raise UpstreamError(f"{self.base_url} reported an error in its stream", status, data)
        return event

    async def _score(self, call: Call, continuation: str) -> float:
        prompt = transcript(call.messages)
        whole = prompt + continuation
        payload = self._payload(call) | {"prompt": whole, "max_tokens": 1, "echo": True, "logprobs": 0}
        del payload["messages"]
        try:
            answer = self._object(await self._http().post("/completions", payload), "completion")
        except UpstreamError as error:
            if error.status in (400, 404, 405, 422, 501):
                raise unsupported(self.label, "logprobs") from error
            raise
        try:
            scored = answer["choices"][0]["logprobs"]
            rows = list(zip(scored["text_offset"], scored["token_logprobs"], strict=True))
        except (IndexError, KeyError, TypeError, ValueError):
            raise unsupported(self.label, "logprobs") from None
        if not rows or rows[0][0] > 0:  # the prompt was not echoed
            raise unsupported(self.label, "logprobs")
        return float(sum(value for offset, value in rows if len(prompt) <= offset < len(whole)))

    def _malformed(self, what: str) -> MalformedAnswer:
        self.failures[what.split(" of ")[0]] += 1
        return MalformedAnswer(f"{self.base_url} sent a {what}")


def transcript(messages: Sequence[Message]) -> str:
    """Return the conversation as plain text, ending where the assistant's next words begin."""
    return "".join(f"{message.get('role', 'user')}:\n{text_of(message)}\n\n" for message in messages) + "assistant:\n"
