"""In front of an OpenAI-compatible endpoint: what goes there, and what comes back."""

from __future__ import annotations

import json

import pytest

from helpers import say
from serve.conftest import key, upstream
from serve.test_chat import tea

ASK = {"model": "gpt-x", "messages": [{"role": "user", "content": "What do I drink at breakfast?"}]}


def chat(proxy, headers=None, **body):
    return proxy.post("/v1/chat/completions", json={**ASK, **body}, headers=headers)


def test_without_a_user_the_bytes_go_and_come_unchanged(proxy, stub):
    body = b'{ "messages":[{"role":"user","content":"h\\u00e9 \\/"}],  "big": 12345678901234567890123, "x": 1.0e5 }'
    answer = proxy.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert stub.seen[0].body == body
    assert answer.content == stub.sent[0]
    assert answer.headers["x-request-id"] == "req_1"
    assert answer.headers["X-Idiolect-Personalized"] == "false; reason=no-user"


def test_what_is_not_ours_goes_to_the_model_untouched(proxy, stub):
    tea(proxy)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
    messages = [
        {"role": "system", "content": "Be brief", "name": "boss"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {}}]},
        {"role": "tool", "tool_call_id": "c", "content": "42", "odd": [1, None, 1.5]},
        {"role": "user", "content": [{"type": "text", "text": "What do I drink at breakfast?"}, image]},
    ]
    extra = {
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "none",
        "weird": {"a": [True]},
        "logit_bias": {"5": -100},
        "temperature": 0.3,
        "n": 2,
        "store": False,
        "response_format": {"type": "text"},
    }
    chat(proxy, messages=messages, user="ana", **extra)
    sent = stub.seen[0].json
    assert {name: sent[name] for name in extra} == extra
    assert sent["model"] == "gpt-x"
    assert sent["messages"][1:3] == messages[1:3]
    assert "green tea" in json.dumps(sent["messages"])
    assert sent["messages"][-1]["content"][-2:] == messages[-1]["content"]
    assert sent["messages"][0]["name"] == "boss"
    assert "idiolect" not in sent


def test_personal_text_reaches_the_model_for_its_user_alone(proxy, stub):
    tea(proxy, "ana")
    proxy.idiolect.store.add([say("bob", "I always drink black coffee at breakfast", 1.0, kind="content")])
    for user in ("ana", "bob", "carl"):
        chat(proxy, user=user)
    texts = [seen.text for seen in stub.seen]
    assert ["green tea" in text for text in texts] == [True, False, False]
    assert ["black coffee" in text for text in texts] == [False, True, False]


def test_user_ids_are_hidden_from_the_upstream(proxy, stub):
    tea(proxy, "ana@example.org")
    who = {"user": "ana@example.org", "safety_identifier": "ana@example.org",
           "metadata": {"user_id": "ana@example.org", "topic": "tea"}}  # fmt: skip
    chat(proxy, headers={"X-User-Id": "ana@example.org", "X-Session-Id": "s", "Cookie": "a=b"}, **who)
    chat(proxy, **who)
    chat(proxy, user="bob")
    first, second, third = stub.seen
    assert "ana@example.org" not in first.text + str(first.headers)
    assert not {"x-user-id", "x-session-id", "cookie", "x-idiolect-methods"} & set(first.headers)
    assert first.json["user"] == first.json["safety_identifier"] == first.json["metadata"]["user_id"]
    assert first.json["user"] == second.json["user"] != third.json["user"]
    assert first.json["user"].startswith("u_")
    assert len(first.json["user"]) <= 64
    assert first.json["metadata"]["topic"] == "tea"


def test_the_answers_bytes_are_the_upstreams_bytes(proxy, stub):
    tea(proxy)
    whole = chat(proxy, user="ana")
    streamed = chat(proxy, user="ana", stream=True, stream_options={"include_usage": True})
    assert whole.headers["X-Idiolect-Personalized"].startswith("true; records=1")
    assert [whole.content, streamed.content] == stub.sent
    traces = [proxy.get(f"/v1/traces/{answer.headers['X-Idiolect-Trace']}").json() for answer in (whole, streamed)]
    assert [trace["answer"] for trace in traces] == ["stub says hello"] * 2
    assert [trace["tokens_out"] for trace in traces] == [3, 3]


def test_an_upstreams_error_is_passed_on_as_it_is(proxy, stub):
    tea(proxy)
    for stream in (False, True):
        answer = chat(proxy, messages=[{"role": "user", "content": "be a teapot"}], user="ana", stream=stream)
        assert answer.status_code == 418
        assert answer.content == stub.sent[-1]
        assert answer.headers["x-request-id"] == "req_7"
        assert "X-Idiolect-Trace" not in answer.headers
    proxy.idiolect.drain()
    assert len(proxy.get("/v1/users/ana/records").json()["data"]) == 1
    assert 'idiolect_upstream_errors_total{status="418"} 2.0' in proxy.get("/metrics").text


def test_an_upstream_that_is_not_there_is_a_bad_gateway(make):
    gone = make(backend="openai", backends={"openai": {"base_url": "http://127.0.0.1:9/v1", "retries": 0}})
    answer = gone.post("/v1/chat/completions", json=ASK)
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_error"


def test_keys_go_to_whom_they_belong(make, stub):
    open_ = make(**upstream(stub))
    chat(open_, headers={"Authorization": "Bearer clients-own"})
    assert stub.seen[-1].headers["authorization"] == "Bearer clients-own"


def test_a_key_for_us_is_not_passed_on(make, stub):
    keyed = make(**upstream(stub), serve={"keys": [key("ours", "ana")]})
    chat(keyed, headers={"Authorization": "Bearer ours"})
    assert "authorization" not in stub.seen[-1].headers
    assert keyed.get("/v1/files", headers={"Authorization": "Bearer ours"}).status_code == 403


def test_a_body_the_upstream_should_judge_is_left_to_it(proxy, stub):
    for messages in ("none", [], [5]):
        chat(proxy, messages=messages, user="ana")
        assert stub.seen[-1].json["messages"] == messages
        assert stub.seen[-1].json["user"] != "ana"


def test_the_operators_model_is_named_where_the_client_names_none(make, stub):
    named = upstream(stub)
    named["backends"]["openai"]["model"] = "operators"
    proxy = make(**named)
    proxy.post("/v1/chat/completions", json={"messages": ASK["messages"]})
    chat(proxy)
    assert [seen.json["model"] for seen in stub.seen] == ["operators", "gpt-x"]


def test_what_methods_change_besides_messages_reaches_the_upstream(proxy, stub, monkeypatch):
    from dataclasses import replace

    from idiolect.types import Sampling

    tea(proxy)
    plan = proxy.idiolect.plan

    def colder(call, user, **options):
        made = plan(call, user, **options)
        return replace(made, call=replace(made.call, sampling=Sampling(temperature=0.1, stop=("x",), max_tokens=5)))

    monkeypatch.setattr(proxy.idiolect, "plan", colder)
    chat(proxy, user="ana", temperature=0.9, max_completion_tokens=9)
    sent = stub.seen[0].json
    assert (sent["temperature"], sent["stop"], sent["max_completion_tokens"]) == (0.1, ["x"], 5)
    assert "max_tokens" not in sent


def test_models_embeddings_and_completions_are_passed_on(proxy, stub):
    assert proxy.get("/v1/models").content == stub.sent[-1]
    assert proxy.get("/v1/models/org/m").content == stub.sent[-1]
    assert stub.seen[-1].path == "models/org/m"
    assert proxy.post("/v1/embeddings", json={"input": "x", "user": "ana"}).content == stub.sent[-1]
    assert stub.seen[-1].json["user"].startswith("u_")
    assert proxy.post("/v1/completions", json={"prompt": "x"}).content == stub.sent[-1]


def test_other_paths_are_passed_on_to_the_upstream(proxy, stub):
    answer = proxy.get("/v1/files?purpose=batch")
    assert answer.content == stub.sent[-1]
    assert (stub.seen[-1].method, stub.seen[-1].path) == ("GET", "files")
    for path in ("/v1/users/ana/nope", "/v1/traces", "/v1/users"):
        proxy.put(path)
    assert len(stub.seen) == 1


def test_responses_are_personalized_and_passed_on(proxy, stub):
    tea(proxy)
    plain = b'{"input":  "hello"}'
    assert proxy.post("/v1/responses", content=plain).content == stub.sent[-1]
    assert stub.seen[-1].body == plain
    body = {"input": "What do I drink at breakfast?", "instructions": "Be brief", "user": "ana", "odd": 1.5}
    answer = proxy.post("/v1/responses", json=body)
    sent = stub.seen[-1].json
    assert answer.content == stub.sent[-1]
    assert sent["instructions"].startswith("Be brief\n\n")
    assert "green tea" in json.dumps(sent["input"])
    assert sent["odd"] == 1.5
    assert proxy.get(f"/v1/traces/{answer.headers['X-Idiolect-Trace']}").json()["answer"] == "stub responds"


def test_items_of_a_response_stay_as_they_are(proxy, stub):
    tea(proxy)
    items = [
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "42"},
        {"role": "user", "content": [{"type": "input_text", "text": "What do I drink at breakfast?"}]},
    ]
    answer = proxy.post("/v1/responses", json={"input": items, "user": "ana", "stream": True})
    sent = stub.seen[-1].json["input"]
    assert [item for item in items[:2] if item not in sent] == []
    assert sent[-1]["content"][-1] == items[-1]["content"][0]
    assert {part["type"] for part in sent[-1]["content"]} == {"input_text"}
    assert answer.content == stub.sent[-1]
    assert proxy.get(f"/v1/traces/{answer.headers['X-Idiolect-Trace']}").json()["answer"] == "stub responds"


def test_an_upstream_without_responses_is_asked_by_chat(proxy, stub):
    stub.responses = False
    tea(proxy)
    for stream in (False, True):
        answer = proxy.post(
            "/v1/responses", json={"model": "m", "input": "breakfast?", "user": "ana", "stream": stream}
        )
        assert answer.status_code == 200
        assert "stub says hello" in answer.text
    assert [seen.path for seen in stub.seen] == ["responses", "chat/completions", "chat/completions"]


@pytest.mark.parametrize("user", ["ana", None])
def test_a_deep_body_is_refused_or_passed_on_but_never_a_fault(proxy, stub, user):
    tea(proxy)
    deep = json.loads('{"a":' * 400 + "1" + "}" * 400)
    answer = chat(proxy, deep=deep, **({"user": user} if user else {}))
    assert answer.status_code == (400 if user else 200)
