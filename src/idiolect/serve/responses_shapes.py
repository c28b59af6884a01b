"""Answers in the form of the Responses API, made from what a chat model said."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from idiolect.serve.relay import event
from idiolect.types import Chunk, Completion

_ECHOED: Mapping[str, Any] = {
    "background": False, "instructions": None, "max_output_tokens": None, "max_tool_calls": None, "metadata": {},
    "parallel_tool_calls": True, "previous_response_id": None, "reasoning": {"effort": None, "summary": None},
    "store": False, "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
    "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled",
}  # fmt: skip


def new_id(prefix: str) -> str:
    """Return a fresh id."""
    return f"{prefix}_{secrets.token_hex(16)}"


def frame(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return a response in progress, with the request's settings as it was asked. Nothing is stored for later."""
    echoed = {name: body[name] if body.get(name) is not None else default for name, default in _ECHOED.items()}
    return {
        **echoed, "store": False, "id": new_id("resp"), "object": "response", "created_at": int(time.time()),
        "status": "in_progress", "error": None, "incomplete_details": None, "model": model, "output": [],
        "usage": None,
    }  # fmt: skip


def finished(started: Mapping[str, Any], answer: Completion, output: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the response with its output; one that ran out of tokens is ``incomplete``."""
    cut = answer.finish_reason == "length"
    return {
        **started,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": output,
        "usage": {
            "input_tokens": answer.tokens_in,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": answer.tokens_out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.tokens_in + answer.tokens_out,
        },
    }


def output_of(answer: Completion) -> list[dict[str, Any]]:
    """Return a finished answer's output items: its text, then its tool calls."""
    calls = answer.message.get("tool_calls") or []
    items = [_call_item(new_id("fc"), c["id"], c["function"]["name"], c["function"]["arguments"]) for c in calls]
    return [_message_item(new_id("msg"), answer.text), *items] if answer.text or not items else items


def _message_item(id: str, text: str, status: str = "completed") -> dict[str, Any]:
    content = [_text_part(text)] if status == "completed" else []
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": content}


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call_item(id: str, call_id: str, name: str, arguments: str, status: str = "completed") -> dict[str, Any]:
    return {
        "id": id, "type": "function_call", "status": status, "call_id": call_id, "name": name, "arguments": arguments
    }  # fmt: skip


class Script:
    """Writes the events of one streamed response in order, as the answer comes in."""

    def __init__(self, started: Mapping[str, Any]) -> None:
        self._started = started
        self._number = -1
        self._text: list[str] = []
        self._message_id = ""
        self._calls: dict[int, dict[str, Any]] = {}
        self._places: dict[int, int] = {}
        self._text_place = 0
        self._reason, self._tokens = "stop", (0, 0)

    @property
    def completion(self) -> Completion:
        """The answer so far."""
        return Completion("".join(self._text), self._reason, *self._tokens)

    def start(self) -> Iterator[bytes]:
        """Yield the events that come before any text."""
        yield self._event("response.created", response=self._started)
        yield self._event("response.in_progress", response=self._started)

    def add(self, chunk: Chunk) -> Iterator[bytes]:
        """Yield the events of one more chunk."""
        if chunk.text:
            if not self._message_id:
                yield from self._open_message()
            self._text.append(chunk.text)
            yield self._event(
                "response.output_text.delta", item_id=self._message_id, output_index=self._text_place,
                content_index=0, delta=chunk.text, logprobs=[],
            )  # fmt: skip
        for choice in (chunk.raw or {}).get("choices") or ():
            for delta in (choice.get("delta") or {}).get("tool_calls") or ():
                yield from self._add_call(delta)
        if chunk.finish_reason is not None:
            self._reason, self._tokens = chunk.finish_reason, (chunk.tokens_in, chunk.tokens_out)

    def end(self) -> Iterator[bytes]:
        """Yield the events that close everything that is open, and the whole response."""
        if not self._message_id and not self._calls:
            yield from self._open_message()
        output: dict[int, dict[str, Any]] = {}
        if self._message_id:
            output[self._text_place] = _message_item(self._message_id, "".join(self._text))
            yield from self._close_message(output[self._text_place])
        for index, call in self._calls.items():
            place = self._places[index]
            output[place] = {**call, "status": "completed"}
            yield self._event(
                "response.function_call_arguments.done", item_id=call["id"], output_index=place, name=call["name"],
                arguments=call["arguments"],
            )  # fmt: skip
            yield self._event("response.output_item.done", output_index=place, item=output[place])
        whole = finished(self._started, self.completion, [output[place] for place in sorted(output)])
        name = "response.completed" if whole["status"] == "completed" else "response.incomplete"
        yield self._event(name, response=whole)

    def _open_message(self) -> Iterator[bytes]:
        self._message_id, self._text_place = new_id("msg"), len(self._calls)
        item = _message_item(self._message_id, "", "in_progress")
        yield self._event("response.output_item.added", output_index=self._text_place, item=item)
        yield self._event(
            "response.content_part.added", item_id=self._message_id, output_index=self._text_place, content_index=0,
            part=_text_part(""),
        )  # fmt: skip

    def _close_message(self, item: Mapping[str, Any]) -> Iterator[bytes]:
        at = {"item_id": item["id"], "output_index": self._text_place, "content_index": 0}
        part = item["content"][0]
        yield self._event("response.output_text.done", **at, text=part["text"], logprobs=[])
        yield self._event("response.content_part.done", **at, part=part)
        yield self._event("response.output_item.done", output_index=self._text_place, item=item)

    def _add_call(self, delta: Mapping[str, Any]) -> Iterator[bytes]:
        index, function = delta.get("index", 0), delta.get("function") or {}
        if index not in self._calls:
            place = self._places[index] = len(self._calls) + bool(self._message_id)
            name = function.get("name") or ""
            call = _call_item(new_id("fc"), delta.get("id") or new_id("call"), name, "", "in_progress")
            self._calls[index] = call
            yield self._event("response.output_item.added", output_index=place, item=dict(call))
        arguments = function.get("arguments")
        if arguments:
            self._calls[index]["arguments"] += arguments
            yield self._event(
                "response.function_call_arguments.delta", item_id=self._calls[index]["id"],
                output_index=self._places[index], delta=arguments,
            )  # fmt: skip

    def _event(self, kind: str, /, **fields: Any) -> bytes:
        self._number += 1
        return event(orjson.dumps({"type": kind, "sequence_number": self._number, **fields}), kind)


async def events(script: Script, chunks: AsyncGenerator[Chunk]) -> AsyncGenerator[bytes]:
    """Yield the events of a streamed response."""
    for piece in script.start():
        yield piece
    async with aclosing(chunks):
        async for chunk in chunks:
            for piece in script.add(chunk):
                yield piece
    for piece in script.end():
        yield piece
