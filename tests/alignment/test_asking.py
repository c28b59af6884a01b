"""Asking people as few questions as tell what they like best, with people whose tastes are known."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pytest

from idiolect.alignment.shared.asking import answered, best_chances, information, interview, next_pair
from idiolect.alignment.shared.posterior import draw_weights, updated

PEOPLE, FEATURES, CANDIDATES, QUESTIONS = 100, 8, 50, 20
UNKNOWN = (np.zeros(FEATURES), np.eye(FEATURES))


def sigmoid(value):
    return 1.0 / (1.0 + np.exp(-value))


class Person:
    """Somebody with a taste and candidates before them, whose answers are noisy as a logit says."""

    def __init__(self, number):
        self.rng = np.random.default_rng([7, number])
        self.weights = self.rng.normal(size=FEATURES)
        self.x = self.rng.normal(size=(CANDIDATES, FEATURES))
        self.utility = self.x @ self.weights
        self.noise = self.rng.random(QUESTIONS)
        self.asked = 0

    def answer(self, first, second):
        self.asked += 1
        return first if self.noise[self.asked - 1] < sigmoid(self.utility[first] - self.utility[second]) else second

    def random_pair(self):
        return tuple(int(one) for one in self.rng.choice(CANDIDATES, 2, replace=False))


@cache
def traced(way):
    """For each person and number of questions: the candidate that would be recommended, how sure that is, what is
    known; ``[people, questions + 1]``.
    """
    rows = []
    for number in range(PEOPLE):
        one, (mean, covariance), asked, row = Person(number), UNKNOWN, [], []
        for _ in range(QUESTIONS + 1):
            chances = best_chances(one.x, mean, covariance)
            row.append((int((one.x @ mean).argmax()), float(chances.max()), mean))
            pair = next_pair(one.x, mean, covariance, asked) if way == "asking" else one.random_pair()
            if len(row) > QUESTIONS:
                break
            asked.append(pair)
            taken = one.answer(*pair)
            mean, covariance = updated((mean, covariance), one.x[list(pair)], pair.index(taken))
        rows.append(row)
    return rows


def found(way):
    """Whether the recommendation is one of the person's true three best, ``[people, questions + 1]``."""
    tops = [set(np.argsort(-Person(number).utility)[:3].tolist()) for number in range(PEOPLE)]
    return np.array([[best in top for best, _, _ in row] for row, top in zip(traced(way), tops, strict=True)])


def needed(way):
    """The number of questions after which the recommendation is among the three best and stays so."""
    return [int(np.flatnonzero(~row)[-1]) + 1 if not row.all() else 0 for row in found(way)]


def test_few_questions_find_one_of_the_three_best_where_random_ones_need_more():
    asking, random = needed("asking"), needed("random")
    assert np.median(asking) <= 0.85 * np.median(random)
    assert found("asking")[:, 10].mean() > found("random")[:, 16].mean()
    assert found("asking")[:, 20].mean() > found("random")[:, 20].mean() + 0.05


def test_somebody_unknown_is_understood_after_three_to_ten_questions():
    pairs = np.random.default_rng(0).normal(size=(500, 2, FEATURES))  # comparisons nobody was asked about
    foreseen, gained = [], []
    for number, row in enumerate(traced("asking")):
        one = Person(number)
        true = (pairs[:, 0] - pairs[:, 1]) @ one.weights > 0
        foreseen.append([np.mean(((pairs[:, 0] - pairs[:, 1]) @ mean > 0) == true) for _, _, mean in row])
        mean_, best_ = one.utility.mean(), one.utility.max()
        gained.append([(one.utility[best] - mean_) / (best_ - mean_) for best, _, _ in row])
    foreseen, gained = np.mean(foreseen, axis=0), np.mean(gained, axis=0)
    assert gained[0] == pytest.approx(0.0, abs=0.15)
    assert gained[3] > 0.5
    assert gained[10] > 0.8
    assert foreseen[10] > 0.72


def test_it_is_right_at_least_as_often_as_it_is_sure():
    sure, right = [], []
    for number, row in enumerate(traced("asking")):
        best = int(Person(number).utility.argmax())
        sure += [chance for _, chance, _ in row[4:]]
        right += [recommended == best for recommended, _, _ in row[4:]]
    assert np.mean(right) - 0.12 < np.mean(sure) < np.mean(right) + 0.02


def test_what_an_answer_tells_is_the_mutual_information_by_plain_loops():
    rng = np.random.default_rng(1)
    x, mean, covariance = rng.normal(size=(5, 3)), rng.normal(size=3), np.diag([1.0, 0.5, 2.0])
    utility = draw_weights(mean, covariance, 32) @ x.T
    best = utility.argmax(axis=1)
    pairs = list(combinations(range(5), 2))

    def entropy(p):
        return -sum(q * np.log(q) for q in (p, 1 - p) if q > 0)

    for (i, j), told in zip(pairs, information(utility, best, np.array(pairs)), strict=True):
        likely = [sigmoid(row[i] - row[j]) for row in utility]
        within = 0.0
        for k in set(best.tolist()):
            group = [p for p, b in zip(likely, best, strict=True) if b == k]
            within += len(group) / 32 * entropy(np.mean(group))
        assert told == pytest.approx(entropy(np.mean(likely)) - within, abs=1e-9)
        assert told >= -1e-12


def test_an_answer_moves_what_varies_and_nothing_else():
    rng = np.random.default_rng(4)
    x, mean, half = rng.normal(size=(2, 4)), rng.normal(size=4), rng.normal(size=(4, 4))
    whole = answered(x, mean, half @ half.T, 1)
    exact = updated((mean, half @ half.T), x, 1)
    np.testing.assert_allclose(whole[0], exact[0], atol=1e-5)
    np.testing.assert_allclose(whole[1], exact[1], atol=1e-5)
    flat = np.diag([1.0, 2.0, 0.0, 0.0])
    moved, left = answered(x, mean, flat, 1)
    np.testing.assert_array_equal(moved[2:], mean[2:])
    assert np.abs(moved[:2] - mean[:2]).min() > 1e-3
    assert (np.diag(left)[:2] < [1.0, 2.0]).all()
    np.testing.assert_allclose(left[2:], 0.0)
    nearly, _ = updated((mean, flat + 1e-9 * np.eye(4)), x, 1)
    np.testing.assert_allclose(moved, nearly, atol=1e-5)
    assert answered(x, mean, np.zeros((4, 4)), 1)[0] is mean


def test_far_apart_utilities_do_not_overflow():
    utility = np.array([[0.0, 5000.0, -5000.0], [4000.0, 0.0, -5000.0]])
    told = information(utility, utility.argmax(axis=1), np.array([[0, 1], [0, 2], [1, 2]]))
    assert told[0] == pytest.approx(np.log(2))
    assert np.isfinite(told).all()


def test_chances_of_being_the_best():
    x = np.eye(3)
    known = best_chances(x, np.array([0.0, 3.0, 1.0]), 1e-9 * np.eye(3))
    np.testing.assert_array_equal(known, [0.0, 1.0, 0.0])
    open_ = best_chances(x, np.zeros(3), np.eye(3), draws=4096)
    np.testing.assert_allclose(open_, 1 / 3, atol=0.04)
    twice = best_chances(np.ones((2, 3)), np.zeros(3), np.eye(3))
    np.testing.assert_array_equal(twice, [1.0, 0.0])


def test_the_contenders_are_asked_about_and_no_pair_twice():
    x = np.array([[1.0, 0.0], [0.0, 1.0], [-9.0, -9.0]])
    mean, covariance = np.array([3.0, 3.0]), 0.5 * np.eye(2)
    first = next_pair(x, mean, covariance)
    assert set(first) == {0, 1}
    assert next_pair(x, mean, covariance, [(first[1], first[0])]) != first
    every = list(combinations(range(3), 2))
    assert next_pair(x, mean, covariance, every) is None
    assert next_pair(x[:1], mean, covariance) is None
    assert next_pair(x, mean, 1e-12 * np.eye(2)) is None  # nothing is open


def test_of_very_many_candidates_the_likely_ones_are_compared():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2000, 4))
    mean, covariance = np.array([2.0, 0.0, 0.0, 0.0]), 0.3 * np.eye(4)
    first, second = next_pair(x, mean, covariance)
    assert {first, second} <= set(np.argsort(-(x @ mean))[:300].tolist())


def test_an_interview_ends_when_it_is_sure_at_the_limit_or_when_the_person_leaves():
    x = np.array([[1.0, 0.0], [0.0, 1.0]])
    prior = (np.zeros(2), 16.0 * np.eye(2))
    sure = interview(x, *prior, lambda *pair: 1)
    assert (sure.best, sure.answers, len(sure.asked)) == (1, (1,), 1)
    assert sure.sure > 0.8
    one = Person(0)
    assert len(interview(one.x, *UNKNOWN, one.answer, limit=3).asked) == 3
    left = interview(one.x, *UNKNOWN, lambda *pair: None)
    assert (left.asked, left.answers) == ((), ())
    np.testing.assert_array_equal(left.mean, UNKNOWN[0])
    told = interview(x, np.array([9.0, 0.0]), 0.1 * np.eye(2), lambda *pair: pytest.fail("it was sure"))
    assert (told.best, told.asked) == (0, ())
    with pytest.raises(ValueError, match="between"):
        interview(one.x, *UNKNOWN, lambda *pair: 99)


def test_equal_questions_are_asked_in_equal_order():
    asked = [interview(Person(3).x, *UNKNOWN, Person(3).answer, limit=5).asked for _ in range(2)]
    assert asked[0] == asked[1]
    assert len({frozenset(pair) for pair in asked[0]}) == 5
