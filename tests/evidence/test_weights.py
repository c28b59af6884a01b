"""The gate over weights of a person's own: tried where it pays, served only where they beat none and retrieval."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from helpers import HashEmbedder, open_store, say
from idiolect import registry
from idiolect.adaptation.shared.attach import attached
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import PeersPolicy, Settings
from idiolect.evidence.account import account
from idiolect.evidence.auto import Auto
from idiolect.pipeline import Idiolect
from idiolect.store.sharing import share
from idiolect.store.view import view
from idiolect.types import Artifact, Body, Call, text_of

CANDIDATES = ("coat", "retrieval")
GATE = {"name": "auto", "candidates": list(CANDIDATES)}
MODEL = ScriptedBackend.fingerprint


@dataclass(frozen=True)
class Coat:
    """Wear weights of one's own."""

    def apply(self, call, user, ctx):
        mine = next((a for a in user.artifacts if a.method == "coat" and a.user_id == user.id), None)
        return call if mine is None else attached(call, mine, "coat")

    def fit(self, users, ctx):
        people = list(users)
        ROUNDS.append([user.id for user in people])
        for user in people:
            seen = user.history
            yield Artifact.new(
                user.id, "adapter", method="coat", payload=str(len(seen)).encode(), record_ids=[r.id for r in seen],
                time=seen[-1].time, base_model=ctx.model.fingerprint, body=Body.of(user.id.encode()),
            )  # fmt: skip


ROUNDS: list[list[str]] = []
GAINS: dict[str, tuple[float, float]] = {}
"""For each person [nats]: what weights of their own gain, and what retrieval does."""


def foresees(call: Call, text: str) -> float:
    weights, found = GAINS[text.split()[0]]
    prompt = " ".join(text_of(message) for message in call.messages)
    own = any(adapter.body.read().decode() == text.split()[0] for adapter in call.adapters)
    return -20.0 + weights * own + found * ("personal-data" in prompt)


@pytest.fixture
def house(tmp_path, monkeypatch):
    registry.methods.names()
    info = {"level": "model", "paper": "none", "needs": ("adapters",), "fit_needs": (), "peers": False}
    entry = registry.Entry("coat", Coat, {**info, "together": False, "batched": True})
    monkeypatch.setitem(registry.methods._entries, "coat", entry)
    registry.make_folded.cache_clear()
    ROUNDS.clear()
    GAINS.clear()
    store = open_store(tmp_path, HashEmbedder())
    yield Idiolect(store, ScriptedBackend(scores=foresees), Settings(peers=PeersPolicy(least=3)), clock=lambda: 1e9)
    registry.make_folded.cache_clear()


def add(house, user, weights, retrieval, records=40, shares=False):
    GAINS[user] = weights, retrieval
    house.store.add([say(user, f"{user} says number {n}", 1e8 + n) for n in range(records)])
    if shares:
        share(house.store, user, True)


def served(house, user):
    return Auto(CANDIDATES).verdict(view(house.store, user), MODEL)[0]


def worn(house, user):
    return [a.payload.decode() for a in house.store.artifacts(user) if a.kind == "adapter"]


def test_they_serve_where_they_beat_none_and_retrieval(house):
    add(house, "ana", 9.0, 2.0)
    add(house, "bob", 2.0, 9.0)
    add(house, "cleo", -5.0, -5.0)
    house.prove(GATE, ["ana", "bob", "cleo"])
    assert [served(house, user) for user in ("ana", "bob", "cleo")] == ["coat", "retrieval", "none"]
    assert house.plan(Call(({"role": "user", "content": "well?"},)), "ana", methods=[GATE]).call.adapters
    assert not house.plan(Call(({"role": "user", "content": "well?"},)), "bob", methods=[GATE]).call.adapters


def test_people_are_trained_side_by_side_and_then_those_alone_who_are_served(house):
    for user, gain in (("ana", 9.0), ("bob", 1.0), ("cleo", 9.0)):
        add(house, user, gain, 3.0)
    house.prove(GATE, ["ana", "bob", "cleo"])
    assert ROUNDS == [["ana", "bob", "cleo"], ["ana", "cleo"]]
    assert (worn(house, "ana"), worn(house, "bob"), worn(house, "cleo")) == (["40"], [], ["40"])


def test_retrieval_is_their_rival_even_where_it_is_no_candidate(house):
    add(house, "ana", 5.0, 9.0)
    gate = {"name": "auto", "candidates": ["coat"]}
    house.prove(gate, ["ana"])
    found = account(gate, view(house.store, "ana"), MODEL)
    assert found["serves"] == "none"
    assert {row["candidate"] for row in found["candidates"]} == {"coat", "retrieval"}


def test_with_few_records_they_are_not_even_tried(house):
    add(house, "ana", 9.0, 2.0, records=29)
    house.prove(GATE, ["ana"])
    found = account(GATE, view(house.store, "ana"), MODEL)
    assert found["serves"] == "retrieval"
    assert "29 records" in found["skipped"]["coat"]
    assert ROUNDS == []


def test_with_few_records_they_are_tried_where_people_in_general_gain(house):
    people = [f"p{n}" for n in range(6)]
    for user in people:
        add(house, user, 9.0, 2.0, shares=True)
    add(house, "ana", 9.0, 2.0, records=20)
    house.prove(GATE, people)
    house.prove(GATE, ["ana"])
    assert served(house, "ana") == "coat"
    add(house, "bob", 2.0, 9.0, records=20)
    house.prove(GATE, ["bob"])
    assert served(house, "bob") == "retrieval"


def test_the_others_gains_do_not_serve_somebody_whose_own_records_speak_against_them(house):
    people = [f"p{n}" for n in range(6)]
    for user in people:
        add(house, user, 9.0, 2.0, shares=True)
    add(house, "ana", 1.9, 2.0, shares=True)
    house.prove(GATE, [*people, "ana"])
    assert served(house, "p0") == "coat"
    assert served(house, "ana") == "retrieval"
