"""Chat completions in OpenAI's form, made from what a backend of our own answered."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson

from idiolect.serve.relay import DONE, event
from idiolect.types import Chunk, Completion


@dataclass(frozen=True, slots=True)
class Head:
    """What all parts of one answer share."""

    model: str
    prefix: str = "chatcmpl"
    created: int = field(default_factory=lambda: int(time.time()))
    token: str = field(default_factory=lambda: secrets.token_hex(12))

    @property
    def id(self) -> str:
        """The answer's id."""
        return f"{self.prefix}-{self.token}"


def usage(tokens_in: int, tokens_out: int) -> dict[str, int]:
    """Return the token counts."""
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}


def completion(head: Head, answers: Sequence[Completion]) -> dict[str, Any]:
    """Return one chat completion with a choice for each answer."""
    first = answers[0]
    if first.raw is not None and len(answers) == 1:
        return dict(first.raw)
    return {
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [_choice(index, answer) for index, answer in enumerate(answers)],
        "usage": usage(first.tokens_in, sum(answer.tokens_out for answer in answers)),
    }


def _choice(index: int, answer: Completion) -> dict[str, Any]:
    raw: Mapping[str, Any] = ((answer.raw or {}).get("choices") or [{}])[0]
    message = {"role": "assistant", "content": answer.text, "refusal": None, **answer.message}
    return {"logprobs": None, **raw, "index": index, "message": message, "finish_reason": answer.finish_reason}


def text_completion(head: Head, answers: Sequence[Completion]) -> dict[str, Any]:
    """Return one legacy text completion with a choice for each answer."""
    choices = [
        {"index": index, "text": answer.text, "logprobs": None, "finish_reason": answer.finish_reason}
        for index, answer in enumerate(answers)
    ]
    counts = usage(sum(a.tokens_in for a in answers), sum(a.tokens_out for a in answers))
    return {
        "id": head.id, "object": "text_completion", "created": head.created, "model": head.model,
        "choices": choices, "usage": counts,
    }  # fmt: skip


async def text_events(head: Head, streams: Sequence[AsyncGenerator[Chunk]]) -> AsyncGenerator[bytes]:
    """Yield the events of a streamed legacy text completion, one choice after the other."""
    for index, chunks in enumerate(streams):
        async with aclosing(chunks):
            async for chunk in chunks:
                choice = {"index": index, "text": chunk.text, "logprobs": None, "finish_reason": chunk.finish_reason}
                value = {
                    "id": head.id, "object": "text_completion", "created": head.created, "model": head.model,
                    "choices": [choice],
                }  # fmt: skip
                if chunk.text or chunk.finish_reason is not None:
                    yield event(orjson.dumps(value))
    yield DONE


class Gathered:
    """Puts a streamed answer together again."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.finish_reason = "stop"
        self.tokens_in = self.tokens_out = 0
        self.raw = False
        """Whether the backend makes OpenAI's chunks itself."""

    def add(self, chunk: Chunk) -> None:
        """Take one more chunk."""
        self.texts.append(chunk.text)
        self.raw = self.raw or chunk.raw is not None
        if chunk.finish_reason is not None:
            self.finish_reason, self.tokens_in, self.tokens_out = (
                chunk.finish_reason, chunk.tokens_in, chunk.tokens_out,
            )  # fmt: skip

    @property
    def completion(self) -> Completion:
        """The answer so far."""
        return Completion("".join(self.texts), self.finish_reason, self.tokens_in, self.tokens_out)


async def events(
    head: Head, choices: Sequence[AsyncGenerator[Chunk]], first: Gathered, *, with_usage: bool
) -> AsyncGenerator[bytes]:
    """Yield the events of a streamed completion, one choice after the other; ``first`` gathers the first one."""
    gathered = [first, *(Gathered() for _ in choices[1:])]
    for index, (chunks, whole) in enumerate(zip(choices, gathered, strict=True)):
        async with aclosing(chunks):
            async for chunk in chunks:
                whole.add(chunk)
                for value in _events_of(chunk, whole, head, index, with_usage):
                    yield event(orjson.dumps(value))
    if with_usage and not any(whole.raw for whole in gathered):
        counts = usage(first.tokens_in, sum(whole.tokens_out for whole in gathered))
        yield event(orjson.dumps({**_frame(head), "choices": [], "usage": counts}))
    yield DONE


def _events_of(chunk: Chunk, whole: Gathered, head: Head, index: int, with_usage: bool) -> Iterator[Mapping[str, Any]]:
    """Yield a chunk in OpenAI's form: the backend's own where it makes them."""
    if chunk.raw is not None:
        if chunk.raw.get("choices") or with_usage:
            yield {**chunk.raw, "choices": [{**choice, "index": index} for choice in chunk.raw.get("choices") or ()]}
    elif not whole.raw:
        for delta, reason in _parts(chunk, first=len(whole.texts) == 1):
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
            yield {**_frame(head), "choices": [choice], **({"usage": None} if with_usage else {})}


def _parts(chunk: Chunk, *, first: bool) -> Iterator[tuple[dict[str, Any], str | None]]:
    role = {"role": "assistant"} if first else {}
    if chunk.text or first:
        yield {**role, "content": chunk.text}, None
    if chunk.finish_reason is not None:
        yield {}, chunk.finish_reason


def _frame(head: Head) -> dict[str, Any]:
    return {"id": head.id, "object": "chat.completion.chunk", "created": head.created, "model": head.model}
