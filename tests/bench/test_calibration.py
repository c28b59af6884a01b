"""Batch calibration against the definition, and on a model that likes one label."""

from __future__ import annotations

import numpy as np
import pytest

from bench.colours import COLOURS, Colours, bench, copied, dataset, row
from idiolect.backends.toy import ScriptedBackend
from idiolect.bench.calibration import LEAST, calibrated
from idiolect.bench.task import Answer, Query


def answers(scores):
    return [Answer("a", "a", tuple(row)) for row in scores]


def queries(n, group=""):
    return [Query(str(i), "p", (), "a", ("a", "b"), group=group) for i in range(n)]


def test_it_takes_each_labels_mean_off():
    scores = np.random.default_rng(0).normal((5.0, 0.0), size=(20, 2))
    found = [answer.calibrated for answer in calibrated(queries(20), answers(scores))]
    logs = np.log(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))
    assert found == ["ab"[i] for i in (logs - logs.mean(axis=0)).argmax(axis=1)]
    assert 5 < found.count("a") < 15


def test_it_needs_enough_queries_of_the_same_kind():
    few = calibrated(queries(LEAST - 1), answers(np.zeros((LEAST - 1, 2))))
    assert {answer.calibrated for answer in few} == {None}
    two = queries(LEAST, "x") + queries(LEAST - 1, "y")
    found = calibrated(two, answers(np.zeros((len(two), 2))))
    assert [answer.calibrated is None for answer in found] == [False] * LEAST + [True] * (LEAST - 1)
    assert calibrated(queries(12), [Answer("", None)] * 12) == [Answer("", None)] * 12


def test_forbidden_options_are_never_chosen_and_do_not_move_the_others():
    rows = np.array([[0.0, -1.0]] * 10 + [[-np.inf, -3.0], [-np.inf, -np.inf]])
    found = [answer.calibrated for answer in calibrated(queries(12), answers(rows))]
    assert found[10] == "b"
    plain = calibrated(queries(10), answers(rows[:10]))
    assert found[:10] == [answer.calibrated for answer in plain]


def test_a_model_that_always_says_red_still_shows_what_the_prompt_changed():
    def stubborn(call, option):
        return copied(call, option) * 0.01 + (100.0 if option == COLOURS[0] else 0.0)

    made = bench(backend=ScriptedBackend(scores=stubborn)).run("colours", Colours(), dataset())
    own, none = row(made, "retrieval"), row(made, "none")
    assert own["commonest_answer"] == none["commonest_answer"] == 1.0
    assert own["metrics"]["accuracy"] == none["metrics"]["accuracy"]
    assert own["metrics"]["calibrated_accuracy"]["mean"] == 1.0
    assert own["against"]["none"]["calibrated_accuracy"]["difference"] > 0.5
    assert own["against"]["none"]["difference"] == pytest.approx(0.0)
    assert "calibrated_accuracy" not in row(made, "own mode")["metrics"]
