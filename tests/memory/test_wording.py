from __future__ import annotations

from idiolect.memory import wording


def test_words_pairs_and_ends():
    assert wording.grams("I’ve 2 cats!") == {
        "i've", "#", "cats", "!", "^ i've", "i've #", "# cats", "cats !", "! $",
    }  # fmt: skip
    assert wording.grams("") == {"^ $"}


def test_features_and_lengths():
    places = {"cats": 0, "^ i": 1, "dogs": 2}
    assert wording.features(["I like cats", "cats, I said"], places).tolist() == [[1, 1, 0], [1, 0, 0]]
    assert wording.features([], places).shape == (0, 3)
    assert wording.lengths(["I like cats"]).tolist() == [[0.3]]
    assert wording.lengths([]).shape == (0, 1)
