"""The endpoints that OpenAI's clients know: chat completions, completions, models and embeddings."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from idiolect.errors import Denied, InputError, NotFound
from idiolect.serve import bodies, chat_request, chat_shapes
from idiolect.serve.bodies import reply
from idiolect.serve.chat_shapes import Gathered, Head
from idiolect.serve.engine import Outcome, seeded
from idiolect.serve.relay import EVENT_STREAM, Relay, followed
from idiolect.serve.state import State, state_of
from idiolect.serve.upstream import Upstream
from idiolect.serve.wishes import take_wish, without_ids
from idiolect.types import Call, Floats

_OUR_PATHS = frozenset({"users", "traces"})
MAX_INPUTS = 2048
"""Texts in one embeddings request."""


async def chat(request: Request) -> Response:
    """POST /v1/chat/completions."""
    state = state_of(request)
    raw = await bodies.read(request, state.max_body)
    body = bodies.parse_object(raw)
    if state.upstream is not None:
        return await _forward_chat(request, state, state.upstream, raw, body)
    wish = take_wish(request.headers, body, request.scope["caller"])
    asked = chat_request.check(body)
    outcome = await state.engine.personalize(asked, wish)
    head = Head(state.model)
    if body.get("stream"):
        return await _stream(state, head, body, asked, outcome)
    calls = [seeded(outcome.call, number) for number in range(body.get("n") or 1)]
    answers = await state.engine.generate(calls)
    await state.engine.finish(outcome, asked, answers[0])
    return reply(chat_shapes.completion(head, answers), headers=outcome.headers())


async def _forward_chat(
    request: Request, state: State, upstream: Upstream, raw: bytes, body: dict[str, Any]
) -> Response:
    """Pass a chat on, its body changed only where it is ours or personal."""
    plain = "idiolect" not in body
    wish = take_wish(request.headers, body, request.scope["caller"])
    asked = chat_request.call_of(body)
    outcome = Outcome(Call(()), wish, "no-user") if asked is None else await state.engine.personalize(asked, wish)
    changed = without_ids(body, state.sign)
    if not body.get("model") and upstream.model:
        changed["model"] = upstream.model
    if asked is not None:
        changed |= chat_request.changes(asked, outcome.call, body)
    sent = raw if plain and not changed else bodies.dump({**body, **changed})
    done = None if asked is None else partial(state.engine.finish, outcome, asked)
    adapters = outcome.call.adapters
    return await upstream.send(
        "POST", "/chat/completions", sent, request.headers, adapters=adapters, ours=outcome.headers, done=done
    )


async def _stream(state: State, head: Head, body: dict[str, Any], asked: Call, outcome: Outcome) -> Response:
    calls = [seeded(outcome.call, number) for number in range(body.get("n") or 1)]
    streams = [await state.engine.stream(call) for call in calls]
    options = body.get("stream_options")
    with_usage = isinstance(options, dict) and bool(options.get("include_usage"))
    first = Gathered()
    pieces = chat_shapes.events(head, streams, first, with_usage=with_usage)
    pieces = followed(pieces, lambda: state.engine.finish(outcome, asked, first.completion))
    return event_stream(pieces, outcome.headers())


def event_stream(pieces: AsyncGenerator[bytes], told: Mapping[str, str]) -> Relay:
    """Return a stream of events of our own making."""
    headers = {"content-type": EVENT_STREAM, "cache-control": "no-cache", **told}
    return Relay(200, list(headers.items()), pieces, streamed=True)


async def completions(request: Request) -> Response:
    """POST /v1/completions: the legacy text form, without personalization."""
    state = state_of(request)
    raw = await bodies.read(request, state.max_body)
    body = bodies.parse_object(raw)
    told = {"X-Idiolect-Personalized": "false; reason=endpoint"}
    if state.upstream is not None:
        return await _forward(request, state, state.upstream, "/completions", raw, body, told)
    prompts = body.get("prompt")
    prompts = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(prompts, list) or not prompts or not all(isinstance(prompt, str) for prompt in prompts):
        raise InputError("'prompt' must be text or a list of texts")
    one = chat_request.check({**body, "messages": [{"role": "user", "content": ""}]})
    calls = [
        seeded(replace(one, messages=({"role": "user", "content": prompt},)), number)
        for prompt in prompts
        for number in range(body.get("n") or 1)
    ]
    head = Head(state.model, "cmpl")
    if body.get("stream"):
        return event_stream(chat_shapes.text_events(head, [await state.engine.stream(call) for call in calls]), told)
    return reply(chat_shapes.text_completion(head, await state.engine.generate(calls)), headers=told)


async def _forward(
    request: Request,
    state: State,
    upstream: Upstream,
    path: str,
    raw: bytes,
    body: dict[str, Any],
    told: dict[str, str] | None = None,
) -> Response:
    """Pass a request on that is not personalized; user ids in it are hidden."""
    changed = without_ids(body, state.sign)
    plain = body.pop("idiolect", None) is None and not changed
    sent = raw if plain else bodies.dump({**body, **changed})
    return await upstream.send("POST", path, sent, request.headers, ours=lambda _: told or {})


async def others(request: Request) -> Response:
    """Any other path below /v1 goes to the upstream as it is: audio, images, files, stored responses.

    Not for keys bound to one user: what an upstream keeps is everybody's.
    """
    state, path = state_of(request), request.path_params["path"]
    if state.upstream is None or path.split("/")[0] in _OUR_PATHS:
        raise HTTPException(404)
    if request.scope["caller"].user:
        raise Denied("a key bound to one user cannot use this: what the upstream keeps is everybody's")
    raw = await bodies.read(request, state.max_body)
    target = f"/{quote(path)}" + (f"?{request.url.query}" if request.url.query else "")
    return await state.upstream.send(request.method, target, raw, request.headers)


async def models(request: Request) -> Response:
    """GET /v1/models."""
    state = state_of(request)
    if state.upstream is not None:
        return await state.upstream.send("GET", "/models", b"", request.headers)
    return reply({"object": "list", "data": _models(state)})


async def model(request: Request) -> Response:
    """GET /v1/models/{model}."""
    state, wanted = state_of(request), str(request.path_params["model"])
    if state.upstream is not None:
        return await state.upstream.send("GET", f"/models/{quote(wanted)}", b"", request.headers)
    found = next((entry for entry in _models(state) if entry["id"] == wanted), None)
    if found is None:
        raise NotFound(f"no model {wanted!r} here; see /v1/models")
    return reply(found)


def _models(state: State) -> list[dict[str, Any]]:
    names = [state.model, *([_embedder_name(state)] if state.idiolect.store.embedder is not None else [])]
    return [{"id": name, "object": "model", "created": 0, "owned_by": "idiolect"} for name in names]


def _embedder_name(state: State) -> str:
    return state.idiolect.settings.embedder


async def embeddings(request: Request) -> Response:
    """POST /v1/embeddings: by the embedder, or by the upstream unless the embedder's own name is asked for."""
    state = state_of(request)
    raw = await bodies.read(request, state.max_body)
    body = bodies.parse_object(raw)
    embedder = state.idiolect.store.embedder
    if state.upstream is not None and (embedder is None or body.get("model") != _embedder_name(state)):
        return await _forward(request, state, state.upstream, "/embeddings", raw, body)
    if embedder is None:
        raise InputError("there is no embedder here (embedder = 'none'); set embedder = 'minilm' or 'static'")
    texts = _inputs(body)
    if body.get("dimensions") not in (None, embedder.dim):
        raise InputError(f"embedder {_embedder_name(state)!r} has {embedder.dim} dimensions and cannot be cut")
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise InputError("'encoding_format' must be float or base64")
    vectors = await state.engine.run(embedder.embed, texts)
    tokens = sum(len(text.encode("utf-8", "replace")) + 3 for text in texts) // 4
    return reply(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _encoded(vector, encoding)}
                for index, vector in enumerate(vectors)
            ],
            "model": _embedder_name(state),
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def _inputs(body: dict[str, Any]) -> list[str]:
    texts = body.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not 0 < len(texts) <= MAX_INPUTS:
        raise InputError(f"'input' must be text or a list of 1 to {MAX_INPUTS} texts")
    if not all(isinstance(text, str) for text in texts):
        raise InputError(
            "'input' must hold text; token ids of another model's tokenizer mean nothing here "
            "(LangChain: check_embedding_ctx_length=False)"
        )
    return texts


def _encoded(vector: Floats, encoding: str) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()
    return [float(value) for value in vector]
