from __future__ import annotations

import pytest

from idiolect.memory.attributes import corrects, read


@pytest.mark.parametrize(
    ("text", "topic", "slot", "value"),
    [
        ("I live in Porto", "home", "home", "porto"),
        ("I'm vegan", "diet", "diet", "vegan"),
        ("my name is Priya", "name", "name", "priya"),
        ("I'm 34 years old", "age", "age", "34"),
        ("I love coffee", "taste", "taste:coffee", "+"),
        ("I can't stand coffee", "taste", "taste:coffee", "-"),
        ("my favourite film is Alien", "taste", "favourite:film", "alien"),
        ("I quit smoking", "addiction", "habit:smoking", "-"),
        ("I smoke a pack a day", "addiction", "habit:smoking", "+"),
        ("my French is B1", "language", "language:french", "b1"),
        ("I have asthma", "health", "health:asthma", "+"),
        ("I take metformin", "health", "med:metformin", "+"),
        ("I have two cats", "pets", "", ""),
        ("I have two kids", "family", "", ""),
        ("we broke up", "relationship", "partner", "-"),
    ],
)
def test_topic_slot_and_value(text, topic, slot, value):
    about = read(text)
    assert about is not None
    assert (about.topic, about.slot, about.value) == (topic, slot, value)


@pytest.mark.parametrize(
    "text", ["I sold the car", "I am no longer vegan", "my hip is healed", "we lost our cat in May"]
)
def test_what_is_over_ends(text):
    about = read(text)
    assert about is not None
    assert about.ends


@pytest.mark.parametrize(
    "text", ["my friend has asthma", "a boy in my choir is allergic to wasps", "coach is diabetic"]
)
def test_facts_of_others_are_not_read(text):
    assert read(text) is None


def test_a_trip_is_no_home():
    about = read("I'm flying to Rome on Monday")
    assert about is not None
    assert about.slot != "home"


def test_a_question_says_only_what_it_takes_as_given():
    assert read("can I take my insulin on a plane", asked=True) is not None
    assert read("should I move to Rome", asked=True) is None


def test_april_is_no_medicine():
    about = read("my exam is on April 9")
    assert about is not None
    assert about.topic == "schedule"


def test_corrections_are_recognised():
    assert corrects("Sorry, I meant Tuesday")
    assert corrects("the rehearsal is at 6:40, not 6:15")
    assert not corrects("I live in Hull")
