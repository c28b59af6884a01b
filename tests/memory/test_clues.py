"""Several queries instead of one (MemoRAG's clues)."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import Settings
from idiolect.memory import clue_rules
from idiolect.memory.clues import Clues, fused
from idiolect.pipeline import Idiolect
from idiolect.store.states import set_state, set_wishes
from idiolect.store.view import StoredUser
from idiolect.types import Artifact, Call, Hit, Wishes, text_of

NOW = datetime(2023, 11, 15, 12, tzinfo=UTC).timestamp()  # a Wednesday
DAY = 86400.0
LIFE = [
    say("ana", text, NOW - (40 - i) * DAY, f"s{i // 3}")
    for i, text in enumerate(
        ("I went to Rome by night train", "The bread burnt again", "My cat sleeps on the piano",
         "Berlin is home now, boxes everywhere", "Rain all week", "I sold the old bicycle")
    )
]  # fmt: skip


def ask(text):
    return Call(({"role": "user", "content": text},))


def house(folder, answers=(), records=LIFE, embedder=None):
    store = open_store(folder, embedder)
    store.add(records)
    return Idiolect(store, ScriptedBackend(answers), Settings(methods=(), remember=False), clock=lambda: NOW)


def searched(app, question, **settings):
    """Return the queries that were searched, in order, and the items offered."""
    queries = []

    class Listening(StoredUser):
        def search(self, query, k=10, *, kinds=(), ranker=None):
            if kinds != ("profile",):
                queries.append(query)
            return super().search(query, k, kinds=kinds, ranker=ranker)

    out = Clues(**settings).apply(ask(question), Listening(app.store, "ana"), app.context())
    return queries, [item for block in out.context for item in block.items]


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("When did I move to Berlin?", "I moved to Berlin"),
        ("Where did Caroline go in May?", "Caroline went in May"),
        ("Where is my passport?", "my passport is"),
        ("Can you tell me when I moved to Berlin?", "I moved to Berlin"),
        ("What books has Melanie read?", "Melanie has read books"),
        ("How many dogs did Evan and his partner try to carry?", "Evan and his partner tried to carry dogs"),
        ("What does my sister like?", "my sister like"),
        ("Who baked the cake?", "baked the cake"),
        ("Write a poem about rain.", ""),
        ("", ""),
    ],
)
def test_a_question_becomes_what_an_answer_would_say(question, told):
    assert clue_rules.statement(question) == told


def test_the_past_of_verbs():
    assert [clue_rules.past(verb) for verb in ("move", "go", "carry", "stop", "play", "visit", "fix", "Buy")] == [
        "moved", "went", "carried", "stopped", "played", "visited", "fixed", "bought"
    ]  # fmt: skip


def test_names_and_words_of_a_question():
    asked = 'When did Melanie read "Nothing is Impossible" with Dr. Seuss in New York in June?'
    assert clue_rules.names(asked) == ["Nothing is Impossible", "Melanie", "Dr", "New York"]
    assert clue_rules.content("When did I move to Berlin, to Berlin?") == "move Berlin"
    assert clue_rules.names("Where shall I go? Perhaps nowhere.") == []


def test_a_word_for_a_time_is_also_asked_as_a_date(tmp_path):
    queries, _ = searched(house(tmp_path), "What did I sell last month?")
    assert queries[1:3] == ["I sold last month", "What did I sell last month (October 2023)?"]


def test_the_question_is_always_searched_and_first(tmp_path):
    queries, _ = searched(house(tmp_path), "When did I move to Berlin?")
    assert queries == ["When did I move to Berlin?", "I moved to Berlin", "Berlin", "move Berlin"]
    for answer in ("- I once carried everything to Berlin", "no clue", ""):
        app = house(tmp_path / str(len(answer)), [answer])
        assert searched(app, "When did I move to Berlin?", write="model")[0][0] == "When did I move to Berlin?"


def test_a_clue_finds_what_the_question_does_not(tmp_path):
    app = house(tmp_path, records=[*LIFE, say("ana", "I rode to Oslo", NOW - DAY)])
    _, found = searched(app, "Where did I ride?")
    best = max(found, key=lambda item: item.score)
    assert best.text == "I rode to Oslo"


def test_what_the_person_said_of_themselves_names_the_same_thing_otherwise(tmp_path):
    told = [
        say("ana", "My sister is called Ingrid", NOW - 50 * DAY, kind="profile"),
        say("ana", "I like olives", NOW - 50 * DAY, kind="profile"),
        say("ana", "Ingrid collects stamps", NOW - 5 * DAY),
    ]
    queries, found = searched(house(tmp_path, records=[*LIFE, *told]), "What does my sister collect?")
    assert "My sister is called Ingrid" in queries
    assert "I like olives" not in queries
    assert "Ingrid collects stamps" in [item.text for item in found]


def test_what_no_longer_holds_or_is_not_to_be_brought_up_is_no_clue(tmp_path):
    told = [
        say("ana", f"My sister {what}", NOW - 50 * DAY, kind="profile", meta=meta)
        for what, meta in (("lives in Rome", {}), ("is in hospital", {"topic": "health"}), ("is here", {"scope": "s9"}))
    ]
    app = house(tmp_path, records=[*LIFE, *told])
    set_state(app.store, "ana", told[0].id, closed=NOW - DAY)
    set_wishes(app.store, "ana", Wishes(muted=("health",)))
    queries, _ = searched(app, "What does my sister collect?")
    assert not [query for query in queries if query.startswith("My sister")]


def test_short_clues_of_a_model_are_dropped_and_lines_of_another_form_counted(tmp_path):
    answer = "Here are clues:\n- Berlin home\n- three small words\n- Berlin is home now\n- My boxes came to Berlin"
    app = house(tmp_path, [answer])
    queries, found = searched(app, "When did I move to Berlin?", write="model")
    assert queries == ["When did I move to Berlin?", "Berlin is home now", "My boxes came to Berlin"]
    assert {(i.used.parts["short"], i.used.parts["malformed"]) for i in found} == {(2.0, 1.0)}


@pytest.mark.parametrize("answer", ["", "I would rather not say."])
def test_an_unusable_answer_leaves_plain_retrieval_and_is_counted(tmp_path, answer):
    app = house(tmp_path, [answer])
    _, found = searched(app, "When did I move to Berlin?", write="model")
    plain = app.plan(ask("When did I move to Berlin?"), "ana", methods=["retrieval"], tokens=1000).call.used
    assert [i.text for i in sorted(found, key=lambda i: i.order)] == [one.text for one in plain]
    assert all(item.used.parts["malformed"] == 1.0 for item in found)


def test_the_union_has_no_duplicates_and_stands_in_time_order(tmp_path):
    app = house(tmp_path, ["- I went to Rome by train\n- Berlin is home now\n- My cat and the piano"])
    used = app.plan(ask("Where did I go?"), "ana", methods=[{"name": "clues", "write": "model"}], tokens=1000).call.used
    times = {record.id: record.time for record in LIFE}
    assert len({one.id for one in used}) == len(used) >= 3
    assert [times[one.id] for one in used] == sorted(times[one.id] for one in used)


def test_best_score_and_reciprocal_rank():
    a, b, c = LIFE[:3]
    lists = [[Hit(a, 4.0), Hit(b, 2.0)], [Hit(b, 6.0), Hit(c, 1.0)]]
    by_score = fused(lists, "score", 0.5)
    assert [(hit.record, hit.score, hit.parts["queries"]) for hit in by_score] == [
        (a, 4.0, 1),
        (b, 3.0, 2),
        (c, 0.5, 1),
    ]
    by_rank = fused(lists, "rank", 0.5)
    assert [hit.record for hit in by_rank] == [b, a, c]
    assert [hit.score for hit in by_rank] == pytest.approx([1 / 62 + 0.5 / 61, 1 / 61, 0.5 / 62])


def test_the_model_reads_the_newest_profile_as_data_in_one_call(tmp_path):
    app = house(tmp_path, ["- I once lived in Rome\n- a"], embedder=HashEmbedder())
    claims = [{"text": "Moved <to> Berlin", "record_ids": [LIFE[3].id]}]
    app.store.put_artifacts([
        Artifact.new("ana", "profile", method="profile", payload=orjson.dumps({"claims": claims}),
                     record_ids=[LIFE[3].id], time=LIFE[3].time)
    ])  # fmt: skip
    searched(app, "When did I move?", write="model")
    (call,) = app.backend.calls
    prompt = text_of(call.messages[0])
    assert "1. Moved \u2039to\u203a Berlin" in prompt
    assert "bicycle" not in prompt
    assert call.sampling.temperature == 0.0


def test_a_helper_writes_where_there_is_one_and_rules_ask_nobody(tmp_path):
    app = house(tmp_path)
    app.helper = ScriptedBackend(["- Berlin is home now"])
    searched(app, "When did I move?", write="model")
    searched(app, "When did I move?")
    assert (len(app.helper.calls), len(app.backend.calls)) == (1, 0)


def test_without_records_there_is_no_call(tmp_path):
    app = house(tmp_path, records=())
    call = ask("When did I move?")
    assert Clues(write="model").apply(call, StoredUser(app.store, "ana"), app.context()) is call
    assert app.backend.calls == []
