"""Ranking options as a person would, asking them, and keeping what they take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tastes
from helpers import say
from idiolect import config, ranking
from idiolect.alignment.shared.asking import Judges
from idiolect.alignment.shared.comparisons import comparisons
from idiolect.errors import ConfigError, InputError, NotFound
from idiolect.memory.memory import Memory
from idiolect.pipeline import Idiolect
from idiolect.store.states import set_wishes
from idiolect.types import Option, Wishes

MENU = ["a cold salad", "a cake", "hot soup", "apple pie"]
ASKED = "What shall we eat?"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Idiolect]:
    tastes.register(monkeypatch)
    paths = {"data": str(tmp_path / "data"), "keys": str(tmp_path / "keys")}
    given = {"backend": "toy", "embedder": "none", "paths": paths, "methods": [tastes.NAME]}
    with Idiolect.build(config.parse(given)) as app:
        yield app


def test_somebody_unknown_is_judged_by_the_prior_and_asked(app):
    found = ranking.rank(app, ASKED, MENU, "ana")
    assert [row.position for row in found.ranking] == sorted(
        range(4), key=lambda place: (-{r.position: r.chance for r in found.ranking}[place], place)
    )
    assert sum(row.chance for row in found.ranking) == pytest.approx(1.0)
    assert all(row.spread > 0.01 for row in found.ranking)
    assert found.ask is not None
    assert found.sure < 0.8
    assert ranking.next_question(app, ASKED, MENU, "ana") == found.ask
    assert app.store.key("ana") is None  # to be ranked for leaves nothing behind


def test_choices_are_records_that_the_next_ranking_knows_of(app):
    for _ in range(3):  # three prompts, the same taste
        record = ranking.choose(app, f"{ASKED} {_}", ["hot soup", "a cake"], 0, "ana")
    assert (record.kind, record.source, record.input, record.output) == (
        "preference", "choice", f"{ASKED} 2", "hot soup",
    )  # fmt: skip
    assert record.meta == {"about": f"{ASKED} 2", "options": ["hot soup", "a cake"], "choice": 0}
    assert [(one.better, one.prompt) for one in comparisons([record])] == [("hot soup", f"{ASKED} 2")]
    assert tastes.Tastes.refreshed == ["ana"] * 3
    found = ranking.rank(app, ASKED, MENU, "ana")
    assert found.ranking[0].option == Option("hot soup")
    assert found.ranking[-1].option == Option("a cake")
    assert ranking.rank(app, ASKED, MENU, "ben").ranking[-1].option != Option("a cake")


def test_the_same_choice_is_kept_once_and_a_change_of_mind_is_another(app):
    said = [(["x", "y"], 0), (["y", "x"], 1), (["x", "y"], 1), (["x", "y"], 0)]
    kept = [ranking.choose(app, ASKED, options, choice, "ana") for options, choice in said]
    assert kept[0].id == kept[1].id
    assert len({record.id for record in kept}) == 3
    assert [record.output for record in app.store.all_records("ana")] == ["x", "y", "x"]


def test_items_and_labels_are_kept_for_methods_that_know_them(app):
    options = [Option("A", "the first", "a1"), Option("B", "the second", "b1")]
    record = ranking.choose(app, ASKED, options, 1, "ana", item="poll")
    assert record.meta == {
        "about": ASKED, "options": ["the first", "the second"], "choice": 1, "option_items": ["a1", "b1"],
        "item": "poll",
    }  # fmt: skip
    (one,) = comparisons([record])
    assert (one.items, one.item, one.better) == (("a1", "b1"), "poll", "the second")


def test_what_is_never_to_be_kept_and_secrets(app):
    app.store.add([say("ana", "hello", 1.0)])
    set_wishes(app.store, "ana", Wishes(never=("cake",)))
    with pytest.raises(InputError, match="never to be kept"):
        ranking.choose(app, ASKED, MENU, 0, "ana")
    record = ranking.choose(app, "my password is hunter2", ["tea", "soup"], 0, "ana")
    assert "hunter2" not in str(record)


@pytest.mark.parametrize(
    ("options", "says"),
    [([], "none"), (["one"], "two options"), (["a", " "], "empty"), (["a", "b", "a"], "options 0 and 2")],
)
def test_options_that_cannot_be_chosen_among_are_refused(app, options, says):
    for wrong in (lambda: ranking.rank(app, ASKED, options, "ana"), lambda: ranking.choose(app, "", options, 0, "ana")):
        with pytest.raises(InputError, match=says):
            wrong()


def test_a_choice_of_what_is_not_there_is_refused(app):
    with pytest.raises(InputError, match="numbered from 0"):
        ranking.choose(app, ASKED, MENU, 4, "ana")
    assert app.store.key("ana") is None


def test_where_nothing_judges_the_error_says_what_to_put_into_the_settings(app):
    with pytest.raises(ConfigError, match=r"\(retrieval\) judges options.*methods = \["):
        ranking.rank(app, ASKED, MENU, "ana", methods=["retrieval"])
    with pytest.raises(NotFound, match="idiolect fit tastes"):
        ranking.rank(app, ASKED, MENU, "ana", methods=[{"name": "tastes", "taught": False}])
    assert isinstance(tastes.Tastes(), Judges)
    assert not isinstance(Memory(), Judges)


def test_pairs_that_were_compared_are_not_asked_again(app):
    seen = set()
    while (found := ranking.rank(app, ASKED, MENU, "ana", sure=1.0)).ask is not None:
        assert frozenset(found.ask) not in seen
        seen.add(frozenset(found.ask))
        ranking.choose(app, ASKED, [MENU[place] for place in found.ask], len(seen) % 2, "ana")
    assert 3 <= len(seen) <= 6
    other = ranking.rank(app, "And tomorrow?", MENU, "ana", sure=1.0)
    assert other.ask is not None  # another question may be asked about the same things


def test_an_interview_ends_once_it_is_sure_and_keeps_every_answer(app):
    weights = np.array([2.0, 6.0, -4.0])
    utility = tastes.features(MENU) @ weights

    def answer(first: int, second: int) -> int:
        return first if utility[first] > utility[second] else second

    done = ranking.interview(app, ASKED, MENU, "ana", answer, limit=6)
    assert done.result.best == int(utility.argmax()) == done.result.ranking[0].position
    assert len(done.asked) == len(done.taken) == len(list(app.store.all_records("ana")))
    assert all(taken == answer(*pair) for pair, taken in zip(done.asked, done.taken, strict=True))
    assert tastes.Tastes.refreshed == ["ana"]
    after = ranking.rank(app, ASKED, MENU, "ana")
    for one, two in zip(after.ranking, done.result.ranking, strict=True):
        assert (one.position, one.chance) == (two.position, pytest.approx(two.chance, abs=1e-6))
    assert after.sure == pytest.approx(done.result.sure)


def test_whoever_leaves_an_interview_keeps_what_was_said(app):
    said = iter([0, None])
    done = ranking.interview(
        app, ASKED, MENU, "ana", lambda first, second: None if next(said) is None else first, sure=1.0
    )
    assert len(done.asked) == 1 == len(list(app.store.all_records("ana")))
    assert done.result.ask is not None


def test_a_failure_to_learn_does_not_lose_the_choice(app, monkeypatch):
    def fails(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(tastes.Tastes, "fit", fails)
    record = ranking.choose(app, ASKED, MENU, 1, "ana")
    assert app.store.find("ana", record.id).output == "a cake"
    assert app.counters["refit.ZeroDivisionError"] == 1
