from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import Settings
from idiolect.errors import ConfigError
from idiolect.pipeline import Idiolect
from idiolect.prompting.tree import Branches, Node, Tree, descend, grow, pack, read, sentence
from idiolect.store.view import StoredUser
from idiolect.types import Call

QUESTION = Call(({"role": "user", "content": "what shall we do this weekend"},))


def points(n, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def built(n, summarize=lambda groups: ["a sentence"] * len(groups), **how):
    texts = [f"fact {i}" for i in range(n)]
    return grow(texts, points(n), summarize, lambda said: points(len(said), 1), **how)


def reached(branches):
    """All leaves that lie under the top, with repetitions."""
    places = list(range(len(branches.vectors[-1])))
    for level in reversed(branches.levels):
        places = [child for place in places for child in level[place].children]
    return places


def test_31_facts_get_one_level_of_5_clusters():
    branches = built(31)
    assert [len(level) for level in branches.levels] == [5]
    assert sorted(reached(branches)) == list(range(31))


@pytest.mark.parametrize("n", [1, 10, 15])
def test_few_facts_are_a_flat_list_and_not_an_error(n):
    branches = built(n, summarize=None)
    assert branches.levels == ()
    found, visited = descend(branches, lambda level, places: np.ones(len(places)))
    assert ([place for place, _ in found], visited) == (list(reversed(range(n))), n)


def test_every_fact_of_a_deep_tree_is_reached_exactly_once():
    branches = built(1000)
    assert [len(level) for level in branches.levels] == [166, 27, 4]
    assert sorted(reached(branches)) == list(range(1000))


@pytest.mark.parametrize(("width", "group"), [(0, 0), (0, 1), (1, 50), (3, 50)])
def test_odd_settings_end_too(width, group):
    assert sorted(reached(built(40, width=width, group=group))) == list(range(40))


def test_a_judge_that_knows_a_word_finds_the_planted_leaf_and_opens_little():
    texts = [f"fact {i}" for i in range(200)]
    texts[77] = "the zebra is afraid of fireworks"
    said = {}

    def summarize(groups):
        answers = ["about a zebra" if any("zebra" in text for text in group) else "other" for group in groups]
        said.setdefault(len(said) + 1, answers)
        return answers

    branches = grow(texts, points(200), summarize, lambda s: points(len(s), 1))

    def judge(level, places):
        at = texts if level == 0 else said[level]
        return np.array(["zebra" in at[place] for place in places], np.float32)

    found, visited = descend(branches, judge, margin=0.01)
    assert [place for place, _ in found] == [77]
    assert visited < 60


def test_leaves_are_judged_like_all_other_nodes():
    level = (Node("a", 0, (0, 1, 2)), Node("b", 3, (3,)))
    branches = Branches((level,), (np.zeros((4, 2), np.float32), np.zeros((2, 2), np.float32)))
    scores = {1: np.array([1.0, 0.0]), 0: np.array([0.0, 3.0, 3.0, 9.0])}
    found, visited = descend(branches, lambda at, places: scores[at][places])
    assert found == [(2, 3.0), (1, 3.0)]  # the mean of the three is 2; of equals the newer comes first
    assert visited == 5


def test_an_empty_summary_speaks_with_the_text_nearest_the_centroid():
    vectors = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8]], np.float32)
    asked = []
    branches = grow(
        ["left", "middle", "right"],
        vectors,
        lambda groups: asked.append(groups) or [""],
        lambda said: np.ones((len(said), 2), np.float32) if said == ["middle"] else pytest.fail(str(said)),
        width=1,
    )
    assert branches.levels == ((Node("", 1, (0, 1, 2)),),)
    assert branches.malformed == 1
    assert asked == [[["middle", "right", "left"]]]


def test_a_tree_is_read_as_it_was_written():
    branches = built(31)
    embedder, again = read(pack({"embedder": "e", "records": 31}, branches))
    assert (embedder, again.levels) == ("e", branches.levels)
    for one, two in zip(branches.vectors, again.vectors, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-3)


@pytest.mark.parametrize(
    ("answer", "read_as"),
    [("- They like tea.\nMore.", "They like tea."), ("\n\n1) Tea", "Tea"), ("", ""), ("--- 12 !", ""), ("\n", "")],
)
def test_the_first_line_with_a_word_is_the_sentence(answer, read_as):
    assert sentence(answer) == read_as


FACTS = [
    *(say("ana", f"{what} {thing}", 1e9 + i * 10 + j, kind="content")
      for i, what in enumerate(("bread dough", "violin strings", "garden soil"))
      for j, thing in enumerate("alpha beta gamma delta epsilon zeta eta theta iota kappa".split())),
    say("ana", "I broke my ankle badly", 1e9 + 500, kind="content"),
]  # fmt: skip


def house(tmp_path, backend, records=FACTS):
    store = open_store(tmp_path, HashEmbedder())
    store.add(records)
    return Idiolect(store, backend, Settings(methods=()), clock=lambda: 2e9)


def ankle(call):
    """Summarize what is shown, and know a broken ankle when it is there."""
    return "This person cannot walk far." if "ankle" in call.messages[0]["content"] else "This person has a hobby."


def odds(call, text):
    text_of_call = call.messages[0]["content"]
    return 0.0 if ("walk" in text_of_call or "ankle" in text_of_call) == (text == "Yes") else -6.0


def test_one_batch_a_level_and_the_judge_finds_what_shares_no_word_with_the_question(tmp_path):
    backend = ScriptedBackend(ankle, scores=odds)
    app = house(tmp_path, backend)
    app.fit({"name": "tree", "judge": "model"}, ["ana"])
    assert len(backend.calls) == 5
    assert "not instructions" in backend.calls[0].messages[0]["content"]
    planned = app.plan(QUESTION, "ana", methods=[{"name": "tree", "judge": "model"}]).call
    used = [u for u in planned.used if u.what == "record"]
    assert "I broke my ankle badly" in {u.text for u in used}
    assert {u.what for u in planned.used} == {"record", "artifact"}
    assert used[0].parts["visited"] < used[0].parts["nodes"] == 36
    assert used[0].parts["visited"] * 2 == len(backend.calls) - 5


def test_similarity_judges_by_default_and_without_log_probabilities(tmp_path):
    backend = ScriptedBackend(ankle, supports=frozenset())
    app = house(tmp_path, backend)
    app.fit("tree", ["ana"])
    made = len(backend.calls)
    question = Call(({"role": "user", "content": "which violin strings"},))
    plans = [app.plan(question, "ana", methods=[{"name": "tree", "judge": judge}]).call
             for judge in ("embedding", "model")]  # fmt: skip
    assert plans[0] == plans[1]
    assert "violin" in max((u for u in plans[0].used if u.what == "record"), key=lambda u: u.score).text
    assert len(backend.calls) == made


def test_like_records_are_one_fact_and_the_newest_stays(tmp_path):
    twice = [say("ana", "I keep bees in the garden", 1e9 + i, key=str(i)) for i in range(3)]
    app = house(tmp_path, ScriptedBackend(ankle), [*twice, say("ana", "trains", 1e9 + 9)])
    app.fit("tree", ["ana"])
    (artifact,) = app.store.artifacts("ana")
    assert len(artifact.record_ids) == 2
    assert twice[-1].id in artifact.record_ids
    assert b"bees" not in artifact.payload


def test_a_nonsense_answer_is_counted_and_the_medoid_speaks(tmp_path):
    app = house(tmp_path, ScriptedBackend(lambda call: "?!"))
    app.fit("tree", ["ana"])
    (artifact,) = app.store.artifacts("ana")
    head = orjson.loads(artifact.payload.split(b"\n")[0])
    assert head["malformed"] == 5
    assert all(node["text"] == "" for node in head["levels"][0])
    assert b"violin" not in artifact.payload
    assert app.plan(QUESTION, "ana", methods=["tree"]).call.used


def test_it_is_stale_once_enough_new_records_came(tmp_path):
    app = house(tmp_path, ScriptedBackend(ankle))
    tree = Tree(refresh=3)
    assert tree.stale(StoredUser(app.store, "ana"))
    app.fit("tree", ["ana"])
    app.store.add([say("ana", f"new {i}", 1.1e9 + i) for i in range(2)])
    assert not tree.stale(StoredUser(app.store, "ana"))
    app.store.add([say("ana", "newest", 1.2e9)])
    assert tree.stale(StoredUser(app.store, "ana"))
    assert replace(tree, width=7).stale(StoredUser(app.store, "ana"))  # another tree
    assert not tree.stale(StoredUser(app.store, "nobody"))


def test_it_needs_vectors_and_those_of_another_embedder_are_not_compared(tmp_path):
    app = house(tmp_path, ScriptedBackend(ankle))
    app.fit("tree", ["ana"])
    app.store.embedder = HashEmbedder("hash-2")
    assert app.plan(QUESTION, "ana", methods=["tree"]).call == QUESTION
    app.store.embedder = None
    assert app.plan(QUESTION, "ana", methods=["tree"]).call == QUESTION
    with pytest.raises(ConfigError, match="embedder"):
        app.fit("tree", ["ana"])
