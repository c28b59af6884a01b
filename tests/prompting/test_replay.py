"""A person's past asked again in the form of the question at hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from helpers import open_store, say
from idiolect.backends.toy import ScriptedBackend, ToyBackend
from idiolect.memory.feedback import Feedback, record_of
from idiolect.pipeline import Context
from idiolect.prompting.shared.replay import latest, own_options, replay, utilities
from idiolect.store.view import view
from idiolect.types import Call, Template

LABELS = ("comedy", "drama")
ASKED = Call(
    ({"role": "system", "content": "Label films."}, {"role": "user", "content": "Film: alien. Is alien a comedy?"}),
    focus="alien",
    item="m1",
)


def rated(n, output, text="", **meta):
    return say("ana", output, 1e9 + n, kind="interaction", input=text or f"film {n}", meta=meta)


def context(backend):
    return Context(backend, lambda: 0.0, None)


def test_the_records_input_takes_the_focuss_first_place():
    made = replay(rated(1, "drama", "heat", item="m2"), Template(ASKED, LABELS))
    assert [m["content"] for m in made.call.messages] == ["Label films.", "Film: heat. Is alien a comedy?"]
    assert (made.call.focus, made.call.item, made.call.query) == ("heat", "m2", "heat")
    assert (made.gold, made.options) == ("drama", LABELS)


def test_without_a_template_the_input_is_the_question():
    made = replay(rated(1, "drama", "heat"))
    assert made.call.messages == ({"role": "user", "content": "heat"},)
    assert made.options == ()
    alone = replay(say("ana", "I like tea", 1e9))
    assert alone.call.messages[0]["content"] == "Write what this person writes next."


def test_a_template_without_its_focus_in_the_message_is_not_used():
    made = replay(rated(1, "drama", "heat"), Template(replace(ASKED, focus="dune"), LABELS))
    assert made.call.messages == ({"role": "user", "content": "heat"},)


def test_options_count_where_the_output_is_one_of_them():
    assert replay(rated(1, "horror"), Template(ASKED, LABELS)).options == ()
    assert replay(rated(1, "horror"), Template(ASKED, LABELS), ("horror", "war")).options == ("horror", "war")


def test_a_long_output_is_cut_unless_it_is_an_option():
    long = "x" * 400
    assert len(replay(rated(1, long)).gold) == 300
    made = replay(rated(1, long), options=(long, "short"))
    assert made.gold == long
    assert utilities(context(ScriptedBackend(scores=lambda call, text: -1.0)), [(made.call, made)]) == [
        pytest.approx(math.log(0.5))
    ]


def test_a_person_chooses_among_few_short_outputs_given_again():
    again = [rated(n, LABELS[n % 2]) for n in range(4)]
    assert own_options(again) == LABELS
    assert own_options(again[:3]) == ()  # not again
    assert own_options([rated(n, "drama") for n in range(4)]) == ()  # no choice
    assert own_options([*again, *again, rated(9, "y" * 41)]) == ()  # no label
    assert own_options([]) == ()


@pytest.mark.parametrize(("n", "held"), [(0, 0), (2, 2), (9, 3)])
def test_no_more_than_a_third_is_held_out_and_nothing_of_it_is_seen(tmp_path, n, held):
    store = open_store(tmp_path)
    store.add([rated(i, f"text {i}") for i in range(10)])
    user = view(store, "ana")
    earlier, asked = latest(user, None, n)
    assert [one.record.output for one in asked] == [f"text {i}" for i in range(10 - held, 10)]
    assert earlier.count == 10 - held
    assert (earlier is user) == (held == 0)


def test_what_is_known_or_says_nothing_is_not_asked(tmp_path):
    store = open_store(tmp_path)
    store.add([rated(i, LABELS[i % 2]) for i in range(6)])
    store.add([say("ana", "I am shy", 1e9 + 7, kind="profile"), rated(8, "  ")])
    store.add([rated(10, "drama", "film 1", again=1), rated(11, "drama", "film 0")])
    earlier, asked = latest(view(store, "ana"), None, 2)
    assert [one.record.input for one in asked] == ["film 0"]  # film 1 was said to be a drama before
    assert asked[0].options == LABELS
    assert earlier.history[-1].output == "  "
    assert latest(view(store, "ana"), None, 2, kinds=("profile",))[1] == []


def test_a_remark_on_an_answer_is_no_answer_and_is_not_asked(tmp_path):
    store = open_store(tmp_path)
    store.add([rated(i, LABELS[i % 2]) for i in range(9)])
    remarks = {20: Feedback(comment="too long"), 21: Feedback(edit="my words"), 22: Feedback(rating=-1, comment="no"),
               23: Feedback(drafts=("one", "two"), chosen=1, comment="nicer")}  # fmt: skip
    store.add([record_of("ana", f"q{at}", "x", said, time=1e9 + at, trace="") for at, said in remarks.items()])
    _, asked = latest(view(store, "ana"), None, 3)
    assert [one.gold for one in asked] == [LABELS[0], "my words", "two"]


def test_utilities_among_options_are_probabilities():
    asked = [replay(rated(n, label), Template(ASKED, LABELS)) for n, label in enumerate(LABELS)]
    same = replace(asked[1], call=asked[0].call)
    found = utilities(context(ToyBackend()), [(asked[0].call, asked[0]), (same.call, same)])
    assert sum(math.exp(value) for value in found) == pytest.approx(1.0)


def test_utilities_by_hand_in_one_batch():
    nats = {"comedy": -1.0, "drama": -3.0, "a text": -12.0, "\u00e9": -4.0}
    backend = ScriptedBackend(scores=lambda call, text: nats[text])
    asked = [replay(rated(1, "drama"), Template(ASKED, LABELS)), replay(rated(2, "a text")), replay(rated(3, "\u00e9"))]
    found = utilities(context(backend), [(one.call, one) for one in asked])
    assert found == pytest.approx([-3 - math.log(math.exp(-1) + math.exp(-3)), -2.0, -2.0])
    assert len(backend.calls) == 4
    assert utilities(context(ScriptedBackend(scores=lambda call, text: 0.0)), []) == []
