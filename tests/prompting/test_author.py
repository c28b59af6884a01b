"""Author features and contrastive examples (AP-Bots)."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.backends.toy import ToyBackend
from idiolect.config import PeersPolicy, Settings
from idiolect.pipeline import Idiolect
from idiolect.store.sharing import share
from idiolect.tracing import NOT_KEPT
from idiolect.types import Call

QUESTION = Call(({"role": "user", "content": "write about animals"},))
SIMILARITIES = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.4], [0.3, 0.6, 0.7]], np.float32)  # [askers, others]


class Planted(HashEmbedder):
    """Vectors by the first word of a text: ``row<i>`` is a row of the similarities, ``col<j>`` a unit vector."""

    def embed(self, texts):
        out = np.zeros((len(texts), self.dim), np.float32)
        for at, text in enumerate(texts):
            kind, number = text[:3], int(text[3]) if text[3:4].isdigit() else 0
            out[at, :3] = SIMILARITIES[number] if kind == "row" else np.eye(3)[number] if kind == "col" else 1.0
        return out / np.linalg.norm(out, axis=1, keepdims=True)


def build(folder, texts, embedder=None, *, shared=True, least=2, allow=True):
    store = open_store(folder, embedder or HashEmbedder())
    for user, written in texts.items():
        store.add([say(user, text, 1e9 + i, kind="content") for i, text in enumerate(written)])
        share(store, user, shared)
    policy = PeersPolicy(texts=allow, least=least)
    app = Idiolect(store, ToyBackend(), Settings(methods=(), peers=policy), clock=lambda: 2e9)
    app.fit("author", list(texts))
    return app


def lines(app, user, **settings):
    used = app.plan(QUESTION, user, methods=[{"name": "author", **settings}], tokens=4000).call.used
    return [u.text for u in used if u.slot == "author"], [u for u in used if u.slot == "author_contrast"]


PEOPLE = {
    "ana": ["zebra"] * 5,
    "bob": ["my dog is a good dog and he ran far away from us today"] * 4,
    "cleo": ["a cat sat still on the old mat and slept all day long here"] * 4,
}


def test_a_planted_word_comes_first(tmp_path):
    for alone in (True, False):
        app = build(tmp_path / str(alone), PEOPLE if not alone else {"ana": PEOPLE["ana"]})
        told, _ = lines(app, "ana")
        assert told[0] == "- Typical words: zebra"


def test_words_that_everybody_uses_are_not_typical(tmp_path):
    texts = {name: [f"lovely weather {own}"] * 4 for name, own in (("ana", "zebra"), ("bob", "dog"), ("cleo", "cat"))}
    assert lines(build(tmp_path, texts), "ana")[0][0] == "- Typical words: zebra"
    alone = build(tmp_path / "alone", {"ana": texts["ana"]})
    assert lines(alone, "ana")[0][0] == "- Typical words: lovely, weather, zebra"


def test_numbers_are_told_against_others_by_aggregates_only(tmp_path):
    app = build(tmp_path, PEOPLE)
    told, _ = lines(app, "ana")
    assert "- Length: 1 words a text; shorter than most, others 14" in told
    assert not any(word in " ".join(told) for word in ("dog", "cat", "bob", "cleo"))
    assert "- Adverbs: 0.0 % of words; fewer than most, others 17.9" in told  # (3 / 14 + 2 / 14) / 2
    few = build(tmp_path / "few", PEOPLE, least=3)
    assert "- Length: 1 words a text" in lines(few, "ana")[0]  # two others are too few


def test_nobody_elses_text_without_the_operator_or_consent(tmp_path):
    assert lines(build(tmp_path / "a", PEOPLE, allow=False), "ana")[1] == []
    assert lines(build(tmp_path / "b", PEOPLE, shared=False), "ana")[1] == []


@pytest.mark.parametrize("contrast", ["far", "near_random"])
def test_contrast_never_holds_own_texts_and_names_whose_they_are(tmp_path, contrast):
    app = build(tmp_path, PEOPLE)
    for user in PEOPLE:
        _, shown = lines(app, user, contrast=contrast)
        assert {u.owner for u in shown} == set(PEOPLE) - {user}
        assert not {u.id for u in shown} & {r.id for r in app.store.all_records(user)}
    plan = app.plan(QUESTION, "ana", methods=["author"], tokens=4000)
    assert "not by this person" in str(plan.call.messages)
    assert NOT_KEPT in str(plan.trace["messages"])
    assert "dog" not in str(plan.trace)


def test_contrast_can_be_left_out(tmp_path):
    assert lines(build(tmp_path, PEOPLE), "ana", contrast="none")[1] == []


def test_the_least_similar_people_come_first_as_intended(tmp_path):
    # The published code sorts the rows instead: [[0, 1, 2], [0, 2, 1], [1, 2, 0]] in place of [[0, 2, 1], ...].
    texts = {f"asker{i}": [f"row{i} text"] for i in range(3)} | {f"other{j}": [f"col{j} text"] for j in range(3)}
    app = build(tmp_path, texts, Planted())
    for i in range(3):
        share(app.store, f"asker{i}", False)
    app = Idiolect(app.store, app.backend, app.settings, clock=lambda: 2e9)
    for i, nearest_first in enumerate([[0, 2, 1], [1, 2, 0], [2, 1, 0]]):
        _, shown = lines(app, f"asker{i}")
        assert [u.owner for u in shown] == [f"other{j}" for j in reversed(nearest_first)]
        assert [-u.score for u in shown] == sorted(-u.score for u in shown)


def test_near_random_people_are_the_same_for_a_seed_and_others_for_another(tmp_path):
    texts = {"ana": ["zebra"]} | {f"other{j}": [f"text of {j} dogs"] for j in range(12)}
    app = build(tmp_path, texts)
    draws = [tuple(u.owner for u in lines(app, "ana", contrast="near_random", seed=seed)[1]) for seed in (0, 0, 1, 2)]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3
    assert all(len(set(draw)) == 3 for draw in draws)


def test_somebody_without_a_word_has_no_features_and_the_same_call(tmp_path):
    app = build(tmp_path, {"ana": ["42", "!!!"], **{k: PEOPLE[k] for k in ("bob", "cleo")}})
    assert app.store.artifacts("ana") == []
    assert app.plan(QUESTION, "ana", methods=["author"]).call == QUESTION


def test_features_rest_on_the_latest_texts_of_the_person_alone(tmp_path):
    app = build(tmp_path, {"ana": ["old words here"]})
    app.store.add([say("ana", "they said this", 1e9 + 50, speaker="bob"), say("ana", "zebra", 1e9 + 60)])
    spec = {"name": "author", "texts": 1}
    app.fit(spec, ["ana"])
    artifact = app.store.artifacts("ana")[0]
    assert artifact.record_ids == tuple(r.id for r in app.store.all_records("ana") if r.output == "zebra")
    assert orjson.loads(artifact.payload)["features"]["words"] == [["zebra", 1.0]]
    assert app.plan(QUESTION, "ana", methods=[spec]).call != QUESTION
