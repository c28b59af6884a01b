import asyncio
import json
import threading
import time

import pytest
from aiohttp import web

from idiolect.backends._http import Client
from idiolect.backends.openai import OpenAIBackend, transcript
from idiolect.errors import ConfigError, InputError, MalformedAnswer, UnsupportedCall, UpstreamError
from idiolect.types import Backend, Branch, Call, Choose, Sampling


class Endpoint:
    """A real server on 127.0.0.1 whose answers are given by the test; keeps what it received."""

    def __init__(self):
        self.seen: list[tuple[str, str, dict, bytes]] = []
        self.reply = None
        self.running = self.most_at_once = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()
        assert self._started.wait(5)

    def _serve(self):
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._loop.run_until_complete(self._runner.setup())
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"
        self._started.set()
        self._loop.run_forever()

    async def _handle(self, request):
        body = await request.read()
        self.seen.append((request.method, request.path_qs, dict(request.headers), body))
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            return await self.reply(request, body)
        finally:
            self.running -= 1

    def stop(self):
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)


@pytest.fixture
def endpoint():
    server = Endpoint()
    yield server
    server.stop()


@pytest.fixture
def model(endpoint, monkeypatch):
    monkeypatch.setattr("idiolect.backends._http._backoff", lambda attempt: 0.01)
    backend = OpenAIBackend(base_url=endpoint.url, model="m", api_key="secret", timeout=5)
    yield backend
    backend.close()


def ask(text="hi", **fields):
    return Call(({"role": "user", "content": text},), **fields)


def answer(text, **more):
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **more}, "finish_reason": "stop"}
    return {"id": "c1", "choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}


def always(value, status=200, **kwargs):
    async def reply(request, body):
        return web.json_response(value, status=status, **kwargs)

    return reply


def in_turn(*replies):
    left = list(replies)

    async def reply(request, body):
        return await left.pop(0)(request, body)

    return reply


async def drop(request, body):
    request.transport.close()
    return web.Response()


def sse(*events, end=b"data: [DONE]\n\n", cut=False):
    async def reply(request, body):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in events:
            data = event if isinstance(event, bytes) else f"data: {json.dumps(event)}\n\n".encode()
            await response.write(data)
        if cut:
            request.transport.close()
            return response
        await response.write(end)
        return response

    return reply


def delta(text=None, reason=None, **more):
    return {"choices": [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": reason}], **more}


def test_an_answer_and_what_is_sent_for_it(endpoint, model):
    endpoint.reply = always(answer("hello"))
    call = ask(
        sampling=Sampling(temperature=0.5, max_tokens=9, seed=3, stop=("x",)), extra={"tools": [1], "model": "no"}
    )
    (got,) = model.generate([call])
    assert isinstance(model, Backend)
    assert (got.text, got.finish_reason, got.tokens_in, got.tokens_out) == ("hello", "stop", 5, 2)
    assert got.raw["id"] == "c1"
    method, path, headers, body = endpoint.seen[0]
    assert (method, path, headers["Authorization"]) == ("POST", "/v1/chat/completions", "Bearer secret")
    sent = json.loads(body)
    assert sent == {
        "tools": [1], "model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5,
        "max_tokens": 9, "seed": 3, "stop": ["x"], "stream": False,
    }  # fmt: skip


def test_tool_calls_reach_the_caller(endpoint, model):
    endpoint.reply = always(answer(None, tool_calls=[{"id": "t"}]))
    got = model.generate([ask()])[0]
    assert got.text == ""
    assert got.message["tool_calls"] == [{"id": "t"}]


def test_a_batch_runs_at_once_within_its_bound_and_keeps_its_order(endpoint, model):
    async def echo(request, body):
        text = json.loads(body)["messages"][0]["content"]
        await asyncio.sleep(0.05 if text == "0" else 0.02)
        return web.json_response(answer(text))

    endpoint.reply = echo
    model.concurrency = 4
    got = model.generate([ask(str(n)) for n in range(12)])
    assert [one.text for one in got] == [str(n) for n in range(12)]
    assert endpoint.most_at_once == 4


def test_an_error_of_the_endpoint_keeps_its_status_and_body(endpoint, model):
    endpoint.reply = always({"error": {"message": "no such model"}}, status=404)
    with pytest.raises(UpstreamError) as caught:
        model.generate([ask()])
    assert caught.value.status == 404
    assert json.loads(caught.value.body) == {"error": {"message": "no such model"}}
    assert len(endpoint.seen) == 1


def test_busy_is_tried_again_after_the_time_it_names(endpoint, model):
    endpoint.reply = in_turn(
        always({}, 429, headers={"Retry-After": "0.2"}), always({}, 503), always(answer("at last"))
    )
    start = time.monotonic()
    assert model.generate([ask()])[0].text == "at last"
    assert time.monotonic() - start >= 0.2
    assert len(endpoint.seen) == 3


def test_a_longer_wait_than_the_cap_is_not_waited_for(endpoint, model):
    endpoint.reply = always({}, 429, headers={"Retry-After": "3600"})
    with pytest.raises(UpstreamError) as caught:
        model.generate([ask()])
    assert (caught.value.status, len(endpoint.seen)) == (429, 1)


def test_a_connection_dropped_before_the_answer_is_tried_again(endpoint, model):
    endpoint.reply = in_turn(drop, drop, always(answer("ok")))
    assert model.generate([ask()])[0].text == "ok"
    assert len(endpoint.seen) == 3


def test_what_may_have_been_executed_is_not_sent_twice(endpoint, model):
    endpoint.reply = drop

    async def create():
        try:
            await model.forward("POST", "/responses", b"{}", [])
        finally:
            await model.aclose()

    with pytest.raises(UpstreamError):
        asyncio.run(create())
    assert len(endpoint.seen) == 1


def test_nobody_there_says_what_to_check():
    model = OpenAIBackend(base_url="http://127.0.0.1:9/v1", model="m", retries=0)
    with pytest.raises(UpstreamError, match="Is it running") as caught:
        model.generate([ask()])
    assert caught.value.status == 502
    model.close()


def test_silence_is_an_error_and_not_tried_again(endpoint, model):
    async def sleep(request, body):
        await asyncio.sleep(2)
        return web.Response()

    endpoint.reply = sleep
    model.timeout = 0.2
    with pytest.raises(UpstreamError, match="silent") as caught:
        model.generate([ask()])
    assert (caught.value.status, len(endpoint.seen)) == (504, 1)


@pytest.mark.parametrize(
    "body", [b"<html>secret words</html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": 3}]}']
)
def test_a_malformed_answer_is_counted_and_not_quoted(endpoint, model, body):
    async def reply(request, _):
        return web.Response(body=body)

    endpoint.reply = reply
    with pytest.raises(MalformedAnswer) as caught:
        model.generate([ask()])
    assert "secret words" not in str(caught.value)
    assert sum(model.failures.values()) == 1


def test_a_stream(endpoint, model):
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    split = b'data: {"choices":[{"delta":\r\ndata: {"content":"!"}}]}\r\n\r\n'
    endpoint.reply = sse(b": ping\n\n", delta("Hel"), delta("lo"), split, delta(None, "length"), usage)
    chunks = list(model.stream(ask()))
    assert "".join(chunk.text for chunk in chunks) == "Hello!"
    last = chunks[-1]
    assert (last.finish_reason, last.tokens_in, last.tokens_out) == ("length", 7, 3)
    assert [chunk.raw for chunk in chunks if chunk.raw][-1] == usage
    assert json.loads(endpoint.seen[0][3])["stream_options"] == {"include_usage": True}


def test_an_endpoint_may_leave_out_the_done_mark(endpoint, model):
    endpoint.reply = sse(delta("a"), delta(None, "stop"), end=b"")
    assert [chunk.text for chunk in model.stream(ask())] == ["a", "", ""]


def test_a_stream_broken_off_is_an_error_and_not_tried_again(endpoint, model):
    endpoint.reply = sse(delta("a"), cut=True)
    chunks = model.stream(ask())
    assert next(chunks).text == "a"
    with pytest.raises(UpstreamError):
        list(chunks)
    assert len(endpoint.seen) == 1


def test_a_stream_that_ends_early_is_an_error(endpoint, model):
    endpoint.reply = sse(delta("a"))
    with pytest.raises(UpstreamError, match="without a finish reason"):
        list(model.stream(ask()))


def test_malformed_and_error_events(endpoint, model):
    endpoint.reply = sse(b"data: {not json}\n\n")
    with pytest.raises(MalformedAnswer):
        list(model.stream(ask()))
    endpoint.reply = sse({"error": {"message": "overloaded", "code": 503}})
    with pytest.raises(UpstreamError) as caught:
        list(model.stream(ask()))
    assert caught.value.status == 503
    assert b"overloaded" in caught.value.body


def test_a_stream_left_early_is_closed(endpoint, model):
    gone = threading.Event()

    async def endless(request, body):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(f"data: {json.dumps(delta('a'))}\n\n".encode())
                await asyncio.sleep(0.01)
        except ConnectionError:
            gone.set()
        return response

    endpoint.reply = endless
    chunks = model.stream(ask())
    next(chunks)
    chunks.close()
    assert gone.wait(3)


def test_forward_leaves_the_bytes_alone_both_ways(endpoint, model):
    body = b'{"a":1,  "b":"\xc3\xa9"}'

    async def reply(request, _):
        headers = {"X-Up": "1", "Content-Encoding": "gzip", "Connection": "X-Hop", "X-Hop": "1"}
        return web.Response(status=418, body=b"\x00not really gzip", headers=headers)

    endpoint.reply = reply

    async def go():
        headers = [("content-type", "application/json"), ("connection", "close, x-mine"), ("x-mine", "1"),
                   ("authorization", "Bearer client"), ("host", "other"), ("x-keep", "2")]  # fmt: skip
        status, got, pieces = await model.forward("post", "/chat/completions?x=%2F", body, headers)
        data = b"".join([piece async for piece in pieces])
        await model.aclose()
        return status, {name.lower(): value for name, value in got}, data

    status, headers, data = asyncio.run(go())
    assert (status, data, headers["x-up"], headers["content-encoding"]) == (418, b"\x00not really gzip", "1", "gzip")
    assert "x-hop" not in headers
    assert "connection" not in headers
    _, path, sent, received = endpoint.seen[0]
    assert (path, received, sent["x-keep"], sent["Authorization"]) == (
        "/v1/chat/completions?x=%2F",
        body,
        "2",
        "Bearer secret",
    )
    assert "x-mine" not in sent
    assert sent["Host"] != "other"
    assert "Accept-Encoding" not in sent


@pytest.mark.parametrize("path", ["/../admin", "/a/%2e%2E/b", "models", "http://elsewhere/x"])
def test_forward_stays_below_its_address(model, path):
    with pytest.raises(InputError):
        asyncio.run(model.forward("GET", path, b"", []))


def test_log_probabilities_of_the_continuation_alone(endpoint, model):
    call = ask("hi")
    prompt = len(transcript(call.messages))

    async def echo(request, body):
        sent = json.loads(body)
        assert (sent["prompt"], sent["echo"]) == (transcript(call.messages) + "yes", True)
        offsets = [0, 4, prompt, prompt + 2, prompt + 3]
        scored = {"text_offset": offsets, "token_logprobs": [None, -9.0, -0.5, -0.25, -9.0]}
        return web.json_response({"choices": [{"text": "", "logprobs": scored}]})

    endpoint.reply = echo
    assert model.logprobs([call, call], ["yes", "yes"]) == [-0.75, -0.75]


def test_the_best_draft_is_chosen(endpoint, model):
    async def by_seed(request, body):
        sent = json.loads(body)
        return web.json_response(answer(f"draft {sent.get('seed')} at {sent['temperature']} of {sent['messages']}"))

    endpoint.reply = by_seed
    scored = []

    def second(drafts):
        scored.append(list(drafts))
        return [float(n == 1) for n in range(len(drafts))]

    chosen = ask("a", choose=Choose(3, second), sampling=Sampling(seed=4))
    best, plain = model.generate([chosen, ask("b", sampling=Sampling(temperature=0.1))])
    assert best.text.startswith("draft 5 at 0.7")
    assert (best.tokens_in, best.tokens_out) == (15, 6)
    assert plain.text.startswith("draft None at 0.1")
    assert len(endpoint.seen) == 4
    (chunk,) = model.stream(chosen)
    assert (chunk.text, chunk.finish_reason) == (best.text, "stop")
    among = ask("c", choose=Choose(1, second, (ask("d"), ask("e"))), sampling=Sampling(temperature=0.0))
    assert "'e'" in model.generate([among])[0].text
    assert len(scored) == 3


def test_what_a_draft_needs_is_refused_before_anything_is_sent(endpoint, model):
    mixed = ask("x", mix=(Branch(None, 1.0),))
    chosen = ask("x", choose=Choose(1, lambda drafts: [0.0], (ask("y"), mixed)))
    for work in (lambda: model.generate([ask(), chosen]), lambda: model.stream(chosen)):
        with pytest.raises(UnsupportedCall, match="mix"):
            work()
    assert endpoint.seen == []


@pytest.mark.parametrize("value", [{"choices": [{"text": "x", "logprobs": None}]}, {"choices": []}])
def test_no_echo_means_no_log_probabilities(endpoint, model, value):
    endpoint.reply = always(value)
    with pytest.raises(UnsupportedCall, match="logprobs"):
        model.logprobs([ask()], ["yes"])
    endpoint.reply = always({}, 404)
    with pytest.raises(UnsupportedCall, match="logprobs"):
        model.logprobs([ask()], ["yes"])


def test_settings(endpoint, monkeypatch):
    assert "secret" not in repr(OpenAIBackend(api_key="secret"))
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY"):
        OpenAIBackend(base_url=endpoint.url, model="m", api_key_env="NO_SUCH_KEY").generate([ask()])
    with pytest.raises(ConfigError, match="model"):
        OpenAIBackend(base_url=endpoint.url).generate([ask()])
    with pytest.raises(UnsupportedCall, match="mix"):
        OpenAIBackend(base_url=endpoint.url, model="m").generate([ask(mix=(Branch((), 1.0),))])


def test_one_backend_serves_many_threads_and_can_be_closed_and_used_again(endpoint, model):
    endpoint.reply = always(answer("x"))
    got = []
    threads = [threading.Thread(target=lambda: got.append(model.generate([ask()])[0].text)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == ["x"] * 8
    model.close()
    assert model.generate([ask()])[0].text == "x"


def test_tokens_are_over_estimated():
    model = OpenAIBackend()
    assert model.count_tokens("") == 0
    assert model.count_tokens("Hello there, world") >= 4
    assert model.count_tokens("12345") == 5
    assert model.count_tokens("日本語") >= 3


def test_retry_after_may_be_a_date():
    from email.utils import formatdate

    from idiolect.backends._http import _retry_after

    assert 2 < _retry_after(formatdate(time.time() + 4, usegmt=True), 1.0) < 5
    assert _retry_after("soon", 1.0) == 1.0
    assert isinstance(Client, type)
