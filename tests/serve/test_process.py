"""The server as a process of its own, with the official client against it."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import threading
import time
from urllib.parse import urlsplit

import pytest

from serve.conftest import key, upstream
from serve.stub import Stub

pytestmark = pytest.mark.process
openai = pytest.importorskip("openai")

KILLS = int(os.environ.get("IDIOLECT_KILLS", "5"))
USER = [{"role": "user", "content": "What do I drink at breakfast?"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = [{"type": "function", "function": {"name": "weather", "parameters": CITY}}]


def client_of(server, key="unused"):
    return openai.OpenAI(base_url=f"{server.address}/v1", api_key=key, max_retries=0, timeout=30)


def call(server, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=60)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection.request(method, path, data, headers or {})
    answer = connection.getresponse()
    status, text = answer.status, answer.read()
    connection.close()
    return status, text


def add(server, user, *texts):
    status, text = call(server, "POST", f"/v1/users/{user}/records", [{"output": t, "time": 1} for t in texts])
    assert status == 200, text
    return json.loads(text)["ids"]


def records(server, user):
    found, after = [], 0
    while after is not None:
        status, text = call(server, "GET", f"/v1/users/{user}/records?limit=1000&after={after}")
        page = json.loads(text) if status == 200 else {"data": [], "next": None}
        found += page["data"]
        after = page["next"]
    return found


def test_the_official_client_meets_nothing_unusual(start, stub):
    server = start(**upstream(stub))
    add(server, "ana", "I always drink green tea at breakfast")
    client = client_of(server)
    answer = client.chat.completions.create(model="m", messages=USER, user="ana")
    assert answer.choices[0].message.content == "stub says hello"
    pieces = client.chat.completions.create(
        model="m", messages=USER, user="ana", stream=True, stream_options={"include_usage": True}
    )
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == "stub says hello"
    raw = client.chat.completions.with_raw_response.create(
        model="m",
        messages=USER,
        extra_headers={"X-User-Id": "ana"},
        extra_body={"idiolect": {"methods": ["retrieval"]}},
    )
    assert raw.headers["x-idiolect-personalized"].startswith("true; records=")
    assert all("green tea" in seen.text and '"idiolect"' not in seen.text for seen in stub.seen)
    assert client.responses.create(model="m", input="breakfast?", user="ana").output_text == "stub responds"
    streamed = client.responses.create(model="m", input="breakfast?", user="ana", stream=True)
    assert [event.type for event in streamed] == ["response.created", "response.completed"]
    assert [model.id for model in client.models.list()] == ["stub-1"]
    assert client.models.retrieve("stub-1").owned_by == "stub"
    assert client.embeddings.create(model="e", input="x").data[0].embedding == [0.25, -0.5, 1.0]
    with pytest.raises(openai.APIStatusError) as failed:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "teapot"}], user="ana")
    assert failed.value.status_code == 418
    assert failed.value.body == {"message": "no coffee", "type": "teapot", "param": None, "code": "418"}


def test_a_streamed_tool_call_makes_the_round_trip(start, stub):
    server = start(**upstream(stub))
    add(server, "ana", "I live in Graz, what is the weather there?")
    client = client_of(server)
    messages = [{"role": "user", "content": "How is the weather where I live?"}]
    with client.chat.completions.stream(model="m", messages=messages, tools=WEATHER, user="ana") as stream:
        asked = stream.get_final_completion().choices[0]
    assert asked.finish_reason == "tool_calls"
    call_ = asked.message.tool_calls[0]
    assert (call_.function.name, json.loads(call_.function.arguments)) == ("weather", {"city": "Graz"})
    reply = {"role": "tool", "tool_call_id": call_.id, "content": "sunny"}
    messages += [asked.message.model_dump(exclude_none=True), reply]
    with client.chat.completions.stream(model="m", messages=messages, tools=WEATHER, user="ana") as stream:
        final = stream.get_final_completion().choices[0].message.content
    assert final == "the tool said sunny"
    assert stub.seen[-1].json["messages"][-1] == reply
    assert "I live in Graz" in stub.seen[-1].text


def test_a_model_of_our_own_satisfies_the_official_client(start):
    server = start()
    client = client_of(server)
    add(server, "ana", "I always drink green tea at breakfast")
    answer = client.chat.completions.create(model="toy", messages=USER, user="ana")
    pieces = list(client.chat.completions.create(model="toy", messages=USER, user="ana", stream=True))
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert pieces[-1].choices[0].finish_reason in ("stop", "length")
    assert client.responses.create(model="toy", input="breakfast?", user="ana").output_text
    events = list(client.responses.create(model="toy", input="breakfast?", user="ana", stream=True))
    assert events[-1].type in ("response.completed", "response.incomplete")
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="toy", messages=[])


def test_keys_hold_over_the_wire(start):
    keys = [key("ana-secret", "ana"), key("app-secret")]
    server = start(serve={"keys": keys})
    with pytest.raises(openai.AuthenticationError):
        client_of(server, "wrong").models.list()
    assert client_of(server, "ana-secret").models.list().data
    headers = {"Authorization": "Bearer ana-secret"}
    assert call(server, "GET", "/v1/users/bob/records", headers=headers)[0] == 403
    app = {"Authorization": "Bearer app-secret"}
    assert call(server, "POST", "/v1/users/bob/records", {"output": "x"}, app)[0] == 200


def test_shutting_down_finishes_open_streams_and_keeps_what_they_taught(start):
    with Stub(pause=0.3) as stub:
        server = start(**upstream(stub))
        add(server, "ana", "I always drink green tea at breakfast")
        said = [{"role": "user", "content": "I live in Graz."}]
        pieces = client_of(server).chat.completions.create(model="m", messages=said, user="ana", stream=True)
        text = next(iter(pieces)).choices[0].delta.content or ""
        ended = []
        thread = threading.Thread(target=lambda: ended.append(server.end(signal.SIGTERM)))
        thread.start()
        time.sleep(0.4)
        with pytest.raises(ConnectionError):
            call(server, "GET", "/healthz")
        text += "".join(piece.choices[0].delta.content or "" for piece in pieces)
        thread.join()
    assert text == "stub says hello"
    status, log = ended[0]
    assert status == 0, log
    again = start()
    kept = [record["output"] for record in records(again, "ana")]
    assert "I live in Graz." in kept


def test_a_client_that_leaves_stops_the_upstream(start):
    with Stub(pause=0.2) as stub:
        server = start(**upstream(stub))
        pieces = client_of(server).chat.completions.create(model="m", messages=USER, user="ana", stream=True)
        next(iter(pieces))
        pieces.close()
        time.sleep(2.0)
        assert stub.sent == []  # the stream was cut before its end
        assert call(server, "GET", "/healthz")[0] == 200


def test_killing_the_server_loses_no_acknowledged_record(start):
    acknowledged: set[str] = set()

    def work(server, number):
        for count in itertools.count():
            try:
                acknowledged.update(add(server, "ana", f"record {number} {time.time_ns()} {count}"))
            except (OSError, http.client.HTTPException):
                return

    for _ in range(KILLS):
        server = start()
        assert acknowledged <= {record["id"] for record in records(server, "ana")}
        threads = [threading.Thread(target=work, args=(server, number)) for number in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        server.process.kill()
        server.process.communicate()
        for thread in threads:
            thread.join()
    last = start()
    there = records(last, "ana")
    assert len(acknowledged) > 20
    assert acknowledged <= {record["id"] for record in there}
    status, text = call(last, "GET", "/v1/users/ana/search?q=record&k=1000")
    assert status == 200
    assert len(json.loads(text)["data"]) == min(1000, len(there))


def test_hostile_bodies_leave_the_server_standing(start):
    server = start()
    path = "/v1/users/ana/records"
    for body, expected in (
        (b'{"output": "\xff\xfe"}', 400),
        (b"[" * 1_000_000, 400),
        (b'{"output":' * 100_000, 400),
        (b'{"output": "' + b"x" * (100 << 20) + b'"}', 413),
        (b'{"output": "fine"}', 200),
    ):
        try:
            status = call(server, "POST", path, body)[0]
        except ConnectionError:  # the refusal came before the body was through
            status = 413
        assert status == expected
    assert len(records(server, "ana")) == 1


def test_the_log_holds_neither_what_was_said_nor_who_said_it(start, stub):
    secrets = ["ana.miller", "green tea", "zebrafish", "stub says hello", "teapot"]
    server = start(**upstream(stub), serve={"log_level": "trace"})
    add(server, "ana.miller", "I always drink green tea at breakfast")
    client = client_of(server)
    for content in ("Is zebrafish a fish, with green tea?", "teapot"):
        with contextlib.suppress(openai.APIStatusError):
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": content}], user=secrets[0])
    call(server, "GET", "/v1/users/ana.miller/search?q=zebrafish")
    call(server, "POST", "/v1/users/ana.miller/records", b'{"output": 5, "zebrafish": "green tea"}')
    call(server, "POST", "/v1/users/ana.miller/import?filename=zebrafish.bin", b"green tea")
    call(server, "GET", "/v1/users/ana.miller/nope/zebrafish")
    status, log = server.end()
    assert status == 0
    assert log
    for secret in secrets:
        assert secret not in log


def test_a_port_that_is_taken_and_an_open_address_are_refused_before_anything_is_loaded(start):
    server = start()
    port = int(server.address.rsplit(":", 1)[1])
    with pytest.raises(AssertionError, match="cannot serve on"):
        start(serve={"port": port})
    with pytest.raises(AssertionError, match="idiolect config add-key"):
        start(serve={"host": "0.0.0.0"})
