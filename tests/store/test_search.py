"""The fast search against a plain one that follows the formulas row by row."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import HashEmbedder, open_store, say, words
from idiolect.store.search import DENSE, HYBRID, LEXICAL, Ranker, _floor
from idiolect.store.view import StoredUser
from plain import plain_search


@pytest.fixture(params=[10_000, 0], ids=["short", "long"])
def form(request, monkeypatch):
    """Both forms in which vectors are held: floats for a short history, two integer planes for a long one."""
    monkeypatch.setattr("idiolect.store.cache.SHORT", request.param)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(3)
    embedder = HashEmbedder()
    store = open_store(tmp_path_factory.mktemp("corpus"), embedder)
    records = []
    for i in range(700):
        session = "" if i % 7 == 0 else f"s{rng.integers(40)}"
        records.append(
            say(
                "ana",
                words(rng, int(rng.integers(1, 25))),
                1e9 + 3600.0 * i + rng.random(),
                session,
                ("Ann", "Bob", "")[i % 3],
            )
        )
    store.add(records[:500])
    for record in records[500:]:
        store.add([record])
    return store, records, embedder


@pytest.mark.parametrize("ranker", [HYBRID, LEXICAL, DENSE], ids=["hybrid", "lexical", "dense"])
@pytest.mark.parametrize("now", [math.inf, 1e9 + 3600 * 333])
def test_the_fast_search_equals_the_plain_one(corpus, form, ranker, now):
    store, records, embedder = corpus
    for query in ("w1 w2 w3", "ann w9 w11 w11", "w77", "bob", "zzz nothing known", "w5 w6 w7 w8 w10 w12 w13 w14"):
        found = StoredUser(store, "ana", now=now).search(query, 15, ranker=ranker)
        ids, scores = plain_search(records, query, embedder, ranker, 15, now)
        np.testing.assert_allclose([h.score for h in found], scores, rtol=2e-4, atol=2e-4)
        if len(set(np.round(scores, 3))) == len(scores):
            assert [h.record.id for h in found] == ids


def test_recall_of_dense_search_is_one_even_where_the_coarse_plane_cannot_tell(tmp_path, form):
    rng = np.random.default_rng(1)
    centre = rng.normal(size=48)
    crowd = (centre + 0.02 * rng.normal(size=(900, 48))).astype(np.float32)  # far closer than int8 can resolve
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)

    class Crowd(HashEmbedder):
        def embed(self, texts):
            return np.stack([crowd[int(t.split()[0])] for t in texts])

    store = open_store(tmp_path, Crowd())
    store.add([say("ana", f"{i}", float(i)) for i in range(900)])
    wrong = 0
    for q in range(50):
        want = np.argsort(-(crowd.astype(np.float64) @ crowd[q].astype(np.float64)), kind="stable")[:10]
        got = [int(h.record.output) for h in StoredUser(store, "ana").search(f"{q}", 10, ranker=DENSE)]
        wrong += len(set(got) ^ set(want.tolist()))
    assert wrong == 0


def test_more_asked_for_than_there_is(corpus, form):
    store, records, _ = corpus
    assert len(StoredUser(store, "ana").search("w1", 10_000)) == len(records)
    assert StoredUser(store, "ana").search("w1", 0) == []


def test_a_date_in_the_question_counts(tmp_path):
    store = open_store(tmp_path)
    may, june = 1683504000.0, 1686182400.0  # 8 May and 8 June 2023
    store.add([say("ana", "went to the market", may, "a"), say("ana", "went to the market", june, "b")])
    user = StoredUser(store, "ana")
    assert user.search("what did I do in May 2023 at the market", 1)[0].record.time == may
    assert user.search("the market on 8 June", 1)[0].record.time == june


def test_a_relative_date_is_of_the_moment_of_asking(tmp_path):
    store = open_store(tmp_path)
    days = [1683504000.0 + 86400 * i for i in range(5)]  # Monday, 8 May 2023, and the days after
    store.add([say("ana", "went to the market", day, f"s{day}") for day in days])
    query = "which market did I go to yesterday"

    def first(user: StoredUser, query: str = query) -> float:
        return user.search(query, 1)[0].record.time

    assert first(StoredUser(store, "ana", asked=days[2] + 5)) == days[1]
    assert (
        first(StoredUser(store, "ana", asked=days[2] + 5).before(days[4])) == days[3]
    )  # the earlier limit is the moment
    assert first(StoredUser(store, "ana", now=days[3] + 5, asked=days[2])) == days[2]
    assert first(StoredUser(store, "ana"), "the market yesterday") == days[4]  # long ago by the wall clock: the newest
    late = StoredUser(store, "ana", asked=days[4] + 14 * 86400)
    assert first(late, "the market before last month") == days[4]
    assert {hit.record.time for hit in late.search("the market since 11 May", 5) if hit.parts.get("date")} == {
        *days[3:]
    }
    assert {hit.record.time for hit in late.search("the market before 10 May 2023", 5) if hit.parts.get("date")} == {
        *days[:2]
    }


@pytest.mark.parametrize("ranker", [HYBRID, LEXICAL, DENSE], ids=["hybrid", "lexical", "dense"])
def test_of_equal_records_the_older_comes_first(tmp_path, form, ranker):
    store = open_store(tmp_path, HashEmbedder())
    plain = Ranker(**{**dataclasses.asdict(ranker), "recency": 0.0})
    store.add([say("ana", f"the same {i % 3}", float(i)) for i in range(300)])
    found = StoredUser(store, "ana").search("same 1", 100, ranker=plain)
    assert [h.record.time for h in found] == [float(i) for i in range(300) if i % 3 == 1]


def test_the_score_is_the_sum_of_its_parts(corpus, form):
    store, _, _ = corpus
    for hit in StoredUser(store, "ana").search("ann w9 w11 in 2001", 20):
        assert hit.score == pytest.approx(sum(hit.parts.values()), abs=1e-3)


def test_a_query_with_kinds_does_not_change_one_without(tmp_path, form):
    store = open_store(tmp_path, HashEmbedder())
    kinds = ("dialogue", "profile", "content")
    store.add([say("ana", f"tea {i}", float(i), f"s{i // 4}", kind=kinds[i % 3]) for i in range(60)])
    user = StoredUser(store, "ana")
    everything = user.search("tea 7", 60)
    some = user.search("tea 7", 60, kinds=("dialogue", "content"))
    assert len(some) == 40
    assert {h.record.kind for h in some} == {"dialogue", "content"}
    assert user.search("tea 7", 60) == everything
    assert user.search("tea 7", 60, kinds=kinds) == everything
    assert user.search("tea 7", 60, kinds=("dialogue", "content")) == some


def test_a_far_future_and_a_far_past_now(corpus, form):
    store, _, _ = corpus
    late = StoredUser(store, "ana", now=1e12).search("w1 w2", 5)
    assert [h.record.id for h in late] == [h.record.id for h in StoredUser(store, "ana").search("w1 w2", 5)]
    assert StoredUser(store, "ana", now=-1e12).search("w1 w2", 5) == []


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=400), st.integers(1, 12))
def test_at_least_k_values_reach_the_floor(values, k):
    array = np.array(values, np.float32)
    assert np.count_nonzero(array >= _floor(array, k)) >= min(k, len(values))
