"""The key of a task and the distance of two keys; numbers by hand."""

from __future__ import annotations

import pytest

from idiolect.memory.shapes import distance, frame, key, letters, shape


def of(text, focus=""):
    return shape(frame(text, focus))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is akin to < flair > ?", ("what", "akin", "_")),
        ("please, what's akin to 'vital'", ("what", "akin", "_")),
        ("< X > means what ?", ("_", "means", "what")),
        ("Translate into French: I am going home.", ("translate", "into", "_")),
        ("Summarise this:\n\nA long article.\nIt has lines.", ("summarise", "_")),
        ("It has lines. " * 60 + "\n\nSummarise this in 3 lines", ("summarise", "_", "lines", "_")),
        ("Write an email to Anna Berg about the 12 invoices", ("write", "email", "_", "invoices")),
        ("HELP ME WITH MY CAR", ("help", "car")),
        ("don't list the cities in Spain", ("not", "list", "cities", "_")),
        ("what does `my_function(x)` return", ("what", "_", "return")),
        ("mail bob@example.org at https://example.org/a?b=1", ("mail", "_")),
        ("2 + 2 ?", ("_",)),
        ("", ()),
    ],
)
def test_what_changes_from_case_to_case_is_taken_out(text, expected):
    assert of(text) == expected


def test_the_focus_is_the_case():
    assert of("Which category? THE ARTICLE ON TAX", "THE ARTICLE ON TAX") == ("which", "category", "_")
    assert of("how long to boil eggs", "how long to boil eggs") == ("how", "long", "boil", "eggs")


def test_a_persons_own_underscore_is_no_slot():
    assert of("explain my_snake _ name") == ("explain", "snake", "name")


def test_distance_counts_words_and_is_divided_by_their_number():
    one = of("sort every letter except first last < word >")
    assert len(one) == 7
    assert distance(one, of("sort every letter except second last < word >")) == pytest.approx(1 / 7)
    assert distance(one, of("sort every letter except first two last two < word >")) == pytest.approx(2 / 9)
    assert distance(one, one) == 0


def test_words_of_one_stem_are_one_and_a_slip_in_a_long_word_is_half():
    assert distance(of("translating the sentence < a >"), of("translate the sentences < b >")) == 0
    assert distance(of("translate the sentnece < a >"), of("translate the sentence < b >")) == pytest.approx(0.5 / 3)
    assert distance(of("what is cold < a >"), of("what is gold < b >")) == pytest.approx(1 / 3)


def test_short_keys_are_not_one_because_they_are_short():
    like, unlike = of("What is like < a > ?"), of("What is unlike < a > ?")
    assert distance(like, unlike) == pytest.approx(1 / 3)
    assert letters(key(like), key(unlike)) == 2  # "fewer than six edits" takes them for one
    assert distance(of("what is < a >"), of("what is < b >")) == 1  # nothing of their own


def test_a_denial_is_another_task():
    assert distance(of("list all the large cities in old Spain"), of("do not list all large cities in old Spain")) == 1


def test_letters():
    assert (letters("kitten", "sitting"), letters("", "abc"), letters("same", "same")) == (3, 3, 0)
