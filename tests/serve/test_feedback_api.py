"""What a person says of an answer, over the API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from helpers import say
from idiolect import registry
from serve.conftest import key

ASK = {"messages": [{"role": "user", "content": "What tea do I drink?"}], "user": "ana"}


def asked(client, **headers):
    client.idiolect.store.add([say("ana", "I always drink green tea", 1.0)])
    return client.post("/v1/chat/completions", json=ASK, headers=headers).headers["X-Idiolect-Trace"]


@pytest.mark.parametrize(
    ("body", "given", "output"),
    [
        ({"rating": "up"}, {"rating": 1.0}, ""),
        ({"rating": "down", "comment": " too long "}, {"rating": -1.0, "comment": "too long"}, "too long"),
        ({"rating": 0.5}, {"rating": 0.5}, ""),
        ({"edit": "Green tea."}, {"edit": "Green tea."}, "Green tea."),
        ({"drafts": ["a", "b"], "chosen": 1}, {"drafts": ["a", "b"], "chosen": 1}, "b"),
    ],
)
def test_feedback_is_kept_at_once_with_question_and_answer(client, body, given, output):
    trace = asked(client)
    done = client.post(f"/v1/traces/{trace}/feedback", json=body)
    record = done.json()
    assert (done.status_code, record["kind"], record["input"], record["output"]) == (
        201, "preference", "What tea do I drink?", output,
    )  # fmt: skip
    answer = client.get(f"/v1/traces/{trace}").json()["answer"]
    assert record["meta"] == {"answer": answer, "trace": trace, "feedback": given}
    assert client.idiolect.store.find("ana", record["id"]).meta == record["meta"]
    assert client.post(f"/v1/traces/{trace}/feedback", json=body).json()["id"] == record["id"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "needs a rating"),
        ({"rating": 2}, "-1 (bad) to 1"),
        ({"rating": "good"}, "up"),
        ({"rating": True}, "up"),
        ({"comment": 1}, "comment"),
        ({"drafts": ["a"]}, "chosen"),
        ({"drafts": "a", "chosen": 0}, "list"),
        ({"drafts": ["a"], "chosen": 1}, "numbered from 0"),
        ({"drafts": ["a"], "chosen": "0"}, "position"),
        ({"stars": 5}, "stars"),
    ],
)
def test_what_cannot_be_meant_is_refused(client, body, says):
    answer = client.post(f"/v1/traces/{asked(client)}/feedback", json=body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


def test_a_bound_key_rates_its_own_answers_alone(make):
    client = make(serve={"keys": [key("a", "ana"), key("b", "ben")]})
    trace = asked(client, authorization="Bearer a")
    for secret, status in (("b", 404), ("a", 201)):
        headers = {"authorization": f"Bearer {secret}"}
        done = client.post(f"/v1/traces/{trace}/feedback", json={"rating": "up"}, headers=headers)
        assert done.status_code == status
    assert client.post("/v1/traces/nonsense/feedback", json={"rating": "up"}, headers=headers).status_code == 404


@dataclass(frozen=True)
class Listens:
    """Is fitted whenever there is feedback."""

    fitted: ClassVar[list[str]] = []
    more: tuple[Any, ...] = field(default=())

    def apply(self, call, user, ctx):
        return call

    def stale(self, user):
        return any(record.kind == "preference" for record in user.history)

    def fit(self, users, ctx):
        self.fitted.extend(record.output for user in users for record in user.history if record.kind == "preference")
        return iter(())


def test_the_methods_of_the_trace_that_learn_are_fitted_afterwards(client, monkeypatch):
    registry.methods.names()
    info = {"level": "input", "paper": "none", "needs": (), "fit_needs": (), "peers": False, "together": False}
    monkeypatch.setitem(registry.methods._entries, "listens", registry.Entry("listens", Listens, info))
    client.idiolect.store.add([say("ana", "I always drink green tea", 1.0)])
    ask = {**ASK, "idiolect": {"methods": ["listens", "retrieval"]}}
    trace = client.post("/v1/chat/completions", json=ask).headers["X-Idiolect-Trace"]
    client.idiolect.drain()
    Listens.fitted.clear()
    client.post(f"/v1/traces/{trace}/feedback", json={"comment": "too short"})
    client.idiolect.drain()
    assert Listens.fitted == ["too short"]


def test_feedback_on_the_answer_of_an_erased_person_is_refused(client):
    trace = asked(client)
    client.delete("/v1/users/ana")
    assert client.post(f"/v1/traces/{trace}/feedback", json={"rating": "up"}).status_code == 404
