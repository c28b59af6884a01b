"""A closed list of topics, and guesses for people with little history (GENRE of ONCE)."""

from __future__ import annotations

import orjson
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import Settings
from idiolect.pipeline import Idiolect
from idiolect.prompting.synthetic import read_list
from idiolect.types import Call, text_of

QUESTION = Call(({"role": "user", "content": "what shall I read?"},))
TOPICS = '{"topics": ["Music", "bagpipes", "travel", "music"]}'
GUESSES = 'Sure: {"items": ["A history of the oud", "I like song 0", "Trains of Peru", "A history of the oud"]}'


def scripted(topics=TOPICS, guesses=GUESSES):
    return ScriptedBackend(lambda call: guesses if "Make up" in text_of(call.messages[0]) else topics)


def build(folder, backend, n, embedder=None):
    store = open_store(folder, embedder)
    store.add([say("ana", f"I like song {i}", 1e9 + i) for i in range(n)])
    app = Idiolect(store, backend, Settings(methods=()), clock=lambda: 2e9)
    app.fit("synthetic", ["ana"])
    return app


def shown(app, slot):
    used = app.plan(QUESTION, "ana", methods=["synthetic"]).call.used
    return [u.text for u in used if u.slot == f"synthetic_{slot}"]


def payload(app, kind):
    return next(orjson.loads(a.payload) for a in app.store.artifacts("ana") if a.kind == kind)


def test_topics_outside_the_list_are_rejected_and_counted(tmp_path):
    app = build(tmp_path, scripted(), 9)
    assert payload(app, "topics") == {"items": ["music", "travel"], "rejected": 1, "malformed": 0, "counted": False}
    assert shown(app, "topics") == ["- music", "- travel"]


@pytest.mark.parametrize(("n", "calls"), [(5, 2), (6, 1)])
def test_guesses_are_made_for_at_most_five_records(tmp_path, n, calls):
    backend = scripted()
    app = build(tmp_path, backend, n)
    assert len(backend.calls) == calls
    assert shown(app, "synthetic") == (["- A history of the oud", "- Trains of Peru"] if n == 5 else [])


def test_guesses_are_chained_to_the_topics_and_marked_as_guesses(tmp_path):
    backend = scripted()
    app = build(tmp_path, backend, 5)
    assert "topics: music; travel." in text_of(backend.calls[1].messages[0])
    assert payload(app, "synthetic")["synthetic"] is True
    assert "GUESSES" in str(app.plan(QUESTION, "ana", methods=["synthetic"]).call.messages)
    assert len(list(app.store.all_records("ana"))) == 5  # what is made up is no record


def test_once_there_is_more_history_the_guesses_are_ignored(tmp_path):
    app = build(tmp_path, scripted(), 5)
    app.store.add([say("ana", "I like song 9", 1e9 + 9)])
    assert shown(app, "synthetic") == []
    assert shown(app, "topics") == ["- music", "- travel"]


def test_without_guesses_the_call_is_byte_for_byte_the_same(tmp_path):
    app = build(tmp_path, scripted(), 5)
    guesses = [a.id for a in app.store.artifacts("ana") if a.kind == "synthetic"]
    app.store.delete_artifacts("ana", guesses)
    plain = build(tmp_path / "plain", scripted(guesses="nothing"), 5)
    one, two = (a.plan(QUESTION, "ana", methods=["synthetic"]).call for a in (app, plain))
    assert one.messages == two.messages
    app.store.delete_artifacts("ana", [a.id for a in app.store.artifacts("ana")])
    assert app.plan(QUESTION, "ana", methods=["synthetic"]).call == QUESTION


def test_malformed_answers_are_counted_and_topics_found_by_their_words(tmp_path):
    backend = scripted("music, I suppose", '{"items": "none"}')
    store = open_store(tmp_path)
    texts = ["a film of travels", "travelling light", "politics"]
    store.add([say("ana", text, 1e9 + i) for i, text in enumerate(texts)])
    app = Idiolect(store, backend, Settings(methods=()), clock=lambda: 2e9)
    assert app.fit("synthetic", ["ana"]) == 1  # no guesses
    assert payload(app, "topics") == {
        "items": ["travel", "film and television", "politics"], "rejected": 0, "malformed": 2, "counted": True,
    }  # fmt: skip
    assert app.store.artifacts("ana")[0].base_model == ""


def test_where_no_word_is_shared_the_nearest_topic_is_taken_and_none_without_an_embedder(tmp_path):
    assert payload(build(tmp_path / "a", scripted("no"), 9), "topics")["items"] == []
    assert len(payload(build(tmp_path / "b", scripted("no"), 9, HashEmbedder()), "topics")["items"]) == 1


@pytest.mark.parametrize("answer", ["", "{", "[1]", '{"topics": 3}', '{"topics": [1]}', "} {", '{"other": []}'])
def test_another_form_is_no_list(answer):
    assert read_list(answer, "topics") is None
    assert read_list('x {"topics": [" a ", ""]} y', "topics") == ["a"]
