"""The Responses API, answered by a chat model."""

from __future__ import annotations

import json

import pytest

from helpers import say
from idiolect.backends.toy import ScriptedBackend
from idiolect.types import Chunk, Completion
from serve.test_chat import tea


def ask(client, **body):
    return client.post("/v1/responses", json={"model": "any", **body})


def events(response):
    parts = [part.split("\n") for part in response.text.split("\n\n") if part]
    found = [(lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: "))) for lines in parts]
    assert all(name == event["type"] for name, event in found)
    assert [event["sequence_number"] for _, event in found] == list(range(len(found)))
    return [event for _, event in found]


def test_an_answer_has_openais_form_and_is_personal(client):
    tea(client)
    answer = ask(client, input="What do I drink at breakfast?", user="ana", instructions="Be short")
    body = answer.json()
    assert (body["object"], body["instructions"]) == ("response", "Be short")
    assert body["output"][0]["content"][0]["type"] == "output_text"
    assert body["usage"]["total_tokens"] > 0
    assert answer.headers["X-Idiolect-Personalized"] == "true; records=1; artifacts=0"
    trace = client.get(f"/v1/traces/{answer.headers['X-Idiolect-Trace']}").json()
    assert trace["base"][0] == {"role": "system", "content": "Be short"}
    assert "green tea" in json.dumps(trace["messages"])


def test_a_stream_says_what_the_whole_answer_says(client):
    whole = ask(client, input="hello hello").json()
    found = events(ask(client, input="hello hello", stream=True))
    assert [event["type"] for event in found[:4]] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    text = whole["output"][0]["content"][0]["text"]
    assert "".join(event["delta"] for event in found if event["type"].endswith("text.delta")) == text
    last = found[-1]
    assert last["type"] == f"response.{whole['status']}"
    assert last["response"]["output"][0]["content"][0]["text"] == text
    assert last["response"]["usage"] == whole["usage"]


def test_conversations_tools_and_formats_are_translated(client):
    calls = [{"id": "call_2", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    backend = ScriptedBackend([Completion("", "tool_calls", message={"content": None, "tool_calls": calls})])
    client.idiolect.backend = backend
    answer = ask(
        client,
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
            {"type": "reasoning", "summary": []},
            {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "out"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "c"}]},
            {"role": "user", "content": [{"type": "input_image", "image_url": "data:x", "detail": "low"}]},
        ],
        tools=[{"type": "function", "name": "f", "parameters": {}, "strict": True}],
        tool_choice={"type": "function", "name": "f"},
        text={"format": {"type": "json_schema", "name": "s", "schema": {}}},
        max_output_tokens=7,
    ).json()  # fmt: skip
    assert [item["type"] for item in answer["output"]] == ["function_call"]
    assert answer["output"][0]["call_id"] == "call_2"
    call = backend.calls[0]
    assert list(call.messages) == [
        {"role": "user", "content": "a\nb"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "out"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}}]},
    ]  # fmt: skip
    assert call.sampling.max_tokens == 7
    assert call.extra["tools"] == [{"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}]
    assert call.extra["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert call.extra["response_format"] == {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}


def test_streamed_tool_calls(client):
    def delta(**call):
        return Chunk("", raw={"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **call}]}}]})

    class Calling(ScriptedBackend):
        def stream(self, call):
            yield Chunk("One moment. ")
            yield delta(id="call_1", type="function", function={"name": "f", "arguments": ""})
            yield delta(function={"arguments": '{"a"'})
            yield delta(function={"arguments": ": 1}"})
            yield Chunk("", "tool_calls", 5, 6)

    client.idiolect.backend = Calling()
    found = events(ask(client, input="x", stream=True))
    output = found[-1]["response"]["output"]
    assert [(item["type"], found_at) for found_at, item in enumerate(output)] == [("message", 0), ("function_call", 1)]
    assert output[1]["arguments"] == '{"a": 1}'
    assert output[1]["call_id"] == "call_1"
    assert [e["delta"] for e in found if e["type"] == "response.function_call_arguments.delta"] == ['{"a"', ": 1}"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"input": []}, "'input'"),
        ({"input": 5}, "'input'"),
        ({"input": "x", "previous_response_id": "resp_1"}, "whole conversation"),
        ({"input": "x", "background": True}, "'background'"),
        ({"input": "x", "tools": [{"type": "web_search"}]}, "'function'"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "'item_reference'"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "'input_file'"),
        ({"input": "x", "max_output_tokens": 0}, "'max_output_tokens'"),
        ({"input": "x", "temperature": "warm"}, "'temperature'"),
    ],
)
def test_what_a_chat_model_cannot_do_is_refused(client, body, says):
    answer = ask(client, **body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


def test_the_turn_is_remembered(client):
    ask(client, input="I live in Graz.", user="ana")
    client.idiolect.drain()
    assert client.get("/v1/users/ana/memories").json()["data"][0]["output"] == "I live in Graz."
    client.idiolect.store.add([say("ana", "x", 1.0)])
