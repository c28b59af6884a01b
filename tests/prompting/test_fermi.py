from __future__ import annotations

import re

import numpy as np
import orjson

from helpers import open_store, say
from idiolect.backends.toy import ScriptedBackend
from idiolect.config import Settings
from idiolect.pipeline import Idiolect
from idiolect.prompting.fermi import best_for
from idiolect.prompting.shared.optimizer import describe, numbered
from idiolect.store.view import view
from idiolect.types import Call, Record, text_of

TOPICS = ("cats", "trains", "soup")
HISTORY = [
    Record.new("ana", ("no", "yes")[i // 3 % 2], time=1e9 + i, input=f"case {i} on {TOPICS[i % 3]}?", kind="preference")
    for i in range(54)
]
GOLD = {record.input: record.output for record in HISTORY}


def asked_of(call: Call) -> tuple[str, str]:
    """The question and all that stands before it."""
    text = "\n".join(text_of(message) for message in call.messages)
    question = re.search(r"case \d+ on \w+\?$", text)
    assert question is not None
    return question[0], text


def scores(call: Call, option: str) -> float:
    """Right exactly where the prompt has the rule of the question's topic."""
    question, text = asked_of(call)
    topic = question.split()[-1].rstrip("?")
    right = f"RULE-{topic}" in text
    return float(-1 if (option == GOLD[question]) == right else -3)


def adds_a_rule(call: Call) -> str:
    """Take the best description shown and add the rule of a topic that still fails there."""
    text = text_of(call.messages[-1])
    best = re.findall(r"^Description \d+, score [\d.]+: (.*)$", text, re.M)[-1]
    missing = [topic for topic in TOPICS if f"RULE-{topic}" not in best and f"on {topic}?" in text]
    return f"Here it is:\n1. {best} RULE-{missing[0]}"


def build(tmp_path, answers, history=HISTORY, helper=None, score=scores):
    store = open_store(tmp_path)
    store.add(history)
    backend = ScriptedBackend(answers, scores=score)
    return Idiolect(store, backend, Settings(methods=()), clock=lambda: 2e9, helper=helper)


def learnt(app):
    (artifact,) = app.store.artifacts("ana")
    return artifact, orjson.loads(artifact.payload)


def test_it_climbs_one_rule_a_round_and_is_right_after_three(tmp_path):
    app = build(tmp_path, adds_a_rule)
    app.fit("fermi", ["ana"])
    artifact, payload = learnt(app)
    assert payload["curve"] == sorted(payload["curve"])
    assert (len(payload["curve"]), payload["curve"][0], payload["curve"][-1]) == (4, 0, 1)
    assert payload["global"][-1] == 1
    assert all(f"RULE-{topic}" in payload["prompts"][-1] for topic in TOPICS)
    assert payload["malformed"] == 3  # "Here it is:", once a round
    assert len(payload["scores"]) == len(payload["prompts"]) == 4
    assert all(len(row) == len(payload["opinions"]) == 18 for row in payload["scores"])
    assert artifact.base_model == "scripted"
    # 12 opinions are seen: bare and first, then one new text a round; 6 are held out: four texts; two options each
    assert payload["calls"] == {"scored": 2 * (12 * 5 + 6 * 4), "written": 3}


def test_it_stops_where_nothing_fails(tmp_path):
    app = build(tmp_path, (), score=lambda call, option: float(option == GOLD[asked_of(call)[0]]))
    app.fit("fermi", ["ana"])
    assert learnt(app)[1]["calls"]["written"] == 0


def test_the_writer_sees_triples_and_no_held_out_opinion(tmp_path):
    helper = ScriptedBackend(adds_a_rule)
    app = build(tmp_path, (), helper=helper)
    app.fit("fermi", ["ana"])
    payload = learnt(app)[1]
    held = {payload["opinions"][at] for at in payload["held"]}
    unseen = [record.input for record in HISTORY if record.id in held]
    prompts = [text_of(call.messages[-1]) for call in helper.calls]
    assert len(unseen) == 6
    assert not any(question in prompt for prompt in prompts for question in unseen)
    last = prompts[1]  # the memory: the first description with all its failures, then a better one
    number, question, model, person = re.findall(r"Q(\d).*?: (case .*)\n  model: (\w+)\n  person: (\w+)", last)[0]
    assert (number, person) == ("1", GOLD[question])
    assert model != person
    assert "(all descriptions fail here)" in last
    assert "fails with all others on Q1" in last


def test_a_prompt_that_only_fits_what_it_was_written_for_is_dropped(tmp_path):
    held = {HISTORY[36 + at].input for at in np.random.default_rng(0).permutation(18)[:6]}

    def score(call, option):
        question, text = asked_of(call)
        right = (question not in held) if "OVERFIT" in text else int(question.split()[1]) % 2 == 0
        return float((option == GOLD[question]) == right)

    app = build(tmp_path, lambda call: "1. OVERFIT", score=score)
    app.fit("fermi", ["ana"])
    payload = learnt(app)[1]
    assert max(payload["curve"]) == 1
    assert not any("OVERFIT" in prompt for prompt in payload["prompts"])
    assert len(payload["prompts"]) == 1


def test_the_question_chooses_the_specialist(tmp_path):
    app = build(tmp_path, lambda call: "".join(f"{n}. RULE-{topic}\n" for n, topic in enumerate(TOPICS, 1)))
    app.fit("fermi", ["ana"])
    for topic in TOPICS:
        plan = app.plan(Call(({"role": "user", "content": f"what now of {topic}"},)), "ana", methods=["fermi"])
        assert [used.text for used in plan.call.used] == [f"RULE-{topic}"]


def test_local_scores_decide_and_ties_go_to_the_global_one():
    matrix = [[1, 0, 0], [0, 1, 1], [1, 0, 1]]
    assert best_for([0], matrix, [0.1, 0.2, 0.3]) == 2
    assert best_for([0], matrix, [0.4, 0.2, 0.3]) == 0
    assert best_for([1], matrix, [0.9, 0.2, 0.9]) == 1
    assert best_for([], matrix, [0.1, 0.5, 0.5]) == 1


def test_free_text_fails_where_the_prompt_does_not_help(tmp_path):
    history = [say("ana", f"my note {i} is about tea", 1e9 + i, input=f"note {i}?") for i in range(30)]

    def score(call, text):
        body = "\n".join(text_of(message) for message in call.messages)
        return -1.0 if "TEA" in body else -9.0

    app = build(tmp_path, lambda call: "1. TEA" if "Description" in text_of(call.messages[-1]) else "coffee",
                history, score=score)  # fmt: skip
    app.fit("fermi", ["ana"])
    payload = learnt(app)[1]
    assert payload["prompts"][-1] == "TEA"
    assert payload["curve"][-1] > payload["curve"][0]
    asked = [text_of(call.messages[-1]) for call in app.backend.calls]
    assert any("model: coffee" in text for text in asked)


def test_a_model_that_cannot_write_leaves_the_measured_description(tmp_path):
    app = build(tmp_path, lambda call: "I would rather not.\nReally.")
    app.fit("fermi", ["ana"])
    payload = learnt(app)[1]
    assert payload["malformed"] == 2
    assert payload["prompts"] == [describe(view(app.store, "ana").before(HISTORY[36].time).history)[0]]


def test_a_description_counts_and_quotes_with_its_evidence():
    history = [*HISTORY[:6], say("ana", "I keep bees.", 2e9, kind="profile")]
    text, ids = describe(history)
    assert text.splitlines() == [
        "This person says: I keep bees.",
        'Out of 6 choices this person gave "no" 3 times, "yes" 3 times.',
        "Words that come back: yes.",
    ]
    assert set(ids) == {record.id for record in history}
    assert describe([]) == ("", ())


def test_lines_without_a_number_are_counted():
    assert numbered("1. one\n**2.** two\n\n3) 1\nwhat\n4: one", 9) == (["one", "two", "1"], 2 - 1)
    assert numbered("1. a\n2. b\n3. c", 2)[0] == ["a", "b"]


def test_another_model_uses_nothing_of_it(tmp_path):
    app = build(tmp_path, adds_a_rule)
    app.fit("fermi", ["ana"])
    app.backend.fingerprint = "another"
    call = Call(({"role": "user", "content": "cats"},))
    assert app.plan(call, "ana", methods=["fermi"]).call == call
    assert np.isclose(learnt(app)[1]["plain"], 0)
