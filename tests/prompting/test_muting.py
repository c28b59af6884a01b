from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.backends.toy import ToyBackend
from idiolect.prompting.assembly import personalize
from idiolect.prompting.muting import without_muted
from idiolect.prompting.profile import Profile
from idiolect.prompting.retrieval import Retrieval
from idiolect.store.states import set_wishes
from idiolect.store.view import view
from idiolect.types import Block, Call, Choose, Context, Item, Used, Wishes


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    told = [("I take insulin for my diabetes.", "health"), ("I love gardening.", "taste")]
    store.add(say("ana", t, 1e9 + n, kind="profile", meta={"topic": topic}) for n, (t, topic) in enumerate(told))
    store.add([say("ana", "My divorces were long.", 1e9 + 9, "s"), say("ana", "Planted tulips.", 1e9 + 10, "s")])
    return store


def context():
    return Context(ToyBackend(), lambda: 2e9, np.random.default_rng(0))


def used(store, methods, question="insulin, gardening, divorce or tulips?"):
    call = Call(({"role": "user", "content": question},))
    planned, offered = personalize(call, view(store, "ana"), methods, context())
    assert {u.text for u in planned.used} <= {item.text for block in offered for item in block.items}
    return {u.text.removeprefix("- ") for u in planned.used}


RETRIEVAL = ("retrieval", Retrieval(kinds=("profile", "dialogue")))


def test_a_word_in_any_form_is_not_brought_up(store):
    assert "My divorces were long." in used(store, [RETRIEVAL])
    set_wishes(store, "ana", Wishes(muted=("divorce",)))
    assert used(store, [RETRIEVAL]) == {
        "I take insulin for my diabetes.", "I love gardening.", "Planted tulips.",
    }  # fmt: skip
    set_wishes(store, "ana", Wishes(muted=("long divorce", "tulip salad")))  # all words of a phrase must be there
    assert used(store, [RETRIEVAL]) == {
        "I take insulin for my diabetes.", "I love gardening.", "Planted tulips.",
    }  # fmt: skip


def test_a_topic_is_not_brought_up_by_its_records(store):
    set_wishes(store, "ana", Wishes(muted=("Health",)))
    assert "I take insulin for my diabetes." not in used(store, [RETRIEVAL])
    assert "I love gardening." in used(store, [RETRIEVAL])


def test_a_profile_leaves_out_what_is_muted_by_word_and_by_topic(store):
    store.put_artifacts(Profile().fit([view(store, "ana")], context()))
    profile = [("profile", Profile())]
    assert used(store, profile) >= {"I take insulin for my diabetes.", "I love gardening."}
    set_wishes(store, "ana", Wishes(muted=("health",)))
    assert "I take insulin for my diabetes." not in used(store, profile)
    set_wishes(store, "ana", Wishes(muted=("gardens",)))
    assert "I love gardening." not in used(store, profile)


@dataclass(frozen=True)
class Drafts:
    """Answer with each record alone."""

    def apply(self, call, user, ctx):
        items = [Item(r.output, Used("record", r.id, "drafts", "one")) for r in user.history]
        return replace(call, choose=Choose(1, len, tuple(call.add(Block("one", "One:", (item,))) for item in items)))


def test_drafts_are_written_without_it_too(store):
    set_wishes(store, "ana", Wishes(muted=("divorce", "health")))
    call = Call(({"role": "user", "content": "well?"},))
    planned, _ = personalize(call, view(store, "ana"), [("drafts", Drafts())], context())
    texts = [[u.text for u in one.used] for one in planned.choose.alternatives]
    assert texts == [[], ["I love gardening."], [], ["Planted tulips."]]


def test_where_nothing_is_muted_nothing_is_looked_up_and_nothing_changes(store, monkeypatch):
    seen = view(store, "ana")
    before = personalize(Call(({"role": "user", "content": "tulips?"},)), seen, [RETRIEVAL], context())
    monkeypatch.setattr(type(seen), "neighbours", None)
    again = personalize(Call(({"role": "user", "content": "tulips?"},)), view(store, "ana"), [RETRIEVAL], context())
    assert again == before
    call = Call(({"role": "user", "content": "tulips?"},))
    set_wishes(store, "ana", Wishes(muted=("tulips",)))
    assert personalize(call, view(store, "nobody"), [RETRIEVAL], context())[0] is call


def test_an_exchange_is_left_out_for_what_was_asked(store):
    used = Used("artifact", "a", "m", "t")
    asked = tuple(Item("Fine.", used, header=header) for header in ("How is my divorce going?", "How are you?"))
    call = Call(({"role": "user", "content": "And now?"},), context=(Block("t", "", asked, turns=True),))
    set_wishes(store, "ana", Wishes(muted=("divorce",)))
    kept = without_muted(call, view(store, "ana")).context[0].items
    assert [item.header for item in kept] == ["How are you?"]
