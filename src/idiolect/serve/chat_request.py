"""A chat-completions body as a :class:`Call`, and a changed call back as a body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from idiolect.errors import InputError
from idiolect.types import Call, Sampling

MAX_CHOICES = 16
_OURS = frozenset(
    {"messages", "model", "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop", "stream", "n"}
)
_IDS = frozenset({"user", "safety_identifier", "metadata"})


def call_of(body: Mapping[str, Any]) -> Call | None:
    """Return the call of a body, or ``None`` where its messages are not a list of objects."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        return None
    extra = {name: value for name, value in body.items() if name not in _OURS and name not in _IDS}
    return Call(tuple(messages), sampling=sampling_of(body), extra=extra)


def sampling_of(body: Mapping[str, Any]) -> Sampling:
    """Return the sampling options that have the right type; the others are left to whoever answers."""
    stop = body.get("stop")
    limit = _whole(body.get("max_completion_tokens"))
    return Sampling(
        _number(body.get("temperature")),
        _number(body.get("top_p")),
        _whole(body.get("max_tokens")) if limit is None else limit,
        _whole(body.get("seed")),
        (stop,) if isinstance(stop, str) else tuple(s for s in stop if isinstance(s, str)) if stop else (),
    )


def changes(before: Call, after: Call, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the body that the methods changed."""
    changed: dict[str, Any] = {}
    if after.messages is not before.messages:
        changed["messages"] = list(after.messages)
    if after.extra is not before.extra:
        changed.update((k, v) for k, v in after.extra.items() if before.extra.get(k) is not v)
    if after.sampling != before.sampling:
        limit = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
        for name in ("temperature", "top_p", "max_tokens", "seed", "stop"):
            value = getattr(after.sampling, name)
            if value != getattr(before.sampling, name):
                changed[limit if name == "max_tokens" else name] = list(value) if name == "stop" else value
    return changed


def check(body: Mapping[str, Any]) -> Call:
    """Return the call of a body for a model of our own; :class:`InputError` names the field that is wrong."""
    call = call_of(body)
    if call is None:
        raise InputError("'messages' must be a list of at least one message object")
    for message in call.messages:
        _check_message(message)
    _check_range(body, "temperature", 0, 2)
    _check_range(body, "top_p", 0, 1)
    for name in ("max_tokens", "max_completion_tokens"):
        _check_whole(body, name, 0)
    _check_whole(body, "n", 1)
    _check_whole(body, "seed", -(1 << 63))
    if (body.get("n") or 1) > MAX_CHOICES:
        raise InputError(f"'n' is at most {MAX_CHOICES} here")
    stop = body.get("stop")
    if stop is not None and not isinstance(stop, str) and not _texts(stop):
        raise InputError("'stop' must be text or a list of texts")
    seed = call.sampling.seed  # OpenAI's are 64 bits with a sign, a local model's 31
    return call if seed is None else replace(call, sampling=replace(call.sampling, seed=seed & 0x7FFFFFFF))


def _check_message(message: Mapping[str, Any]) -> None:
    if not isinstance(message.get("role"), str):
        raise InputError("every message needs a 'role'")
    content = message.get("content")
    if content is not None and not isinstance(content, str | list):
        raise InputError("a message's 'content' must be text or a list of parts")


def _check_range(body: Mapping[str, Any], name: str, low: float, high: float) -> None:
    value = body.get(name)
    if value is not None and (_number(value) is None or not low <= value <= high):
        raise InputError(f"{name!r} must be a number from {low} to {high}")


def _check_whole(body: Mapping[str, Any], name: str, low: int) -> None:
    value = body.get(name)
    if value is not None and (_whole(value) is None or value < low):
        raise InputError(f"{name!r} must be a whole number from {low} on")


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
