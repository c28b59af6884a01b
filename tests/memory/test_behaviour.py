"""The walk through a person's records (MemWeaver's behavioural memory)."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.backends.toy import ToyBackend
from idiolect.config import Settings
from idiolect.memory.behaviour import Behaviour, edges, strength, walk, word_vectors
from idiolect.pipeline import Idiolect
from idiolect.store.view import StoredUser
from idiolect.types import Call

DAY, NOW = 86400.0, 1_700_000_000.0


def ask(text="where did the ferry go"):
    return Call(({"role": "user", "content": text},))


def house(store):
    return Idiolect(store, ToyBackend(), Settings(methods=(), remember=False), clock=lambda: NOW)


def diary(user="ana", n=40):
    words = ("where", "lake", "rain", "bread", "train")
    return [
        say(user, f"ferry {words[i % 5]} {words[(i * 3) % 5]} on day {i}", NOW - (n - i) * DAY, f"s{i // 8}")
        for i in range(n)
    ]


def items(store, user="ana", call=None, **settings):
    app = house(store)
    out = Behaviour(**settings).apply(call or ask(), StoredUser(store, user), app.context())
    return [item for block in out.context for item in block.items]


def visited(found):
    return [i.text for i in sorted(found, key=lambda i: i.used.parts.get("step", 0)) if "step" in i.used.parts]


def test_the_strength_of_a_step_is_that_of_the_formula():
    assert strength(0.64, 10, 5) == pytest.approx(0.512 * math.exp(-0.1) * math.exp(-0.05))
    assert strength(0.64, 10, 5) == pytest.approx(0.44068, abs=5e-6)
    assert strength(1.0, math.log(2) / 0.01, 0) == pytest.approx(0.5)  # half after 69 days


def test_a_negative_cosine_is_nothing_and_not_no_number():
    assert strength(-0.3, 10, 5) == 0.0
    joined = np.ones((4, 4), np.bool_)
    assert walk(joined, 2, 15, 0, lambda u, v: strength(-0.5, 1, 1)) == [2]


def test_a_question_unlike_everything_still_gets_what_search_finds(tmp_path):
    class Opposed(HashEmbedder):
        def embed(self, texts):
            made = super().embed(texts)
            return np.stack([-row if "ferry go" in text else row for row, text in zip(made, texts, strict=True)])

    store = open_store(tmp_path, Opposed())
    store.add([say("ana", "where did the ferry run", NOW + i, "s") for i in range(6)])
    found = items(store)
    assert len(found) == 6
    assert len(visited(found)) == 1


def test_a_step_goes_to_one_of_the_three_strongest_in_proportion():
    pulls = {1: 4.0, 2: 3.0, 3: 1.0, 4: 0.9}  # they do not sum to 1
    joined = np.zeros((5, 5), np.bool_)
    joined[0, 1:] = True
    seen = Counter(walk(joined, 0, 2, seed, lambda u, v: pulls[v])[1] for seed in range(4000))
    assert set(seen) == {1, 2, 3}
    assert [seen[v] / 4000 for v in (1, 2, 3)] == pytest.approx([0.5, 0.375, 0.125], abs=0.03)


def test_strengths_too_small_to_sum_still_move_the_walk():
    joined = ~np.eye(4, dtype=np.bool_)
    assert sorted(walk(joined, 0, 15, 0, lambda u, v: 5e-324 * (v + 1))) == [0, 1, 2, 3]


def test_the_walk_visits_nothing_twice_and_stops_at_its_length():
    way = walk(~np.eye(30, dtype=np.bool_), 3, 15, 1, lambda u, v: 1.0)
    assert way[0] == 3
    assert len(way) == len(set(way)) == 15


def test_edges_follow_time_and_join_what_is_alike_in_one_cluster():
    a, b = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    near_a = [0.6, 0.0, 0.8]
    vectors = np.array([a, b, a, b, near_a], np.float32)
    joined = edges(vectors, 2, 0.3, 0)
    np.testing.assert_array_equal(joined, joined.T)
    chain, alike = {(0, 1), (1, 2), (2, 3), (3, 4)}, {(0, 2), (1, 3), (0, 4), (2, 4)}
    assert {(int(u), int(v)) for u, v in zip(*np.nonzero(np.triu(joined)), strict=True)} == chain | alike
    assert not edges(vectors, 2, 0.7, 0)[0, 4]  # the same cluster, but not alike enough
    assert not edges(vectors, 5, 0.3, 0)[0, 4]  # alike, but in another cluster


def test_the_walk_starts_at_the_most_similar_or_at_the_latest(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    store.add([*diary(), say("ana", "where did the ferry go now", NOW - 30 * DAY - 5, "s1")])
    assert visited(items(store, k=64))[0] == "where did the ferry go now"
    latest = max(items(store, k=64), key=lambda item: item.order).text
    assert visited(items(store, k=64, start="latest"))[0] == latest


def test_the_same_seed_gives_the_same_walk(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    store.add(diary())
    call = ask("ferry on day")
    one, two = items(store, call=call, k=64), items(store, call=call, k=64)
    assert one == two
    assert len(visited(one)) == 15
    assert any(visited(items(store, call=call, k=64, seed=seed)) != visited(one) for seed in range(1, 6))


def test_the_walk_never_leaves_the_person_nor_goes_past_now(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    store.add([*diary("ana", 20), *diary("bob", 40)])
    own = {record.id for record in store.all_records("ana")}
    assert {item.used.id for item in items(store, k=64)} <= own
    then = NOW - 5 * DAY
    used = house(store).plan(ask(), "ana", methods=["behaviour"], now=then).call.used
    times = {record.id: record.time for record in store.all_records("ana")}
    assert used
    assert all(times[one.id] < then for one in used)


def test_a_long_history_costs_no_more_than_its_neighbourhood(tmp_path):
    class Bounded(StoredUser):
        asked = 0

        @property
        def history(self):
            raise AssertionError("the whole history was read")

        def embedded(self, record_ids):
            Bounded.asked = len(record_ids)
            return super().embedded(record_ids)

    embedder = HashEmbedder()
    store = open_store(tmp_path, embedder)
    store.add(diary(n=300))
    user, ctx, before = Bounded(store, "ana"), house(store).context(), embedder.calls
    Behaviour().apply(ask(), user, ctx)
    assert 0 < Bounded.asked <= 64
    assert embedder.calls - before <= 2  # the question; no record is embedded again


def test_visited_records_gain_or_stand_first_and_the_rest_is_what_search_found(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    store.add(diary())
    plain = {hit.record.id: hit.score for hit in StoredUser(store, "ana").search(ask().query, 64)}
    for item in items(store, k=64):
        cosine = item.used.parts.get("cosine")
        gain = 0.0 if cosine is None else max(cosine, 0.0)
        assert item.score == pytest.approx(plain[item.used.id] + gain, abs=1e-6)
    first = sorted(items(store, merge="first", walked=3), key=lambda item: -item.score)
    assert len(first) == 32
    assert all("step" in item.used.parts for item in first[:3])
    cosines = [item.used.parts["cosine"] for item in first if "step" in item.used.parts]
    assert cosines[:3] == sorted(cosines, reverse=True)[:3]


def test_dates_and_order_of_time_are_those_of_retrieval(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    store.add(diary())
    used = house(store).plan(ask(), "ana", methods=["behaviour"], tokens=400).call.used
    times = {record.id: record.time for record in store.all_records("ana")}
    assert len(used) > 3
    assert [times[one.id] for one in used] == sorted(times[one.id] for one in used)
    assert all(one.header.startswith("[") for one in used)


def test_without_an_embedder_words_tell_what_is_alike(tmp_path):
    store = open_store(tmp_path)
    store.add(diary())
    assert len(visited(items(store, k=64))) > 1
    vectors = word_vectors(["the ferry", "ferry to the lake", "bread", "the"])
    assert vectors[0] @ vectors[1] > 0.5
    assert vectors[0] @ vectors[2] == 0
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0], atol=1e-6)


def test_the_same_question_asked_before_is_no_evidence(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    store.add([*diary(), say("ana", "where did the  ferry go", NOW - DAY * 2.5, "s4")])
    assert not any("go" in item.text.split() for item in items(store, k=64))
