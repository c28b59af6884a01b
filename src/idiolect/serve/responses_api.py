"""POST /v1/responses: passed on where the upstream has it, else answered by a chat model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from idiolect.serve import bodies, chat_request, responses_request
from idiolect.serve.bodies import reply
from idiolect.serve.engine import Outcome
from idiolect.serve.openai_api import event_stream
from idiolect.serve.relay import followed
from idiolect.serve.responses_shapes import Script, events, finished, frame, output_of
from idiolect.serve.state import State, state_of
from idiolect.serve.upstream import Upstream
from idiolect.serve.wishes import Wish, take_wish, without_ids
from idiolect.types import Call


async def create(request: Request) -> Response:
    """POST /v1/responses."""
    state = state_of(request)
    raw = await bodies.read(request, state.max_body)
    body = bodies.parse_object(raw)
    plain = "idiolect" not in body
    wish = take_wish(request.headers, body, request.scope["caller"])
    if state.upstream is not None and state.upstream.has_responses:
        answer = await _forward(request, state, state.upstream, raw if plain else None, body, wish)
        if answer is not None:
            return answer
    return await _answer(state, body, wish)


async def _forward(
    request: Request, state: State, upstream: Upstream, raw: bytes | None, body: dict[str, Any], wish: Wish
) -> Response | None:
    """Pass the request on; ``None`` where the upstream turns out not to have this interface."""
    items = responses_request.items_of(body)
    asked = Call(() if items is None else items, sampling=chat_request.sampling_of(body))
    outcome = Outcome(asked, wish, "no-user") if items is None else await state.engine.personalize(asked, wish)
    changed = without_ids(body, state.sign)
    if not body.get("model") and upstream.model:
        changed["model"] = upstream.model
    changed |= responses_request.changes(asked.messages, outcome.call.messages, body)
    sent = raw if raw is not None and not changed else bodies.dump({**body, **changed})
    done = None if items is None else partial(state.engine.finish, outcome, asked)
    adapters = outcome.call.adapters
    return await upstream.send_if_there(
        "/responses", sent, request.headers, adapters=adapters, ours=outcome.headers, done=done
    )


async def _answer(state: State, body: dict[str, Any], wish: Wish) -> Response:
    asked = responses_request.chat_call(body)
    if state.upstream is not None:
        asked = replace(asked, extra={**asked.extra, "model": body.get("model")})
    outcome = await state.engine.personalize(asked, wish)
    model = state.model if state.upstream is None else str(body.get("model") or state.upstream.model)
    started = frame(body, model)
    if body.get("stream"):
        script = Script(started)
        pieces = events(script, await state.engine.stream(outcome.call))
        pieces = followed(pieces, lambda: state.engine.finish(outcome, asked, script.completion))
        return event_stream(pieces, outcome.headers())
    answer = (await state.engine.generate([outcome.call]))[0]
    await state.engine.finish(outcome, asked, answer)
    return reply(finished(started, answer, output_of(answer)), headers=outcome.headers())
