"""A stand-in for an OpenAI-compatible endpoint: canned answers, and a list of all that it was sent."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from aiohttp import web

CHAT = {
    "id": "chatcmpl-stub",
    "object": "chat.completion",
    "created": 1,
    "model": "stub-1",
    "system_fingerprint": "fp_ö",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "stub says hello", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6},
}

RESPONSE = {
    "id": "resp_stub", "object": "response", "created_at": 1.0, "status": "completed", "error": None,
    "incomplete_details": None, "instructions": None, "metadata": {}, "model": "stub-1",
    "output": [
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "stub responds", "annotations": []}]}
    ],
    "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
}  # fmt: skip
MODEL = {"id": "stub-1", "object": "model", "created": 1, "owned_by": "stub"}
VECTOR = [0.25, -0.5, 1.0]


def filled(schema: dict[str, Any], text: str, name: str = "", defs: dict[str, Any] | None = None) -> Any:
    """Return a value that satisfies a JSON schema; numbers and other scripts are taken from ``text``."""
    defs = schema.get("$defs") or defs or {}
    schema = defs.get(str(schema.get("$ref")).rsplit("/", 1)[-1], schema)
    schema = (schema.get("anyOf") or schema.get("allOf") or [schema])[0] | {"enum": schema.get("enum")}
    if schema["enum"]:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        return {key: filled(value, text, key, defs) for key, value in schema.get("properties", {}).items()}
    if kind == "array":
        return [filled(schema.get("items", {}), text, name, defs)]
    if kind in ("integer", "number"):
        return int((re.findall(r"\d+", text) or ["7"])[-1])
    other = re.findall(r"[^\x00-\x7f]+", text)
    return kind == "boolean" or {"city": "Graz"}.get(name) or (other or [f"some {name}"])[-1]


def tool_call(tools: list[dict[str, Any]], text: str) -> dict[str, Any]:
    """Return a call of the first tool with arguments that satisfy its schema."""
    function = tools[0]["function"]
    arguments = json.dumps(filled(function.get("parameters") or {}, text))
    return {"id": "call_1", "type": "function", "function": {"name": function["name"], "arguments": arguments}}


@dataclass
class Seen:
    """One request as the endpoint got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


def pretty(value: Any) -> bytes:
    """JSON with odd spacing, so that an answer that was parsed and written again shows."""
    return json.dumps(value, indent=3, ensure_ascii=False).encode() + b"\n \n"


@dataclass
class Stub:
    """The endpoint, on a thread of its own; ``address`` ends in ``/v1``."""

    responses: bool = True
    pause: float = 0.0
    """Seconds between the pieces of a stream."""
    seen: list[Seen] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    """Bodies of the answers, as they went out."""
    address: str = ""

    def __enter__(self) -> Stub:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())

    async def _start(self) -> None:
        app = web.Application(client_max_size=1 << 28)
        app.router.add_route("*", "/v1/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.address = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path, raw = request.match_info["path"], await request.read()
        self.seen.append(Seen(request.method, path, {n.lower(): v for n, v in request.headers.items()}, raw))
        body = json.loads(raw) if raw.startswith(b"{") else {}
        if path == "chat/completions" and request.method == "POST":
            return await self._chat(request, body)
        if path == "responses" and request.method == "POST":
            return await self._respond(request, body)
        if path == "embeddings":
            data = [{"object": "embedding", "index": 0, "embedding": VECTOR}]
            return self._json(
                {"object": "list", "data": data, "model": "e", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
            )
        if path == "completions":
            return await self._complete(request, body)
        return self._json(self._other(request.method, path))

    def _other(self, method: str, path: str) -> Any:
        name, _, rest = path.partition("/")
        if method == "DELETE":
            return {"id": rest, "object": "chat.completion.deleted" if name == "chat" else name, "deleted": True}
        if name == "models":
            return MODEL if rest else {"object": "list", "data": [MODEL]}
        if rest == "compact":
            usage = {
                "input_tokens": 1, "output_tokens": 1, "total_tokens": 2,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            }  # fmt: skip
            return {"id": "resp_c", "object": "response.compaction", "created_at": 1, "output": [], "usage": usage}
        if path == "chat/completions":
            return {"object": "list", "data": [CHAT], "has_more": False, "first_id": "a", "last_id": "a"}
        return RESPONSE if name == "responses" else {**CHAT, "path": path}

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
        data = pretty(value)
        self.sent.append(data)
        return web.Response(body=data, status=status, headers={"content-type": "application/json", **(headers or {})})

    async def _chat(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        messages = body.get("messages")
        last = messages[-1] if messages else {}
        if "teapot" in str(last.get("content")):
            error = {"error": {"message": "no coffee", "type": "teapot", "param": None, "code": "418"}}
            return self._json(error, 418, {"x-request-id": "req_7"})
        said, wanted = str(last.get("content")), body.get("response_format") or {}
        if last.get("role") == "tool":
            text, calls = f"the tool said {last['content']}", []
        elif body.get("tools") and body.get("tool_choice") != "none":
            text, calls = "", [tool_call(body["tools"], said)]
        elif wanted.get("type") == "json_schema":
            text, calls = json.dumps(filled(wanted["json_schema"]["schema"], said)), []
        elif wanted.get("type") == "json_object":
            text, calls = '{"setup": "some setup", "punchline": "some punchline"}', []
        else:
            text, calls = "stub says hello", []
        if body.get("stream"):
            return await self._stream(request, body, text, calls)
        message = {
            "role": "assistant",
            "content": text or None,
            "refusal": None,
            **({"tool_calls": calls} if calls else {}),
        }
        choice = {**CHAT["choices"][0], "message": message, "finish_reason": "tool_calls" if calls else "stop"}
        return self._json({**CHAT, "choices": [choice]}, headers={"x-request-id": "req_1"})

    async def _stream(
        self, request: web.Request, body: dict[str, Any], text: str, calls: list[dict[str, Any]]
    ) -> web.StreamResponse:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "" if text else None}]
        deltas += [{"content": word} for word in text.replace(" ", " |").split("|") if word]
        for index, call in enumerate(calls):
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            deltas.append({"tool_calls": [{**call, "index": index, "function": {"name": name, "arguments": ""}}]})
            for at in range(0, len(arguments), 5):
                piece = {"index": index, "function": {"arguments": arguments[at : at + 5]}}
                deltas.append({"tool_calls": [piece]})
        frame = {"id": "chatcmpl-s", "object": "chat.completion.chunk", "created": 1, "model": "stub-1"}
        choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"})
        events: list[dict[str, Any]] = [{**frame, "choices": [choice]} for choice in choices]
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append({**frame, "choices": [], "usage": CHAT["usage"]})
        return await self._events(
            request, [b"data:  " + json.dumps(event).encode() for event in events] + [b"data: [DONE]"]
        )

    async def _respond(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if not self.responses:
            return self._json({"detail": "Not Found"}, 404)
        if not body.get("stream"):
            return self._json(RESPONSE)
        events = [
            {"type": "response.created", "sequence_number": 0, "response": {**RESPONSE, "output": []}},
            {"type": "response.completed", "sequence_number": 1, "response": RESPONSE},
        ]
        return await self._events(request, [f"event: {e['type']}\ndata: {json.dumps(e)}".encode() for e in events])

    async def _complete(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        choice = {"index": 0, "text": "legacy", "logprobs": None, "finish_reason": "stop"}
        value = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "stub-1", "choices": [choice]}
        if body.get("stream"):
            return await self._events(request, [b"data: " + json.dumps(value).encode(), b"data: [DONE]"])
        return self._json(value)

    async def _events(self, request: web.Request, events: list[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        whole = b""
        for event in events:
            piece = event + b"\n\n"
            try:
                await response.write(piece)
            except ConnectionError:
                return response  # whoever asked has gone
            whole += piece
            if self.pause:
                await asyncio.sleep(self.pause)
        self.sent.append(whole)
        return response
