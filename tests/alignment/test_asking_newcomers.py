"""Newcomers are asked from what people's tastes are like, through the whole house."""

from __future__ import annotations

import pytest

from alignment.test_preference import LONG, SHORT, short_or_long
from helpers import HashEmbedder, InsideToy, open_store
from idiolect import ranking
from idiolect.config import Settings
from idiolect.pipeline import Idiolect
from idiolect.store.sharing import share

ASKED, OPTIONS = "a new question", (LONG[0], SHORT[0], LONG[1], SHORT[2])


@pytest.fixture
def house(tmp_path):
    store = open_store(tmp_path, HashEmbedder())
    for n in range(20):
        store.add(short_or_long(f"u{n}", n % 2 == 0))
        share(store, f"u{n}", True)
    house = Idiolect(store, InsideToy(), Settings(methods=("preference",)), clock=lambda: 1e6, backend_name="toy")
    house.fit("preference", [f"u{n}" for n in range(20)])
    return house


def test_a_newcomer_is_asked_about_what_people_differ_in(house):
    found = ranking.rank(house, ASKED, OPTIONS, "zoe")
    assert found.ask is not None
    assert {OPTIONS[place] in SHORT for place in found.ask} == {True, False}
    assert max(row.spread for row in found.ranking) > 0.05
    assert house.store.key("zoe") is None


@pytest.mark.parametrize("short", [True, False])
def test_one_answer_tells_short_from_long(house, short):
    def answer(first, second):
        return first if (OPTIONS[first] in SHORT) == short else second

    done = ranking.interview(house, ASKED, OPTIONS, "zoe", answer, limit=2)
    assert (OPTIONS[done.result.best] in SHORT) == short
    assert [row.option.label in SHORT for row in done.result.ranking] == [short, short, not short, not short]
    after = ranking.rank(house, ASKED, OPTIONS, "zoe")
    assert (after.ranking[0].option.label in SHORT) == short
    assert any(artifact.method == "preference" for artifact in house.store.artifacts("zoe"))


def test_who_is_known_is_not_asked_what_is_known(house):
    assert ranking.rank(house, ASKED, (LONG[0], SHORT[0]), "u0").ask is None
