"""A vLLM server that serves each person's adapter: names that tell nothing, weights fetched with authorisation."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import orjson

from idiolect import models
from idiolect.backends._generation import check_lengths, refuse_unmet
from idiolect.backends._http import Client, Headers
from idiolect.backends._vllm_adapters import Limits, combined, name_of
from idiolect.backends._vllm_delivery import Delivery, Fetched, Loaded
from idiolect.backends._vllm_shelf import Hold, Shelf
from idiolect.backends.openai import OpenAIBackend
from idiolect.errors import ConfigError, InputError, UpstreamError
from idiolect.registry import backend
from idiolect.types import Adapter, Call, Chunk, Completion

_PASSED_ON = frozenset({"/chat/completions", "/completions", "/responses", "/embeddings"})
_SCORED = 128
"""As many tokens vLLM takes as ``logprob_token_ids``."""


@backend("vllm", supports=("logprobs", "choose", "adapters"), extra="vllm")
@dataclass
class VLLMBackend(OpenAIBackend):
    """A vLLM server that also serves adapters, each under a name that tells nothing.

    ``model`` is the name under which vLLM serves the base model; no other model can be asked for. ``weights`` says
    which weights these are (a name of the catalogue or a folder): adapters trained with them are served, others are
    refused. ``delivery`` is ``resolver`` (vLLM fetches adapters through our plugin from an endpoint of this process,
    whose address and token lie in the folder ``access``) or ``load`` (vLLM reads folders of this process). A call's
    adapters are combined into one of rank ``max_rank`` at most, which is not more than vLLM's ``--max-lora-rank``; a
    higher one is refused, or with ``cut`` served as the nearest change of that rank. ``loaded`` bounds how many
    adapters vLLM has beside those in use. With ``empty`` a call without adapters is served under one that changes
    nothing: vLLM's CPU kernels give such a call another's adapter where the two share a batch. ``name_key`` keeps
    names the same from one start to the next.
    """

    base_url: str = "http://127.0.0.1:8000/v1"
    weights: str = ""
    delivery: Literal["resolver", "load"] = "resolver"
    access: str = "~/.idiolect/vllm"
    max_rank: int = 16
    cut: bool = False
    loaded: int = 64
    empty: bool = True
    name_key: str = field(default="", repr=False)

    label: ClassVar[str] = "vllm"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._names_key = self.name_key.encode() or secrets.token_bytes(32)
        self._delivery: Delivery | None = None
        self._shelf: Shelf | None = None
        self._root: Client | None = None

    @property
    def fingerprint(self) -> str:
        """Name and content hash of the ``weights``, as other backends give them, else address and model name."""
        return models.fingerprint(self.weights) if self.weights else super().fingerprint

    def prepare(self, call: Call) -> None:
        """Raise :class:`InputError` for adapters that vLLM cannot serve, before anything is sent."""
        for one in (call, *(call.choose.alternatives if call.choose else ())):
            self._check(one.adapters)

    def generate(self, calls: Sequence[Call]) -> list[Completion]:
        """Answer the calls, each with its adapters, at most ``concurrency`` at a time."""
        refuse_unmet(calls, self.label, self.supports)
        for call in calls:
            self.prepare(call)
        return super().generate(calls)

    def stream(self, call: Call) -> Iterator[Chunk]:
        """Yield the chunks of an answer as they come."""
        refuse_unmet([call], self.label, self.supports)
        self.prepare(call)
        return super().stream(call)

    def logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[float]:
        """Return the summed log probability [nats] of each continuation after its chat prompt, token by token exact."""
        check_lengths(calls, continuations)
        refuse_unmet(calls, self.label, self.supports)
        for call in calls:
            self.prepare(call)
        return super().logprobs(calls, continuations)

    def forget(self, artifact_ids: Iterable[str]) -> None:
        """Unload every adapter that was made from one of these artifacts, in use or not, and serve it never again.

        On return vLLM has no such name and no such file. The weights stay in its memory, out of reach, until others
        take their place (``--max-cpu-loras``). Raises :class:`UpstreamError` where vLLM does not answer.
        """
        self._run(self._place().forget(artifact_ids))

    async def forward(
        self, method: str, path: str, body: bytes, headers: Headers, adapters: Sequence[Adapter] = ()
    ) -> tuple[int, list[tuple[str, str]], AsyncIterator[bytes]]:
        """Pass a request for the configured model on, with adapters in force, and its answer back.

        Only what generates or embeds is passed on: vLLM's own list of models names every adapter, and other paths load
        them. The list of models is answered here; the answer names the configured model, never an adapter.
        """
        route = path.partition("?")[0].rstrip("/")
        if method.upper() == "GET" and (route == "/models" or route.startswith("/models/")):
            return self._listed(route.removeprefix("/models").strip("/"))
        if method.upper() != "POST" or route not in _PASSED_ON:
            return _refusal(f"the vllm backend passes on {', '.join(sorted(_PASSED_ON))} and no {route}")
        payload = _harmless(_object(body))
        asked = payload.get("model") or self._base()
        if asked != self._base():
            return _refusal(f"no model {asked!r} here; see /v1/models")
        if not (adapters or self.empty):
            return await super().forward(method, path, orjson.dumps({**payload, "model": asked}), headers)
        await asyncio.to_thread(self._check, adapters)
        name, hold = self._name(adapters), await self._hold(adapters)
        try:
            sent = orjson.dumps({**payload, "model": name})
            status, got, pieces = await super().forward(method, path, sent, headers)
        except BaseException:
            hold.release()
            raise
        if status == 404:
            self._place().lost(name)
        kept = [(key, value) for key, value in got if key.lower() != "content-length"]
        return status, kept, _held(_renamed(pieces, name.encode(), self._base().encode()), hold)

    def close(self) -> None:
        """Have vLLM let go of the adapters, close the endpoint for them and the connections."""
        shelf, delivery, self._shelf, self._delivery = self._shelf, self._delivery, None, None
        if shelf is not None and delivery is not None:
            with suppress(UpstreamError):  # a vLLM that has ended has let go of everything
                self._run(shelf.clear())
            delivery.close()
        if self._root is not None:
            self._run(self._root.aclose())
        super().close()

    @property
    def _limits(self) -> Limits:
        return Limits(self.fingerprint, self.max_rank, self.cut)

    def _base(self) -> str:
        if not self.model:
            raise ConfigError("set 'model' of the vllm backend to the name under which vLLM serves the base model")
        return self.model

    def _name(self, adapters: Sequence[Adapter]) -> str:
        return name_of(self._names_key, adapters, self._limits)

    def _check(self, adapters: Sequence[Adapter]) -> None:
        if adapters and self._name(adapters) not in self._place():
            combined(adapters, self._limits)

    def _place(self) -> Shelf:
        client = self._http()
        with self._lock:
            if self._shelf is None:
                if self.delivery == "load":
                    self._delivery = Loaded(client, self._base())
                else:
                    self._delivery = Fetched(client, Path(self.access).expanduser())
                self._shelf = Shelf(self._delivery, self.loaded)
            return self._shelf

    async def _hold(self, adapters: Sequence[Adapter]) -> Hold:
        read = partial(combined, tuple(adapters), self._limits)
        return await self._place().hold(self._name(adapters), adapters, read)

    @asynccontextmanager
    async def _served(self, adapters: Sequence[Adapter]) -> AsyncIterator[None]:
        if not (adapters or self.empty):
            yield
            return
        with await self._hold(adapters):
            try:
                yield
            except UpstreamError as error:
                if error.status == 404:
                    self._place().lost(self._name(adapters))
                raise

    def _model_of(self, call: Call) -> str:
        return self._name(call.adapters) if call.adapters or self.empty else self._base()

    def _payload(self, call: Call) -> dict[str, Any]:
        return _harmless(super()._payload(call) | {"model": self._model_of(call)})

    async def _answer(self, call: Call) -> Completion:
        async with self._served(call.adapters):
            return await super()._answer(call)

    async def _stream(self, call: Call) -> AsyncIterator[Chunk]:
        async with self._served(call.adapters), aclosing(super()._stream(call)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                yield chunk

    async def _score(self, call: Call, continuation: str) -> float:
        written = {key: call.extra[key] for key in ("chat_template_kwargs", "tools") if key in call.extra}
        prompt = await self._tokens({"messages": [dict(message) for message in call.messages], **written})
        text = await self._tokens({"prompt": continuation, "add_special_tokens": False})
        async with self._served(call.adapters):
            return sum([
                await self._scored(self._model_of(call), prompt + text[:at], text[at : at + _SCORED])
                for at in range(0, len(text), _SCORED)
            ])  # fmt: skip

    async def _scored(self, model: str, before: list[int], tokens: list[int]) -> float:
        # One short prompt for each token, which vLLM's prefix cache makes cheap: prompt_logprobs is not for adapters.
        payload = {
            "model": model, "prompt": [before + tokens[:n] for n in range(len(tokens))], "max_tokens": 1,
            "temperature": 0.0, "logprobs": 1, "logprob_token_ids": sorted({*tokens}),
            "return_tokens_as_token_ids": True,
        }  # fmt: skip
        answer = self._object(await self._http().post("/completions", payload), "completion")
        try:
            rows = [choice["logprobs"]["top_logprobs"][0] for choice in answer["choices"]]
            return float(sum(row[f"token_id:{token}"] for row, token in zip(rows, tokens, strict=True)))
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise self._malformed("completion without the log probabilities of logprob_token_ids") from error

    async def _tokens(self, asked: dict[str, Any]) -> list[int]:
        answer = self._object(await self._beside().post("/tokenize", {"model": self._base(), **asked}), "tokenization")
        try:
            return [int(token) for token in answer["tokens"]]
        except (KeyError, TypeError, ValueError) as error:
            raise self._malformed("tokenization without tokens") from error

    def _beside(self) -> Client:
        """Return the client for what vLLM has beside ``/v1``."""
        if self._root is None:
            root, key = self.base_url.rstrip("/").removesuffix("/v1"), self._key()
            self._root = Client(
                root, key, timeout=self.timeout, retries=self.retries, retry_after_cap=self.retry_after_cap
            )
        return self._root

    def _listed(self, wanted: str) -> tuple[int, list[tuple[str, str]], AsyncIterator[bytes]]:
        card = {"id": self._base(), "object": "model", "created": 0, "owned_by": "vllm"}
        if not wanted:
            return _own(200, {"object": "list", "data": [card]})
        return _own(200, card) if wanted == self._base() else _refusal(f"no model {wanted!r} here; see /v1/models")


def _object(body: bytes) -> dict[str, Any]:
    """Return a body as an object; it is written anew, so that what vLLM reads is what was checked."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InputError(f"the request's body is not JSON ({error})") from None
    if not isinstance(payload, dict):
        raise InputError("the request's body must be a JSON object")
    return payload


def _harmless(payload: dict[str, Any]) -> dict[str, Any]:
    """Refuse log probabilities of the prompt: where adapters are in use they end vLLM's engine (its issue 16668)."""
    if payload.get("prompt_logprobs") is not None or (payload.get("echo") and payload.get("logprobs") is not None):
        raise InputError(
            "vLLM cannot give log probabilities of the prompt beside adapters; leave out what asks for them"
        )
    return payload


def _own(status: int, value: Any) -> tuple[int, list[tuple[str, str]], AsyncIterator[bytes]]:
    async def pieces() -> AsyncIterator[bytes]:
        yield orjson.dumps(value)

    return status, [("content-type", "application/json")], pieces()


def _refusal(message: str) -> tuple[int, list[tuple[str, str]], AsyncIterator[bytes]]:
    error = {"message": message, "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    return _own(404, {"error": error})


async def _held(pieces: AsyncIterator[bytes], hold: Hold) -> AsyncIterator[bytes]:
    with hold:
        async with aclosing(pieces):  # type: ignore[type-var]
            async for piece in pieces:
                yield piece


async def _renamed(pieces: AsyncIterator[bytes], name: bytes, model: bytes) -> AsyncIterator[bytes]:
    """Replace a name in a stream of bytes, also where it is cut in two."""
    held = b""
    async with aclosing(pieces):  # type: ignore[type-var]
        async for piece in pieces:
            held = (held + piece).replace(name, model)
            keep = next((n for n in range(min(len(name) - 1, len(held)), 0, -1) if held.endswith(name[:n])), 0)
            held, ready = held[len(held) - keep :], held[: len(held) - keep]
            if ready:
                yield ready
    if held:
        yield held
