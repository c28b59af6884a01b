"""In front of vLLM: each person's answer under their own adapter, and nobody else's within reach."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.testclient import TestClient

pytest.importorskip("safetensors")

from backends.test_vllm import OURS, SHAPES, said
from backends.vllm_server import adapter
from backends.vllm_stub import VLLMStub, weights_of
from helpers import say
from idiolect import registry
from idiolect.adaptation.shared.attach import attached
from idiolect.backends._vllm_adapters import Limits, combined
from idiolect.backends.vllm import VLLMBackend
from idiolect.types import Adapter, Artifact, Call, Context, User
from serve.conftest import Make, key

BODIES: dict[str, Adapter] = {}
"""A person's adapter by user id."""
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "What do I drink?"}]}


@dataclass(frozen=True)
class Own:
    """Serve the person's own adapter."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        one = BODIES.get(user.id)
        if one is None:
            return call
        made = Artifact.new(user.id, "adapter", method="own", payload=b"", record_ids=(), time=1.0, body=one.body)
        return attached(call, made, "own")


@pytest.fixture
def stub(tmp_path) -> Iterator[VLLMStub]:
    running = VLLMStub(tmp_path / "access")
    yield running
    running.close()


@pytest.fixture
def vllm(make: Make, stub: VLLMStub, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    registry.methods.get("retrieval")
    info = {"level": "model", "paper": "none", "needs": ("adapters",), "fit_needs": (), "peers": False}
    monkeypatch.setitem(registry.methods._entries, "own", registry.Entry("own", Own, {**info, "together": False}))
    monkeypatch.setattr(VLLMBackend, "fingerprint", OURS)
    monkeypatch.setitem(BODIES, "ana@example.org", adapter(SHAPES, 1, OURS, size=1.0))
    monkeypatch.setitem(BODIES, "bob", adapter(SHAPES, 2, OURS, size=1.0))
    table = {"base_url": stub.url, "model": "tiny", "access": str(tmp_path / "access"), "max_rank": 8, "retries": 0}
    keys = [key("app"), key("root", admin=True)]
    client = make(backend="vllm", backends={"vllm": table}, methods=["own"], serve={"keys": keys})
    client.headers["authorization"] = "Bearer root"
    for user in (*BODIES, "carl"):
        client.idiolect.store.add([say(user, "I drink tea", 1.0)])  # type: ignore[attr-defined]
    return client


def ask(client: TestClient, user: str, **more: Any) -> Any:
    return client.post("/v1/chat/completions", json={**ASK, "user": user, **more})


def test_each_person_is_answered_under_their_own_adapter(vllm, stub):
    answers = {user: ask(vllm, user) for user in (*BODIES, "carl")}
    told = {user: answer.json()["choices"][0]["message"]["content"] for user, answer in answers.items()}
    nothing = weights_of(combined((), Limits(OURS, 8, False)))
    assert told == {**{user: said(one) for user, one in BODIES.items()}, "carl": nothing}
    assert [answer.json()["model"] for answer in answers.values()] == ["tiny"] * 3
    assert answers["bob"].headers["X-Idiolect-Personalized"] == "true; records=0; artifacts=1"
    streamed = ask(vllm, "bob", stream=True).text
    assert said(BODIES["bob"]) in streamed
    assert "u-" not in streamed


def test_nothing_that_goes_to_vllm_names_a_person(vllm, stub):
    ask(vllm, "ana@example.org")
    assert "ana@example.org" not in json.dumps(stub.seen)
    assert all("ana" not in name for name in stub.adapters)


def test_names_are_shown_to_nobody_and_open_nothing(vllm, stub):
    ask(vllm, "bob")
    (name,) = stub.adapters
    assert [card["id"] for card in vllm.get("/v1/models").json()["data"]] == ["tiny"]
    assert vllm.get(f"/v1/models/{name}").status_code == 404
    for user in ("carl", "bob"):
        assert ask(vllm, user, model=name).status_code == 404
    for path in ("load_lora_adapter", "unload_lora_adapter"):
        assert vllm.post(f"/v1/{path}", json={"lora_name": name, "lora_path": "/"}).status_code == 404
    assert list(stub.adapters) == [name]


def test_an_adapter_that_cannot_be_served_costs_the_personal_answer_alone(vllm, stub, monkeypatch):
    monkeypatch.setitem(BODIES, "bob", adapter(SHAPES, 2, OURS, rank=64))
    answer = ask(vllm, "bob")
    assert answer.status_code == 200
    assert answer.headers["X-Idiolect-Personalized"] == "false; reason=failed:InputError"
    assert answer.json()["choices"][0]["message"]["content"] == weights_of(combined((), Limits(OURS, 8, False)))


def test_an_erased_persons_adapter_leaves_vllm(vllm, stub, monkeypatch):
    ask(vllm, "bob")
    ask(vllm, "carl")
    (kept,) = [name for name, weights in stub.adapters.items() if weights != said(BODIES["bob"])]
    made = Artifact.new("bob", "adapter", method="own", payload=b"", record_ids=(), time=1.0, body=BODIES["bob"].body)
    monkeypatch.setattr(vllm.idiolect.store, "artifacts", lambda user: [made] if user == "bob" else [])
    assert vllm.delete("/v1/users/bob").status_code == 200
    assert list(stub.adapters) == [kept]
    assert [path.name for path in stub.fetcher._files._root.glob("u-*")] == [kept]


def test_an_erasure_holds_where_vllm_does_not_answer(vllm, stub, monkeypatch):
    ask(vllm, "bob")
    stub.close()
    made = Artifact.new("bob", "adapter", method="own", payload=b"", record_ids=(), time=1.0, body=BODIES["bob"].body)
    monkeypatch.setattr(vllm.idiolect.store, "artifacts", lambda user: [made])
    assert vllm.delete("/v1/users/bob").json()["key_destroyed"]
    assert vllm.idiolect.counters["forget.UpstreamError"] == 1
