"""Difference-aware profile (DPL)."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import PeersPolicy, Settings
from idiolect.pipeline import Idiolect
from idiolect.prompting.difference import representatives
from idiolect.store.sharing import share
from idiolect.types import Call, text_of

QUESTION = Call(({"role": "user", "content": "write a review of film 9"},))
NOTES = "Writing style: terse and dry\n- **Emotional style**: calm\nSemantic focus: the music"
SUMMARY = "Here it is:\n- Writes tersely\n- Cares for the music"


def grid(*points):
    return np.array(points, np.float32)


def test_one_of_each_cluster_but_the_own_nearest_to_its_centroid():
    around = [(0.0, 0.0), (0.3, 0.1), (-0.3, 0.1), (0.1, -0.4)]  # the first lies nearest to the mean
    corners = [(10, 10), (-10, 10), (10, -10), (-10, -10)]
    others = grid(*[(0.2, 0.1)], *[(x + dx, y + dy) for x, y in corners for dx, dy in around])
    chosen = representatives(grid((0.0, 0.0))[0], others, 4)
    assert chosen == [1, 5, 9, 13]  # never row 0, which lies with the own


@pytest.mark.parametrize(
    ("others", "n", "expected"),
    [
        ([(1, 0), (1, 0), (2, 0)], 4, [0, 2]),  # equal rows count once
        ([(0, 0), (0, 0)], 4, []),  # all equal to the own
        ([(0, 0), (5, 5)], 1, [1]),
        ([(1, 0), (2, 0), (3, 0), (4, 0)], 4, [0, 1, 2, 3]),
    ],
)
def test_few_others_degrade_to_the_unique_ones(others, n, expected):
    assert representatives(grid((0.0, 0.0))[0], grid(*others), n) == expected


def test_as_many_as_asked_where_there_are_enough_distinct_others():
    others = np.random.default_rng(0).normal(scale=1e-3, size=(9, 2)).astype(np.float32)
    assert len(representatives(grid((0.0, 0.0))[0], others, 4)) == 4


def review(user, text, item, time, **more):
    return say(user, text, time, kind="content", input=f"about {item}", meta={"item": item}, **more)


def build(folder, backend, *, own, theirs, share_all=True):
    """``own(i)`` and ``theirs(person, i)`` are what is said of film i, out of ten."""
    store = open_store(folder, HashEmbedder())
    store.add([review("ana", own(i), f"film {i}", 1e9 + 1000 + i) for i in range(10)])
    for p, name in enumerate(("bob", "cleo", "dan", "eve", "fay", "gus")):
        store.add([review(name, theirs(p, i), f"film {i}", 1e9 + i) for i in range(10)])
        share(store, name, share_all)
    return Idiolect(store, backend, Settings(methods=(), peers=PeersPolicy(texts=True)), clock=lambda: 2e9)


def text(i):
    return f"a terse word on the music of number {i}"


def longer(p, i):
    return f"person {p} found film number {i} simply wonderful and cried through it with {'abcdef'[p] * 4}!"


def scripted(notes=NOTES, summary=SUMMARY):
    return ScriptedBackend(lambda call: summary if "Sum up" in text_of(call.messages[0]) else notes)


def test_one_call_an_item_and_one_that_sums_up(tmp_path):
    backend = scripted()
    app = build(tmp_path, backend, own=text, theirs=longer)
    assert app.fit("difference", ["ana"]) == 1
    assert len(backend.calls) == 8 + 1
    prompts = [text_of(call.messages[0]) for call in backend.calls]
    assert all(prompt.count("\nOther ") == 4 for prompt in prompts[:8])
    assert "Writing style: terse and dry Emotional style: calm Semantic focus: the music" in prompts[8]
    artifact = app.store.artifacts("ana")[0]
    payload = orjson.loads(artifact.payload)
    assert payload == {
        "claims": ["Writes tersely", "Cares for the music"], "items": 8, "malformed": 0, "counted": False,
    }  # fmt: skip
    latest = sorted(app.store.all_records("ana"), key=lambda record: record.time)[-8:]
    assert set(artifact.record_ids) == {record.id for record in latest}
    assert set(artifact.people) <= {"bob", "cleo", "dan", "eve", "fay", "gus"}
    assert artifact.people
    assert artifact.base_model == "scripted"
    used = app.plan(QUESTION, "ana", methods=["difference"]).call.used
    assert [u.text for u in used] == ["- Writes tersely", "- Cares for the music"]


def test_texts_stand_in_the_prompt_as_data(tmp_path):
    backend = scripted()
    build(tmp_path, backend, own=lambda i: f"</s> <|im_start|> {text(i)}", theirs=longer).fit("difference", ["ana"])
    assert not any("<" in text_of(call.messages[0]) for call in backend.calls)


def test_ratings_are_compared_without_a_model(tmp_path):
    backend = ScriptedBackend()  # any call would fail
    app = build(tmp_path, backend, own=lambda i: "2.5", theirs=lambda p, i: "4" if p else "2.2")
    app.fit("difference", ["ana"])
    # others: (5 * 4 + 2.2) / 6 = 3.7
    claims = orjson.loads(app.store.artifacts("ana")[0].payload)["claims"]
    assert claims == ["Rates 1.2 lower than others on the same 8 items (2.5 against 3.7 on average)"]
    assert backend.calls == []


def test_labels_are_compared_without_a_model(tmp_path):
    own = lambda i: "sports" if i % 2 else "politics"  # noqa: E731
    app = build(tmp_path, ScriptedBackend(), own=own, theirs=lambda p, i: "politics" if p else "food")
    app.fit("difference", ["ana"])
    claims = orjson.loads(app.store.artifacts("ana")[0].payload)["claims"]
    assert claims == [
        'Chose otherwise than most others on 4 of 8 shared items, most often "sports" where others chose "politics"'
    ]


def test_malformed_notes_are_counted_and_what_can_be_counted_is_said(tmp_path):
    backend = scripted(notes="I cannot compare people.")
    app = build(tmp_path, backend, own=text, theirs=longer)
    app.fit("difference", ["ana"])
    payload = orjson.loads(app.store.artifacts("ana")[0].payload)
    assert (payload["malformed"], payload["counted"]) == (8, True)
    assert len(backend.calls) == 8  # there is nothing to sum up
    assert payload["claims"][:2] == [
        "Writes 9 words where others write 14", "Uses exclamation marks less often than others",
    ]  # fmt: skip
    assert "music" in payload["claims"][2]
    assert "wonderful" not in str(payload)
    assert app.store.artifacts("ana")[0].base_model == ""


def test_a_malformed_summary_is_counted_and_the_notes_stand_for_it(tmp_path):
    app = build(tmp_path, scripted(summary="no"), own=text, theirs=longer)
    app.fit("difference", ["ana"])
    payload = orjson.loads(app.store.artifacts("ana")[0].payload)
    assert payload["malformed"] == 1
    assert payload["claims"] == ["Writing style: terse and dry", "Emotional style: calm", "Semantic focus: the music"]


def test_without_shared_items_the_nearest_people_stand_in(tmp_path):
    backend = scripted()
    store = open_store(tmp_path, HashEmbedder())
    for name in ("ana", "bob", "cleo"):
        store.add([say(name, f"{name} writes of tea and many other things {i}", 1e9 + i) for i in range(3)])
        share(store, name, True)
    app = Idiolect(store, backend, Settings(methods=(), peers=PeersPolicy(texts=True)), clock=lambda: 2e9)
    app.fit("difference", ["ana"])
    assert len(backend.calls) == 3 + 1
    assert app.store.artifacts("ana")[0].people == ("bob", "cleo")


def test_where_nobody_shares_nothing_is_learnt(tmp_path):
    app = build(tmp_path, ScriptedBackend(), own=text, theirs=longer, share_all=False)
    assert app.fit("difference", ["ana"]) == 0
    assert app.plan(QUESTION, "ana", methods=["difference"]).call == QUESTION


def test_it_goes_when_one_of_the_others_withdraws(tmp_path):
    app = build(tmp_path, scripted(), own=text, theirs=longer)
    app.fit("difference", ["ana"])
    share(app.store, app.store.artifacts("ana")[0].people[0], False)
    assert app.store.artifacts("ana") == []
