"""Persona-DB: two layers of entries with evidence, and weak evidence joined from people alike."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import PeersPolicy, Settings
from idiolect.pipeline import Idiolect
from idiolect.prompting.shared.entries import PLAIN, SENSITIVE, Entry, Persona, counted, parse
from idiolect.store.sharing import share
from idiolect.tracing import NOT_KEPT
from idiolect.types import Call

TASTES = {"ana": "tea cake lakes", "bob": "tea cake lakes", "cleo": "tea engines", "dora": "engines oil noise"}
ASKED = Call(({"role": "user", "content": "which cake"},))


def entry(key, value, *records, category="topics"):
    return orjson.dumps({"category": category, "key": key, "value": value, "records": list(records)}).decode()


def script(person):
    """Records are numbered from the newest; the second answer induces from the first one's entries."""
    return [
        f"Here they are:\n{entry('food', f'{person} likes cake', 1, 2)}\n{entry('rest', f'{person} rows', 3)}\n"
        f"{entry('politics', 'votes so', 1, category='ideology')}",
        entry("way of life", f"{person} lives slowly", 1, 2, category="values") + entry("Food!", "again", 1),
    ]


def house(tmp_path, answers=(), people=TASTES, embedder=True, **policy):
    store = open_store(tmp_path, HashEmbedder() if embedder else None)
    for user in people:
        store.add([say(user, f"{TASTES[user]} {user}{n}", 1e9 + n) for n in range(4)])
        share(store, user, True)
    allowed = PeersPolicy(**{"texts": True, "least": 2, **policy})
    return Idiolect(store, ScriptedBackend(answers), Settings(peers=allowed), clock=lambda: 2e9)


def fitted(tmp_path, **more):
    app = house(tmp_path, [text for user in TASTES for text in script(user)], **more)
    assert app.fit("persona", list(TASTES)) == 4
    return app


def plan(app, user="ana", **settings):
    return app.plan(ASKED, user, methods=[{"name": "persona", **settings}], tokens=4000)


def persona(app, user="ana"):
    return Persona.load(app.store.artifacts(user)[0].payload)


def test_two_layers_with_the_records_they_rest_on(tmp_path):
    app = fitted(tmp_path)
    newest = [record.id for record in reversed(list(app.store.all_records("ana")))]
    made = persona(app)
    assert [(e.layer, e.key, e.record_ids) for e in made.entries] == [
        ("distilled", "food", (newest[0], newest[1])),
        ("distilled", "rest", (newest[2],)),
        ("induced", "way of life", (newest[0], newest[1], newest[2])),
    ]
    assert (made.malformed, made.refused, made.repeated, made.records) == (0, 1, 1, 4)
    (artifact,) = app.store.artifacts("ana")
    assert set(artifact.record_ids) == set(newest[:3])
    assert artifact.base_model == "scripted"
    names = [{e.name for e in made.entries if e.layer == layer} for layer in ("distilled", "induced")]
    assert not names[0] & names[1]


def test_sensitive_categories_only_where_they_are_asked_for(tmp_path):
    app = house(tmp_path, script("ana"), ["ana"])
    app.fit({"name": "persona", "sensitive": True}, ["ana"])
    assert "ideology" in {e.category for e in persona(app).entries}
    asked = [call.messages[0]["content"] for call in app.backend.calls]
    assert all("ideology" in text for text in asked)
    plain = house(tmp_path / "plain", script("ana"), ["ana"])
    plain.fit("persona", ["ana"])
    assert not any(name in call.messages[0]["content"] for call in plain.backend.calls for name in SENSITIVE)


def test_a_model_that_writes_something_else_is_counted_and_counting_stands_in(tmp_path):
    app = house(tmp_path, ["I would rather not."], ["ana"])
    app.fit("persona", ["ana"])
    made = persona(app)
    assert made.malformed == 1
    assert {"tea", "cake", "lakes"} <= {e.key for e in made.entries}
    assert len(app.backend.calls) == 1  # nothing to induce from
    assert "- cake: in 4 of 4 records" in [used.text for used in plan(app).call.used]


@pytest.mark.parametrize(
    "text",
    [
        "{}", "{broken", '{"category": 3}', entry("", "v", 1), entry("k", " ", 1), entry("k", "v"), entry("k", "v", 0),
        entry("k", "v", 3), entry("?!", "v", 1), entry("k", "v", 1, category="weather"), entry("k", "v", True),
        '{"category": "topics", "key": "k", "value": "v", "records": "1"}', "[1, 2]", "",
    ],
)  # fmt: skip
def test_what_is_no_entry_is_counted(text):
    found = parse(text, [("a",), ("b",)], PLAIN)
    assert (found.entries, found.malformed) == ((), 1)


def test_an_answer_cut_short_keeps_what_is_whole():
    found = parse(entry("a", "b", 1) + '\n{"category": "topics", "ke', [("r",)], PLAIN)
    assert [e.text for e in found.entries] == ["a: b"]


def test_choices_and_words_that_come_back_are_counted():
    records = [say("ana", out, 1e9 + n, input=f"film {n}") for n, out in enumerate(("good", "bad", "good"))]
    found = counted(records, 9)
    assert found[0] == Entry(
        "distilled", "patterns", "often gives good", "2 of 3 times", (records[0].id, records[2].id)
    )
    assert [e.text for e in found[1:]] == ["good: in 2 of 3 records"]
    assert len(counted(records, 1)) == 1


def test_entries_records_and_people_alike_stand_apart(tmp_path):
    app = fitted(tmp_path)
    planned = plan(app, neighbours=1)
    prompt = str(planned.call.messages)
    slots = {used.slot: [u for u in planned.call.used if u.slot == used.slot] for used in planned.call.used}
    assert slots["persona"][0].text == "- food: ana likes cake"
    assert len(slots["persona_records"]) == 4
    (near,) = {used.owner for used in slots["persona_others"]}
    assert {used.id for used in slots["persona_others"]} == {app.store.artifacts(near)[0].id}
    assert "weak evidence" in prompt
    assert f"{near} likes cake" in prompt
    assert {u["text"] for u in planned.trace["used"] if u["slot"] == "persona_others"} == {NOT_KEPT}


def test_k_is_over_entries_and_records_and_join_over_all_neighbours(tmp_path):
    used = plan(fitted(tmp_path), k=3, join=2).call.used
    assert [sum(bool(u.owner) is others for u in used) for others in (False, True)] == [3, 2]
    assert plan(fitted(tmp_path / "b"), neighbours=0).call.used[-1].owner == ""


def test_a_neighbour_can_be_dropped(tmp_path):
    app = fitted(tmp_path)
    share(app.store, "bob", False)
    assert {used.owner for used in plan(app).call.used} == {"", "cleo", "dora"}
    app.erase("cleo")
    assert {used.owner for used in plan(app).call.used} == {"", "dora"}


def test_other_peoples_sensitive_entries_are_never_shown(tmp_path):
    app = house(tmp_path, [text for user in ("ana", "bob") for text in script(user)], ["ana", "bob"])
    app.fit({"name": "persona", "sensitive": True}, ["ana", "bob"])
    used = plan(app, sensitive=True).call.used
    assert [u.owner for u in used if "votes" in u.text] == [""]
    assert "bob" in {u.owner for u in used}


def test_the_nearest_personas_and_not_the_nearest_records_are_joined(tmp_path):
    answers = {"ana": "rows boats", "bob": "drives trucks", "cleo": "rows boats daily", "dora": "eats fish"}
    texts = [text for user in TASTES for text in (entry("habit", answers[user], 1), "none")]
    app = house(tmp_path, texts)
    app.fit("persona", list(TASTES))
    assert {used.owner for used in plan(app, neighbours=1).call.used} == {"", "cleo"}


def test_somebody_without_history_is_given_nothing(tmp_path):
    assert plan(fitted(tmp_path), "nobody").call == ASKED


def test_somebody_without_a_persona_yet_gets_records_and_people_alike(tmp_path):
    app = fitted(tmp_path)
    app.store.delete_artifacts("ana", [app.store.artifacts("ana")[0].id])
    assert {used.slot for used in plan(app).call.used} == {"persona_records", "persona_others"}


def test_without_an_embedder_words_decide_and_nobody_is_alike(tmp_path):
    app = fitted(tmp_path, embedder=False)
    used = plan(app).call.used
    assert {u.owner for u in used} == {""}
    assert used[0].text == "- food: ana likes cake"


def test_deleted_evidence_takes_the_persona_with_it(tmp_path):
    app = fitted(tmp_path)
    kept, *rest = list(app.store.all_records("ana"))
    app.store.delete("ana", [kept.id])  # the oldest was evidence of nothing
    assert app.store.artifacts("ana")
    app.store.delete("ana", [rest[0].id])
    assert app.store.artifacts("ana") == []


def test_the_file_form_holds_all(tmp_path):
    made = persona(fitted(tmp_path))
    again = Persona.load(made.dump())
    assert again.entries == made.entries
    assert np.array_equal(again.vectors, made.vectors)
    assert again.without(("topics",)).vectors.shape[0] == 1
    assert made.centre("another") is None
    assert np.linalg.norm(made.centre(made.embedder)) == pytest.approx(1.0)
