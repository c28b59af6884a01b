"""What the bench lets methods learn of other people, and the gate in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from bench.colours import Colours, bench, dataset, row
from idiolect import registry
from idiolect.backends.toy import ScriptedBackend
from idiolect.bench.cache import Cache, CachedBackend
from idiolect.errors import UnsupportedCall
from idiolect.types import EVERYONE, Artifact, Block, Item, Used

SEEN: list[dict[str, float]] = []


@dataclass(frozen=True)
class Census:
    """Tell how many people there were to learn from."""

    def apply(self, call, user, ctx):
        found = next((a for a in user.artifacts if a.user_id == EVERYONE and a.kind == "census"), None)
        if found is None:
            return call
        used = Used("artifact", found.id, "census", "census")
        return call.add(Block("census", "People:", (Item(found.payload.decode(), used),)))

    def fit(self, users, ctx):
        people = list(users)
        SEEN.append({user.id: max(record.time for record in user.history) for user in people})
        yield Artifact.new(
            EVERYONE, "census", method="census", payload=f"blue {len(people)}".encode(), record_ids=(), time=1.0,
            people=[user.id for user in people],
        )  # fmt: skip


@pytest.fixture
def census(monkeypatch):
    registry.methods.names()
    info = {"level": "input", "paper": "none", "needs": (), "fit_needs": (), "peers": False, "together": True}
    monkeypatch.setitem(registry.methods._entries, "census", registry.Entry("census", Census, info))
    SEEN.clear()


def test_what_is_learnt_together_is_learnt_once_from_the_people_who_are_asked_for(census):
    document = bench("census", limit=4, peers=0).run("colours", Colours(), dataset())
    assert len(SEEN) == 1
    assert len(SEEN[0]) == 4  # not their stand-ins
    assert set(SEEN[0].values()) == {7.0}  # nothing from after their questions
    assert row(document, "census")["prompt_tokens_mean"] > row(document, "none")["prompt_tokens_mean"]


def test_further_people_are_read_in_where_a_method_learns_from_them(census):
    document = bench("census", limit=4, peers=3).run("colours", Colours(), dataset())
    assert len(SEEN[0]) >= 6  # three more, of whom one may be a stand-in
    assert document["peers"] == 3


def test_the_gate_serves_what_helps_each_person_and_is_no_worse_than_none():
    data = dataset(records=24)
    document = bench("auto,retrieval").run("colours", Colours(), data)
    none, auto, best = (row(document, name)["metrics"]["accuracy"]["mean"] for name in ("none", "auto", "retrieval"))
    assert auto == best > none
    assert row(document, "auto")["model_calls"] > 24


def test_the_gate_leaves_people_alone_whom_their_history_would_mislead():
    """All chose red so far, which the bare model likes; any personal text makes it say blue."""
    data = dataset(records=24)
    red = {who: [replace(one, output="red") for one in history] for who, history in data.histories.items()}

    def misled(call, option):
        return float(option == ("blue" if "personal-data" in str(call.messages) else "red"))

    made = bench("auto,retrieval", backend=ScriptedBackend(scores=misled))
    document = made.run("colours", Colours(), replace(data, histories=red))
    assert row(document, "auto")["metrics"]["accuracy"] == row(document, "none")["metrics"]["accuracy"]
    assert row(document, "auto")["by_person"] != row(document, "retrieval")["by_person"]


def test_the_helper_is_named_and_its_calls_count(census):
    written = CachedBackend(ScriptedBackend(lambda call: '["food"]'), Cache(None))
    made = replace(bench("plan", limit=2), helper=written)
    document = made.run("colours", Colours(), dataset())
    assert document["helper"] == "scripted"
    assert row(document, "plan")["model_calls"] == 2 * row(document, "none")["model_calls"]


def test_what_the_backend_cannot_let_a_method_learn_is_refused_before_anything_is_asked():
    model = ScriptedBackend(scores=lambda call, option: 0.0, supports=frozenset({"logprobs"}))
    with pytest.raises(UnsupportedCall, match="inside"):
        bench("style_vector", backend=model).run("colours", Colours(), dataset())
    assert model.calls == []
