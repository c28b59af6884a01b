"""A body of the Responses API as chat messages, and back: for personalization, and for backends that only chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from idiolect.errors import InputError
from idiolect.types import Call, Message, Sampling

_PART_TYPES = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "text"}
_PASSED = ("parallel_tool_calls", "top_logprobs")
_WHOLE_CONVERSATION = "this model keeps no conversations: send the whole conversation in 'input' instead of {}"


def items_of(body: Mapping[str, Any]) -> tuple[Message, ...] | None:
    """Return instructions and input as messages that carry their items untouched; ``None`` where input is unusable."""
    given, instructions = body.get("input"), body.get("instructions")
    if isinstance(given, str):
        items: list[Any] = [{"role": "user", "content": given}]
    elif given is None:
        items = [] if isinstance(instructions, str) else [{"role": "user", "content": ""}]
    elif isinstance(given, list) and given and all(isinstance(item, dict) for item in given):
        items = given
    else:
        return None
    head = [{"role": "system", "content": instructions}] if isinstance(instructions, str) else []
    return (*head, *items)


def changes(before: Sequence[Message], after: Sequence[Message], body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the body that a change of its messages changes."""
    if after is before or not after:
        return {}
    messages = list(after)
    changed: dict[str, Any] = {}
    if isinstance(body.get("instructions"), str) and messages[0].get("role") == "system":
        changed["instructions"] = messages.pop(0)["content"]
    changed["input"] = [_as_item(message) for message in messages]
    return changed


def _as_item(message: Message) -> Message:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    parts = [{**p, "type": "input_text"} if isinstance(p, dict) and p.get("type") == "text" else p for p in content]
    return {**message, "content": parts}


def chat_call(body: Mapping[str, Any]) -> Call:
    """Return the body as a chat call; :class:`InputError` names what a chat model cannot do."""
    for name in ("previous_response_id", "conversation", "prompt"):
        if body.get(name) is not None:
            raise InputError(_WHOLE_CONVERSATION.format(f"{name!r}"))
    if body.get("background"):
        raise InputError("'background' is not offered here")
    given = items_of(body)
    if given is None:
        raise InputError("'input' must be text or a list of at least one item")
    extra: dict[str, Any] = {name: body[name] for name in _PASSED if body.get(name) is not None}
    extra |= _tools(body) | _format(body)
    sampling = Sampling(_number(body, "temperature"), _number(body, "top_p"), _limit(body))
    return Call(tuple(_messages(given)), sampling=sampling, extra=extra)


def _messages(items: Sequence[Mapping[str, Any]]) -> list[Message]:
    out: list[Message] = []
    for item in items:
        kind = item.get("type") or "message"
        if kind == "message":
            out.append(_message(item))
        elif kind == "function_call":
            _add_call(out, item)
        elif kind == "function_call_output":
            out.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": _content(item.get("output"))})
        elif kind != "reasoning":
            raise InputError(f"input items of type {kind!r:.40} are not offered by this model")
    return out


def _message(item: Mapping[str, Any]) -> Message:
    role = item.get("role")
    if not isinstance(role, str):
        raise InputError("an input message needs a 'role'")
    return {"role": role, "content": _content(item.get("content"))}


def _content(content: Any) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise InputError("a message's 'content' must be text or a list of parts")
    parts = [_part(part) for part in content]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return "\n".join(texts) if len(texts) == len(parts) else parts


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind in _PART_TYPES:
        return {"type": "text", "text": str(part.get("text") or part.get("refusal") or "")}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        detail = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    raise InputError(f"content parts of type {kind!r:.40} are not offered by this model")


def _add_call(out: list[Message], item: Mapping[str, Any]) -> None:
    call = {
        "id": item.get("call_id"),
        "type": "function",
        "function": {"name": item.get("name"), "arguments": item.get("arguments")},
    }
    if out and out[-1].get("role") == "assistant":
        last = dict(out.pop())
        out.append({**last, "tool_calls": [*last.get("tool_calls", ()), call]})
    else:
        out.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    tools, choice = body.get("tools") or [], body.get("tool_choice")
    if not tools:
        return {}
    for tool in tools:
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise InputError("this model offers tools of type 'function' alone")
    functions = [{name: value for name, value in tool.items() if name != "type"} for tool in tools]
    out: dict[str, Any] = {"tools": [{"type": "function", "function": function} for function in functions]}
    if isinstance(choice, dict):
        out["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif choice is not None:
        out["tool_choice"] = choice
    return out


def _format(body: Mapping[str, Any]) -> dict[str, Any]:
    text = body.get("text")
    wanted = text.get("format") if isinstance(text, dict) else None
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return {}
    if wanted["type"] == "json_schema":
        schema = {name: value for name, value in wanted.items() if name != "type"}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {"response_format": wanted}


def _number(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise InputError(f"{name!r} must be a number")
    return value


def _limit(body: Mapping[str, Any]) -> int | None:
    value = body.get("max_output_tokens")
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise InputError("'max_output_tokens' must be a whole number from 1 on")
    return value
