from __future__ import annotations

import pytest

from idiolect.memory.manner import (
    body,
    changes,
    distance,
    edits,
    has,
    opposed,
    preferred,
    sentences,
    tokens,
    traits,
    unlike,
)

LETTER = "Hi Tom,\n\nThe train is late. We will wait here. It is cold.\n\nBest regards,\nAna"


def asked(answer, wanted):
    return {change.trait: change.phrase for change in changes(answer, wanted)}


@pytest.mark.parametrize(
    ("answer", "wanted", "trait", "phrase"),
    [
        ("One. Two. Three.", "- One.\n- Two.\n- Three.", "layout", "Use bullet points"),
        ("- One.\n- Two.", "One. Two.", "layout", "Write plain prose, no list"),
        ("One. Two.", "1. One.\n2. Two.", "layout", "Number the steps"),
        ("Hi Tom,\nthe train is late.", "the train is late.", "greeting", "No greeting"),
        ("It rains.", "Dear all,\nIt rains.", "greeting", 'Start with a greeting like "Dear all,"'),
        (LETTER, LETTER.split("\n\nBest")[0], "closing", "No closing words"),
        ("It rains.", "It rains.\nCheers, Ana", "closing", 'End with a closing like "Cheers, Ana"'),
        ("Sure! Here is it: rain.", "rain.", "opener", "Begin at once, no opening remark"),
        ("It rains.", "## Weather\nIt rains.", "heading", "Put a heading above it"),
        ("It Rains Here.", "it rains here.", "case", "Write in lower case only"),
        ("it rains here", "It rains here", "case", "Use normal capital letters"),
        ("It rains!", "It rains.", "exclamation", "No exclamation marks"),
        ("It rains 🌧", "It rains", "emoji", "No emoji"),
        ("It **rains**.", "It rains.", "bold", "No bold"),
        ("I do not know.", "I don't know.", "contractions", "Use short forms like don't and it's"),
        ("I don't know.", "I do not know.", "contractions", "No short forms: do not instead of don't"),
        ("I like it.", "It is good.", "first_person", "Do not write in the first person"),
        ("It rains.", "It rains. Shall we go?", "question", "End with a question"),
        ("Perhaps it rains.", "It rains.", "hedges", "No maybe, perhaps or I think"),
        ("Run this:\n```\nls\n```\nThat lists files.", "```\nls\n```", "code", "Give the code alone"),
        ("A b c d. E f g h. I j k l. M n.", "A b c d. E f g h.", "length", "At most 2 sentences"),
        ("One two.", "One two three four five six seven.", "length", "At least 5 words"),
    ],
)
def test_an_edit_of_form_reads_as_a_wish(answer, wanted, trait, phrase):
    assert asked(answer, wanted)[trait] == phrase


def test_an_edit_of_content_alone_asks_for_nothing():
    assert changes("The train is late.", "The bus is full.") == ()
    assert changes("Same.", "Same.") == ()
    assert changes("I do not know.", "Nobody knows.")[0].trait == "first_person"  # and nothing of short forms


def test_leaving_out_greeting_and_closing_is_no_wish_for_brevity():
    assert body(LETTER) == "The train is late. We will wait here. It is cold."
    assert asked(LETTER, "The train is late. We will wait here. It is cold.").keys() == {"greeting", "closing"}


def test_a_choice_tells_only_what_sets_it_apart_from_every_other_draft():
    drafts = ["Hello!\nIt rains.", "It rains!", "It rains."]
    assert [c.phrase for c in preferred(drafts[2], drafts[:2])] == ["No exclamation marks"]
    assert preferred("It rains.", ()) == ()


def test_has_says_whether_a_text_is_as_asked():
    for change in changes(LETTER, "- the train\n- is late"):
        assert has("- the train\n- is late", change.trait, change.value)
        assert not has(LETTER, change.trait, change.value)
    assert has("A. B.", "length", "short:sentences:2")
    assert not has("A. B. C.", "length", "short:sentences:2")


def test_two_lengths_on_one_side_are_one_wish():
    assert opposed("length", "short:sentences:2", "long:words:40")
    assert not opposed("length", "short:sentences:2", "short:words:10")
    assert opposed("greeting", "yes", "no")


def test_edits_are_counted_in_words_marks_and_lines():
    assert tokens("Hi, it's me.\n\n- yes") == ["Hi", ",", "it's", "me", ".", "\n", "-", "yes"]
    assert edits("a b c", "a x c d") == 2
    assert edits("", "a b") == 2
    assert distance("a b c d", "a b") == 1.0  # two taken out of a wish of two
    assert distance("", "") == 0.0
    assert unlike("a b", "a b c d") == 0.5
    assert unlike("No.", "a b c d") == unlike("a b c d", "No.") == 1.0
    assert unlike("", "") == 0.0


def test_sentences_leave_list_marks_out_of_the_count():
    assert sentences("1. One.\n2. Two!\n\n- three") == ["One", "Two", "three"]


@pytest.mark.parametrize("text", ["", " \n ", "!!!", "- ", "42", "ñandú", "```"])
def test_every_text_has_all_traits(text):
    assert traits(text).keys() == traits("It rains.").keys()
    assert changes(text, text) == ()
    changes(text, "It rains.")
    changes("It rains.", text)
