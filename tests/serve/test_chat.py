"""Chat completions from a model of our own."""

from __future__ import annotations

import json

import pytest

from helpers import say
from idiolect.backends.toy import ScriptedBackend
from idiolect.errors import StoreBusy
from idiolect.types import Completion

ASK = {"model": "any", "messages": [{"role": "user", "content": "What do I drink at breakfast?"}]}


def tea(client, user="ana"):
    client.idiolect.store.add([say(user, "I always drink green tea at breakfast", 1.0, kind="content")])


def events(response):
    lines = [line[6:] for line in response.text.split("\n\n") if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_an_answer_has_openais_form_and_tells_what_shaped_it(client):
    tea(client)
    answer = client.post("/v1/chat/completions", json={**ASK, "user": "ana"})
    body = answer.json()
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["role"] == "assistant"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    assert answer.headers["X-Idiolect-Personalized"] == "true; records=1; artifacts=0"
    trace = client.get(f"/v1/traces/{answer.headers['X-Idiolect-Trace']}").json()
    assert trace["user"] == "ana"
    assert "green tea" in trace["used"][0]["text"]
    assert trace["answer"] == body["choices"][0]["message"]["content"]


def test_without_a_user_nothing_is_personal_and_nothing_is_kept(client):
    answer = client.post("/v1/chat/completions", json=ASK)
    assert answer.headers["X-Idiolect-Personalized"] == "false; reason=no-user"
    assert "X-Idiolect-Trace" not in answer.headers
    client.idiolect.drain()
    assert client.get("/v1/users").json()["data"] == []


def test_a_new_user_gets_the_plain_answer_and_is_remembered(client):
    said = [{"role": "user", "content": "I live in Graz and I am vegetarian."}]
    answer = client.post("/v1/chat/completions", json={"messages": said, "user": "new"})
    assert answer.headers["X-Idiolect-Personalized"] == "false; reason=no-history"
    assert "X-Idiolect-Trace" not in answer.headers
    client.idiolect.drain()
    kept = client.get("/v1/users/new/memories").json()["data"]
    assert [memory["output"] for memory in kept] == ["I live in Graz", "I am vegetarian."]


def test_remember_false_keeps_nothing(client):
    client.post("/v1/chat/completions", json={**ASK, "user": "new", "idiolect": {"remember": False}})
    client.idiolect.drain()
    assert client.get("/v1/users").json()["data"] == []


def test_methods_none_switches_personalization_off(client):
    tea(client)
    for options in ({"json": {**ASK, "user": "ana", "idiolect": {"methods": []}}},
                    {"json": {**ASK, "user": "ana"}, "headers": {"X-Idiolect-Methods": "none"}}):  # fmt: skip
        answer = client.post("/v1/chat/completions", **options)
        assert answer.headers["X-Idiolect-Personalized"] == "false; reason=off"
    client.idiolect.drain()
    assert client.get("/v1/users").json()["data"][0]["records"] == 1


def test_a_request_may_name_its_methods_budget_and_time(client):
    tea(client)
    named = {"methods": [{"name": "retrieval", "k": 3}], "tokens": 0}
    answer = client.post("/v1/chat/completions", json={**ASK, "user": "ana", "idiolect": named})
    assert answer.headers["X-Idiolect-Personalized"] == "false; reason=no-match"
    assert client.get(f"/v1/traces/{answer.headers['X-Idiolect-Trace']}").json()["methods"][0]["k"] == 3
    past = client.post("/v1/chat/completions", json={**ASK, "user": "ana", "idiolect": {"now": "1970-01-01T00:00:00Z"}})
    assert past.headers["X-Idiolect-Personalized"] == "false; reason=no-match"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"methods": ["retrieval2"]}, "Did you mean 'retrieval'?"),
        ({"methods": [{"name": "retrieval", "q": 1}]}, "q"),
        ({"methods": "retrieval"}, "must be a list"),
        ({"now": "yesterday"}, "idiolect.now"),
        ({"tokens": -1}, "idiolect.tokens"),
        ({"remember": "no"}, "idiolect.remember"),
        ({"method": []}, "Did you mean 'methods'?"),
        (["retrieval"], "'idiolect' must be an object"),
    ],
)
def test_wrong_options_are_the_clients_error(client, options, says):
    tea(client)
    answer = client.post("/v1/chat/completions", json={**ASK, "user": "ana", "idiolect": options})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert says in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_a_method_the_backend_cannot_do_is_refused_where_the_request_named_it(client, monkeypatch):
    tea(client)

    def refuse(*args, **kwargs):
        from idiolect.errors import UnsupportedCall

        raise UnsupportedCall("steering", "toy", "steering", ["transformers"])

    monkeypatch.setattr(client.idiolect, "plan", refuse)
    named = client.post("/v1/chat/completions", json={**ASK, "user": "ana", "idiolect": {"methods": ["retrieval"]}})
    assert named.status_code == 400
    assert "'steering'" in named.json()["error"]["message"]
    assert "'toy'" in named.json()["error"]["message"]
    default = client.post("/v1/chat/completions", json={**ASK, "user": "ana"})
    assert default.headers["X-Idiolect-Personalized"] == "false; reason=failed:UnsupportedCall"


def test_a_failed_plan_costs_the_personal_part_and_never_the_answer(client, monkeypatch, caplog):
    tea(client)

    def fail(*args, **kwargs):
        raise StoreBusy("the secret is green tea")

    monkeypatch.setattr(client.idiolect, "plan", fail)
    answer = client.post("/v1/chat/completions", json={**ASK, "user": "ana"})
    assert answer.status_code == 200
    assert answer.headers["X-Idiolect-Personalized"] == "false; reason=failed:StoreBusy"
    assert 'idiolect_plan_failures_total{error="StoreBusy"} 1.0' in client.get("/metrics").text
    assert "StoreBusy" in caplog.text
    assert "green tea" not in caplog.text


def test_a_plan_that_hangs_is_not_waited_for(client, monkeypatch):
    import threading

    from idiolect.serve import engine

    tea(client)
    go_on = threading.Event()
    monkeypatch.setattr(engine, "PLAN_SECONDS", 0.05)
    monkeypatch.setattr(client.idiolect, "plan", lambda *a, **k: go_on.wait(10))
    answer = client.post("/v1/chat/completions", json={**ASK, "user": "ana"})
    go_on.set()
    assert answer.headers["X-Idiolect-Personalized"] == "false; reason=failed:TimeoutError"


def test_a_stream_says_what_the_whole_answer_says(client):
    tea(client)
    whole = client.post("/v1/chat/completions", json={**ASK, "user": "ana", "idiolect": {"remember": False}}).json()
    asked = {**ASK, "user": "ana", "stream": True, "stream_options": {"include_usage": True}}
    streamed = client.post("/v1/chat/completions", json={**asked, "idiolect": {"remember": False}})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    chunks = events(streamed)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    assert client.get(f"/v1/traces/{streamed.headers['X-Idiolect-Trace']}").json()["answer"] == text


def test_without_include_usage_there_is_no_usage_chunk(client):
    chunks = events(client.post("/v1/chat/completions", json={**ASK, "stream": True}))
    assert all(chunk["choices"] for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")


def test_several_choices_stop_and_limits(client):
    body = client.post("/v1/chat/completions", json={**ASK, "n": 3, "max_completion_tokens": 4, "seed": 1}).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert body["usage"]["completion_tokens"] == 12
    chunks = events(client.post("/v1/chat/completions", json={**ASK, "n": 2, "max_tokens": 3, "stream": True}))
    assert {chunk["choices"][0]["index"] for chunk in chunks} == {0, 1}
    for seed in (-(2**63), -1, 2**63 - 1):
        assert client.post("/v1/chat/completions", json={**ASK, "seed": seed, "temperature": 1}).status_code == 200


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"messages": []}, "'messages'"),
        ({"messages": "hello"}, "'messages'"),
        ({"messages": [{"content": "x"}]}, "'role'"),
        ({"messages": [{"role": "user", "content": 5}]}, "'content'"),
        ({"temperature": 3}, "'temperature'"),
        ({"temperature": True}, "'temperature'"),
        ({"top_p": "x"}, "'top_p'"),
        ({"max_tokens": -1}, "'max_tokens'"),
        ({"n": 0}, "'n'"),
        ({"seed": 1.5}, "'seed'"),
        ({"n": 1000}, "'n'"),
        ({"stop": [1]}, "'stop'"),
        ({"user": "x" * 600}, "512"),
    ],
)
def test_what_cannot_be_meant_is_refused(client, change, says):
    answer = client.post("/v1/chat/completions", json={**ASK, **change})
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"\xff\xfe{}", b'{"messages": [', b"", b"[1]", b'{"user": "\\ud800"}', b"[" * 5000])
def test_a_body_that_is_no_json_object_is_refused(client, body):
    answer = client.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_body_that_is_too_large_is_refused(make):
    client = make(serve={"max_body_mb": 1})
    for content in (b" " * (2 << 20), iter([b" " * (1 << 20), b" " * 2])):
        answer = client.post("/v1/chat/completions", content=content)
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "too_large"


def test_extra_fields_reach_the_backend_and_its_own_answer_the_client(client):
    raw = {"id": "own", "object": "chat.completion", "choices": [{"message": {"content": "x"}}], "timings": {"ms": 1}}
    backend = ScriptedBackend([Completion("x", raw=raw)])
    client.idiolect.backend = backend
    answer = client.post("/v1/chat/completions", json={**ASK, "tools": [{"type": "function"}], "weird": {"a": [1]}})
    assert answer.json() == raw
    assert backend.calls[0].extra == {"tools": [{"type": "function"}], "weird": {"a": [1]}}


def test_a_model_that_fails_is_a_clear_error_before_a_stream_begins(client):
    client.idiolect.backend = ScriptedBackend([])
    answer = client.post("/v1/chat/completions", json={**ASK, "stream": True})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "model_error"


def test_who_is_erased_while_an_answer_is_made_stays_erased(client):
    tea(client)

    def answer(call):
        client.idiolect.erase("ana")
        return "too late"

    client.idiolect.backend = ScriptedBackend(answer)
    assert client.post("/v1/chat/completions", json={**ASK, "user": "ana"}).status_code == 200
    client.idiolect.drain()
    assert client.get("/v1/users").json()["data"] == []


def test_a_conversation_is_one_session_and_another_one_is_not(client):
    def turn(*texts, **more):
        messages = [{"role": "user", "content": text} for text in texts]
        client.post("/v1/chat/completions", json={"messages": messages, "user": "ana", **more})
        client.idiolect.drain()
        return client.get("/v1/users/ana/records").json()["data"][-1]["meta"]["session"]

    first = turn("Hello there")
    assert turn("Hello there", "and more") == first
    assert turn("Something else") != first
    assert turn("Hello there", metadata={"session_id": "s1"}) == "s1"
    assert turn("Hello there", idiolect={"session": "s2"}) == "s2"


def test_legacy_completions(client):
    answer = client.post("/v1/completions", json={"prompt": ["abc", "abcd"], "max_tokens": 3}).json()
    assert answer["object"] == "text_completion"
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    streamed = client.post("/v1/completions", json={"prompt": "abc", "max_tokens": 3, "stream": True})
    assert "".join(chunk["choices"][0]["text"] for chunk in events(streamed)) == answer["choices"][0]["text"]
    assert client.post("/v1/completions", json={"prompt": [1, 2]}).status_code == 400


def test_models(client):
    listed = client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["toy"]
    assert client.get("/v1/models/toy").json() == listed["data"][0]
    assert client.get("/v1/models/org/other").status_code == 404


def test_a_trace_can_be_read_while_work_keeps_coming(client):
    import threading

    tea(client)
    stop = threading.Event()

    def again():
        if not stop.wait(0.01):
            client.idiolect.worker.submit(again)

    client.idiolect.worker.submit(again)
    answer = client.post("/v1/chat/completions", json={**ASK, "user": "ana"})
    found = client.get(f"/v1/traces/{answer.headers['X-Idiolect-Trace']}")
    stop.set()
    assert found.status_code == 200
    assert "idiolect_waiting_turns" in client.get("/metrics").text
