from __future__ import annotations

import math

import numpy as np
import pytest

from idiolect.bench import metrics
from idiolect.bench.metrics import bits_per_byte, evidence_hit, evidence_recall, hit, mae, ndcg, own_first, rmse
from idiolect.bench.task import Answer, Query

ALL = np.ones((1, 3))


def ask(gold, options=(), **more):
    return Query("q", "ann", ({"role": "user", "content": "?"},), gold, options, **more)


def test_lamp_1_all_wrong():
    queries = [ask(gold, ("[1]", "[2]")) for gold in ("[1]", "[2]", "[1]")]
    answers = [Answer("maybe", None), Answer("[1]", "[1]"), Answer("none", None)]
    assert [metrics.ACCURACY.score(q, a) for q, a in zip(queries, answers, strict=True)] == [0, 0, 0]
    assert metrics.MACRO_F1.pooled(queries, answers, ALL) == [0]


def test_lamp_3_what_cannot_be_read_is_the_farther_end():
    queries = [ask(gold) for gold in ("1", "3", "5")]
    answers = [Answer("great", None)] * 3
    errors = [mae(1, 5).score(q, a) for q, a in zip(queries, answers, strict=True)]
    assert np.mean(errors) == pytest.approx(10 / 3)
    assert rmse(1, 5).pooled(queries, answers, ALL) == pytest.approx([math.sqrt(36 / 3)])
    assert mae(1, 5).score(queries[1], Answer("2.5", "2.5")) == 0.5


def test_macro_f1_counts_an_option_that_nobody_gave():
    queries = [ask("a", ("a", "b", "c")), ask("a", ("a", "b", "c")), ask("b", ("a", "b", "c"))]
    answers = [Answer("a", "a"), Answer("a", "a"), Answer("b", "b")]
    assert metrics.MACRO_F1.pooled(queries, answers, ALL) == pytest.approx([2 / 3])


def test_auc_by_likelihood_and_by_label():
    queries = [ask(gold, ("Yes.", "No.")) for gold in ("Yes.", "No.", "No.")]
    scored = [Answer("", "Yes.", scores) for scores in ((-1.0, -2.0), (-1.0, -1.5), (-3.0, -1.0))]
    assert metrics.AUC.pooled(queries, scored, ALL) == [1.0]
    labelled = [Answer("", "Yes."), Answer("", None), Answer("", "Yes.")]
    assert metrics.AUC.pooled(queries, labelled, ALL) == [0.75]


def test_ranks_by_scores():
    query = ask("c", ("a", "b", "c", "d"))
    answer = Answer("", "a", (-1.0, -4.0, -2.0, -3.0))
    assert (hit(1).score(query, answer), hit(2).score(query, answer)) == (0, 1)
    assert ndcg(10).score(query, answer) == pytest.approx(1 / math.log2(3))
    assert ndcg(1).score(query, answer) == 0


def test_a_label_alone_leaves_the_rest_to_chance():
    """A model that only names one option must not look worse at k = 10 than one that orders at random."""
    query = ask("c", tuple("abcdefghijklmnopqrst"))
    right, wrong, mute = Answer("c", "c"), Answer("a", "a"), Answer("", None)
    assert hit(10).score(query, right) == ndcg(10).score(query, right) == 1
    assert hit(10).score(query, wrong) == pytest.approx(9 / 19)
    assert hit(10).score(query, mute) == pytest.approx(0.5)
    assert (hit(10).score(query, right) + 19 * hit(10).score(query, wrong)) / 20 == pytest.approx(0.5)


def test_evidence():
    query = ask("x", evidence=("r1", "r2"))
    answer = Answer("", "", used=("r1",), ranked=("r9", "r1", "r8", "r2"), prompt="a1")
    assert [evidence_hit(k).score(query, answer) for k in (1, 2)] == [0, 1]
    assert [evidence_recall(k).score(query, answer) for k in (1, 2, 4)] == [0, 0.5, 1]
    assert metrics.COVERAGE_ANY.score(query, answer) == 1
    assert metrics.COVERAGE_ALL.score(query, answer) == 0
    assert evidence_hit(5).score(ask("x"), answer) is None
    assert metrics.COVERAGE_ANY.score(ask("x"), answer) is None
    assert metrics.COVERAGE_ANY.score(query, Answer("a predictor", "")) is None


def test_likelihood_of_the_persons_own_words():
    query = ask("é" * 100, foils=("aaaa", "bb"))
    answer = Answer("", "", gold_nats=-20 * math.log(2), foil_nats=(-8.0, -2 * math.log(2)))
    assert bits_per_byte(10).score(query, answer) == pytest.approx(1.0)
    assert own_first(10).score(query, answer) == 0.75, "likelier than the first, as likely as the second"
    assert bits_per_byte(10).score(query, Answer("", "")) is None
    assert own_first(10).score(query, Answer("", "")) is None


def test_texts():
    query = ask("the cat sat", reference=("Well, the cat sat.",))
    assert metrics.ROUGE_1.score(query, Answer("the cat", "the cat")) == pytest.approx(0.8)
    assert metrics.ROUGE_L.score(query, Answer("sat cat", "")) == pytest.approx(0.4)
    assert metrics.TOKEN_F1.score(query, Answer("A cat sat!", "")) == 1
    assert metrics.STYLE.score(query, Answer("", None)) == 1
    assert metrics.STYLE.score(ask("x"), Answer("x", "x")) is None


def test_the_golds_probability_where_options_are_forbidden():
    score = metrics.gold_probability("sum").score
    query = ask("a", ("a", "b"))
    assert score(query, Answer("a", "a", (0.0, -math.inf))) == 1.0
    assert score(query, Answer("a", "a", (-math.inf, -math.inf))) == 0.0
