"""What is counted in a person's texts, by hand."""

from __future__ import annotations

import pytest

from idiolect.text.features import Features, content_words, features, is_adjective, is_adverb, syllables


def test_without_a_word_everything_is_zero():
    for texts in ([], [""], ["  ", "\n"], ["!!! 42"]):
        assert features(texts) == Features()
        assert features(texts).numbers == (0.0,) * 5


def test_length_and_parts_of_speech_by_hand():
    found = features(["She quickly ate a wonderful cake.", "", "I slept."])
    assert found.length == 4.0  # 8 words in 2 texts; the empty one is no text
    assert found.adverbs == 1 / 8
    assert found.adjectives == 1 / 8
    assert found.pronouns == 2 / 8


def test_the_grade_is_smog():
    # 1 long word (won-der-ful) in 2 sentences: 3.1291 + 1.043 * sqrt(30 * 1 / 2)
    assert features(["She ate a wonderful cake.", "I slept."]).grade == pytest.approx(3.1291 + 1.043 * 15**0.5)
    assert features(["I sat. I ate."]).grade == pytest.approx(3.1291)


def test_words_pairs_and_names_are_shares_of_texts():
    found = features(
        [
            "The zebra met Jane Doe in New York and then they both went home.",
            "a zebra saw a zebra",
            "the zebra met a lion",
        ]
    )
    assert found.words[0] == ("zebra", 1.0)
    assert dict(found.words)["lion"] == 1 / 3
    assert dict(found.pairs) == {"the zebra": 2 / 3, "zebra met": 2 / 3}
    assert dict(found.names) == {"Jane Doe": 1 / 3, "New York": 1 / 3}


def test_headlines_have_no_names_and_the_word_that_opens_a_sentence_is_none():
    assert features(["How To Cook Rice In New York"]).names == ()
    assert features(["When Anna came, all of us were glad to see her."]).names == ()
    assert dict(features(["So in May The Rolling Stones came and all of us went there."]).names) == {
        "Rolling Stones": 1
    }


@pytest.mark.parametrize(
    ("word", "n"), [("zebra", 2), ("cake", 1), ("table", 2), ("wonderful", 3), ("the", 1), ("rhythm", 1), ("idea", 2)]
)
def test_syllables_are_groups_of_vowels(word, n):
    assert syllables(word) == n


def test_endings_and_their_exceptions():
    assert [w for w in ("slowly", "always", "family", "fly") if is_adverb(w)] == ["slowly", "always"]
    assert [w for w in ("famous", "good", "table", "music") if is_adjective(w)] == ["famous", "good"]


def test_content_words_are_no_function_words():
    assert content_words("I don't think the Zebra is it") == {"think", "zebra"}
