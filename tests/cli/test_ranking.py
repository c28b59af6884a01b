"""Ranking and interviews at the command line."""

from __future__ import annotations

import pytest

import tastes
from cli.conftest import Run

MENU = ("a cold salad", "a cake", "hot soup", "apple pie")


@pytest.fixture(autouse=True)
def judging(monkeypatch: pytest.MonkeyPatch) -> None:
    tastes.register(monkeypatch)


def asked(run: Run, name: str, *more: str, **options: object) -> object:
    return run(name, "ana", "--prompt", "Lunch?", "--methods", tastes.NAME, *MENU, *more, **options)


def test_options_in_order_with_what_to_ask(run: Run) -> None:
    found = asked(run, "rank", "--json").json
    chances = [row["chance"] for row in found["ranking"]]
    assert chances == sorted(chances, reverse=True)
    assert {row["option"] for row in found["ranking"]} == set(MENU)
    assert found["ask"]["first"] in MENU
    shown = asked(run, "rank")
    assert all(option in shown.out for option in MENU)
    assert "To be surer" in shown.err


def test_an_interview_reads_its_answers_from_stdin_and_keeps_them(run: Run) -> None:
    done = asked(run, "interview", "--json", "--sure", "1", input="1\nmaybe\n2\n1\n")
    found = done.json
    assert "neither 1 nor 2" in done.err
    assert [one["taken"] == one["first"] for one in found["asked"]] == [True, False, True]
    kept = run("search", "ana", "Lunch?", "--json").json["hits"]
    assert sorted(hit["output"] for hit in kept) == sorted(one["taken"] for one in found["asked"])
    before = {(one["first"], one["second"]) for one in found["asked"]}
    again = asked(run, "interview", "--json", "--sure", "1", "--limit", "1", input="1\n").json["asked"]
    assert {(one["first"], one["second"]) for one in again}.isdisjoint(before)
    shown = asked(run, "interview", input="")
    assert "0 questions" in shown.err
    assert "chance" in shown.out


def test_where_nothing_judges_it_says_what_to_do(run: Run) -> None:
    done = run("rank", "ana", "--prompt", "Lunch?", "--methods", "retrieval", *MENU, code=1)
    assert "judges options" in done.err
    assert "settings" in done.err
    assert "at least two options" in run("rank", "ana", "--prompt", "x", "--methods", tastes.NAME, "tea", code=1).err
