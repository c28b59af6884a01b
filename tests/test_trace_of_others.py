"""A trace belongs to one person and may outlive another one's erasure: it holds nothing that others wrote."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
import pytest

from helpers import open_store, say
from idiolect.backends.toy import ToyBackend
from idiolect.config import PeersPolicy, Settings
from idiolect.pipeline import Idiolect
from idiolect.tracing import NOT_KEPT
from idiolect.types import Block, Call, Item, Used

QUESTION = Call(({"role": "user", "content": [{"type": "text", "text": "I like tea. And bob?"}, {"type": "image"}]},))


@dataclass(frozen=True)
class Offers:
    """Offers fixed items, some of them other people's."""

    items: tuple[tuple[str, str], ...] = (("my own", ""), ("I like tea", "bob"), ("I like tea and cake", "cleo"))

    def apply(self, call, user, ctx):
        made = [
            Item(text, Used("record", f"r{n}", "offers", "offers", owner=owner), order=n)
            for n, (text, owner) in enumerate(self.items)
        ]
        return call.add(Block("offers", "Found:", tuple(made)))


@pytest.fixture
def app(tmp_path, monkeypatch):
    store = open_store(tmp_path)
    store.add([say(user, "hello", 1e9) for user in ("ana", "bob", "cleo")])
    app = Idiolect(store, ToyBackend(), Settings(peers=PeersPolicy(texts=True)), clock=lambda: 2e9)
    monkeypatch.setattr(app, "methods", lambda specs=None: (("offers", Offers()),))
    return app


def test_other_peoples_text_is_in_the_prompt_and_not_in_the_trace(app):
    plan = app.plan(QUESTION, "ana")
    prompt = orjson.dumps(list(plan.call.messages)).decode()
    assert "I like tea and cake" in prompt
    kept = plan.trace["messages"]
    assert orjson.dumps(kept).decode() == prompt.replace("I like tea and cake", NOT_KEPT).replace(
        r"\nI like tea\n", rf"\n{NOT_KEPT}\n"
    )
    assert kept[-1]["content"][-2:] == list(QUESTION.messages[0]["content"])  # what the person asked stays whole
    assert [u["text"] for u in plan.trace["used"]] == ["my own", NOT_KEPT, NOT_KEPT]


def test_the_owner_is_a_pseudonym_that_is_the_same_every_time(app):
    one, two = (app.plan(QUESTION, "ana").trace["used"] for _ in range(2))
    owners = [u.get("owner") for u in one]
    assert owners == [u.get("owner") for u in two]
    assert owners[0] is None
    assert len({*owners}) == 3
    assert not {"bob", "cleo"} & {*owners}
    assert all(len(owner) == 12 for owner in owners[1:])


def test_an_erased_owner_has_no_pseudonym(app):
    before = app.plan(QUESTION, "ana").trace["used"][1]["owner"]
    app.erase("bob")
    assert app.plan(QUESTION, "ana").trace["used"][1]["owner"] == ""
    app.store.add([say("bob", "here again", 1e9)])
    assert app.plan(QUESTION, "ana").trace["used"][1]["owner"] not in ("", before)


def test_influence_is_measured_on_what_is_kept(app):
    app.finish(app.plan(QUESTION, "ana"), QUESTION.messages, app.backend.generate([QUESTION])[0], remember=False)
    app.drain()
    (trace,) = app.store.traces("ana")
    assert b"cake" not in orjson.dumps([trace["messages"], trace["used"], trace["slots"]])
    assert len(app.influence(trace["id"])) == 3
