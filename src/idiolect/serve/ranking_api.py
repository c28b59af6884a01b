"""The API over what each user would choose: ranking options, what to ask next, and choices that were made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from idiolect import ranking
from idiolect.config import MethodSpec
from idiolect.errors import ConfigError, InputError, UnknownName
from idiolect.ranking import Ranking
from idiolect.serve import bodies
from idiolect.serve.bodies import reply
from idiolect.serve.chat_request import call_of
from idiolect.serve.state import State, state_of
from idiolect.serve.users_api import record_json, user_in
from idiolect.types import Message, Option, Record

MAX_OPTIONS = 1000
_RANK = ("prompt", "messages", "options", "item", "methods")
_CHOICE = ("prompt", "options", "choice", "item", "methods")
_OPTION = ("label", "text", "item")


async def rank(request: Request) -> Response:
    """POST /v1/users/{user}/rank: options in the order in which the person likes them, and what to ask them next.

    The body is ``{"prompt": "..." or "messages": [...], "options": ["..."], "item": "...", "methods": ["..."]}``; an
    option may be ``{"label": "...", "text": "...", "item": "..."}``. ``ask`` holds the two options to show the person
    next, or null: no question is left or needed. ``sure`` is how likely one option is the one they like best.
    """
    state, user = state_of(request), user_in(request)
    body = await _body(request, state, _RANK)
    asked, options = _asked(body), _options(body)
    return reply(await state.engine.run(_rank, state, user, asked, options, _text(body, "item"), _methods(body)))


async def choose(request: Request) -> Response:
    """POST /v1/users/{user}/choices: which of some options the person took; the next ranking knows of it.

    The body is ``{"prompt": "...", "options": ["..."], "choice": 0, "item": "...", "methods": ["..."]}``, ``choice``
    being a position in ``options``. Answers with the record that was kept.
    """
    state, user = state_of(request), user_in(request)
    body = await _body(request, state, _CHOICE)
    choice = body.get("choice")
    if isinstance(choice, bool) or not isinstance(choice, int):
        raise InputError("'choice' must be a position in 'options', from 0 on")
    prompt = _text(body, "prompt")
    if not prompt:
        raise InputError("'prompt' must say what was chosen for")
    options, item, methods = _options(body), _text(body, "item"), _methods(body)
    return reply(record_json(await state.engine.run(_choose, state, user, prompt, options, choice, item, methods)), 201)


def _rank(
    state: State, user: str, asked: str | Sequence[Message], options: list[Option], item: str,
    methods: list[MethodSpec] | None,
) -> dict[str, Any]:  # fmt: skip
    try:
        found = ranking.rank(state.idiolect, asked, options, user, item=item, methods=methods)
    except ConfigError as error:
        raise (InputError(str(error)) if methods is not None else error) from error
    return ranking_json(found)


def _choose(
    state: State, user: str, prompt: str, options: list[Option], choice: int, item: str,
    methods: list[MethodSpec] | None,
) -> Record:  # fmt: skip
    return ranking.choose(state.idiolect, prompt, options, choice, user, item=item, methods=methods)


def ranking_json(found: Ranking) -> dict[str, Any]:
    """Return a ranking as an object."""
    label = {row.position: row.option.label for row in found.ranking}
    rows = [
        {"option": row.option.label, "position": row.position, "chance": row.chance, "spread": row.spread}
        for row in found.ranking
    ]
    ask = None if found.ask is None else {"first": label[found.ask[0]], "second": label[found.ask[1]]}
    return {"ranking": rows, "ask": ask, "best": label[found.best], "sure": found.sure, "method": found.method}


async def _body(request: Request, state: State, fields: Sequence[str]) -> dict[str, Any]:
    body = bodies.parse_object(await bodies.read(request, state.max_body))
    for name in body:
        if name not in fields:
            raise UnknownName("field of this body", name, fields)
    return body


def _asked(body: dict[str, Any]) -> str | Sequence[Message]:
    if ("prompt" in body) == ("messages" in body):
        raise InputError("either 'prompt' or 'messages' must say what the options answer")
    if "prompt" in body:
        return _text(body, "prompt")
    call = call_of(body)
    if call is None:
        raise InputError("'messages' must be a list of at least one message object")
    return call.messages


def _options(body: dict[str, Any]) -> list[Option]:
    given = body.get("options")
    if not isinstance(given, list) or not 2 <= len(given) <= MAX_OPTIONS:
        raise InputError(f"'options' must be a list of 2 to {MAX_OPTIONS} texts")
    return [_option(one, place) for place, one in enumerate(given)]


def _option(given: Any, place: int) -> Option:
    if isinstance(given, str):
        return Option(given)
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise InputError(f'option {place} must be text, or {{"label": "...", "text": "...", "item": "..."}}')
    for name in given:
        if name not in _OPTION:
            raise UnknownName(f"field of option {place}", name, _OPTION)
    return Option(given.get("label") or given.get("text", ""), given.get("text", ""), given.get("item", ""))


def _methods(body: dict[str, Any]) -> list[MethodSpec] | None:
    named = body.get("methods")
    if named is None:
        return None
    if not isinstance(named, list) or not all(isinstance(spec, str | dict) for spec in named):
        raise InputError("'methods' must be a list of names or of {\"name\": ..., setting: value}")
    return list(named)


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{name!r} must be text")
    return (value or "").strip()
