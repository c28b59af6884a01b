from __future__ import annotations

import numpy as np
import pytest

from idiolect.text.dates import date_ranges
from idiolect.text.planes import Planes
from idiolect.text.postings import Postings
from idiolect.text.terms import speaker_hash, terms


def test_words_are_stemmed_and_stop_words_left_out():
    assert terms("The runners were RUNNING to Caroline's runs") == [
        *terms("runner"),
        *terms("run"),
        *terms("caroline"),
        *terms("run"),
    ]
    assert terms("what is the of") == []


def test_scripts_without_spaces_become_pairs():
    assert len(terms("京都大学")) == 3
    assert set(terms("京都")) < set(terms("京都大学"))


def test_a_name_is_known_by_its_first_word():
    assert speaker_hash("Caroline Smith") == speaker_hash("caroline")
    assert speaker_hash("") == 0


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("what did she do in May 2023?", [31]),
        ("on 7 August 2023", [1]),
        ("on August 7th", [1, 1]),
        ("may I go?", []),
        ("they march on", []),
        ("what happened in 2022", [365]),
        ("in February", [28, 29]),
        ("on 31 February", []),
        ("in December 2023", [31]),
        ("nothing", []),
    ],
)
def test_dates_that_a_question_names(text, days):
    assert [round((end - start) / 86400) for start, end in date_ranges(text, (2023, 2024))] == days


def test_postings_join_split_and_forget():
    docs = [[1, 2, 2], [], [2, 3], [1]]
    whole = Postings.build(docs)
    parts = Postings.concat([Postings.build(docs[:2]), Postings.build(docs[2:])])
    for one, other in (
        (whole, parts),
        (whole.part(2, 4), Postings.build(docs[2:])),
        (whole.without([0]), Postings.build([[], *docs[1:]])),
    ):
        for name in ("vocab", "starts", "docs", "counts", "lengths"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert whole.runs([2, 9])[0] == slice(2, 4)
    assert whole.runs([9, 4]) == [slice(0, 0), slice(0, 0)] or all(r.start == r.stop for r in whole.runs([9, 4]))


def test_planes_hold_vectors_to_float32_accuracy_and_bound_their_error():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 96)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7] = 0
    planes = Planes.encode(vectors)
    query = vectors[3]
    true = vectors.astype(np.float64) @ query.astype(np.float64)
    np.testing.assert_allclose(planes.exact(query, np.arange(500)), true, atol=5e-8)
    assert (np.abs(planes.scan(query) - true) <= planes.error + 1e-6).all()
    np.testing.assert_allclose(planes.decode(), vectors, atol=4e-8)
    assert planes.scale[7] == 0
