from __future__ import annotations

import numpy as np
import pytest

from idiolect.alignment.shared.posterior import (
    Choices,
    Prior,
    draw_shares,
    foreseen,
    laplace,
    learn_prior,
    pooled,
    slopes,
    stack,
    updated,
)


def people_with_tastes(people=200, each=12, features=3, options=3, seed=0, spread=1.0):
    """People whose weights are drawn around a common mean, and what they choose."""
    rng = np.random.default_rng(seed)
    mean = np.array([1.0, -0.5, 0.0])[:features]
    weights = mean + spread * rng.normal(size=(people, features))
    rows, chosen, person = [], [], []
    for who in range(people):
        for _ in range(each):
            x = rng.normal(size=(options, features))
            utility = x @ weights[who] + rng.gumbel(size=options)
            rows.append(x)
            chosen.append(int(utility.argmax()))
            person.append(who)
    return stack(rows, chosen, person, people), weights, mean


def test_gradient_and_information_are_those_of_finite_differences():
    choices, weights, _ = people_with_tastes(people=3, each=2)

    def height(shift, row, feature):
        moved = weights[choices.person].copy()
        moved[row, feature] += shift
        utility = choices.x[row] @ moved[row]
        return utility[choices.chosen[row]] - np.logaddexp.reduce(utility)

    gradient, information = slopes(choices, weights[choices.person])
    for row in range(len(choices.x)):
        for feature in range(3):
            plus, minus, here = (height(shift, row, feature) for shift in (1e-4, -1e-4, 0.0))
            assert gradient[row, feature] == pytest.approx((plus - minus) / 2e-4, abs=1e-6)
            assert information[row, feature, feature] == pytest.approx(-(plus + minus - 2 * here) / 1e-8, abs=1e-4)


def test_everybody_at_once_equals_each_alone():
    choices, _, _ = people_with_tastes(people=20)
    prior = Prior(np.zeros(3), np.eye(3))
    together = laplace(choices, prior)
    for who in range(20):
        mine = choices.person == who
        alone = Choices(choices.x[mine], choices.there[mine], choices.chosen[mine], np.zeros(mine.sum(), int), 1)
        found = laplace(alone, prior)
        np.testing.assert_allclose(together.mean[who], found.mean[0], atol=1e-6)
        np.testing.assert_allclose(together.covariance[who], found.covariance[0], atol=1e-6)


def test_somebody_without_choices_has_the_prior():
    choices, _, _ = people_with_tastes(people=3)
    more = Choices(choices.x, choices.there, choices.chosen, choices.person, 5)
    prior = Prior(np.array([0.3, 0.2, 0.1]), np.diag([1.0, 2.0, 3.0]))
    found = laplace(more, prior)
    np.testing.assert_allclose(found.mean[4], prior.mean)
    np.testing.assert_allclose(found.covariance[4], prior.covariance)


def test_known_tastes_are_recovered_and_few_choices_never_lose_to_the_pooled_model():
    choices, weights, _ = people_with_tastes(people=400, each=20)
    prior = learn_prior(choices)
    found = laplace(choices, prior)
    apart = np.mean((found.mean - weights) ** 2)
    assert apart < 0.5 * np.mean((pooled(choices) - weights) ** 2)
    loose = laplace(choices, Prior(np.zeros(3), 100.0 * np.eye(3)))  # each by themselves
    assert apart < 0.5 * np.mean((loose.mean - weights) ** 2)
    np.testing.assert_allclose(np.sqrt(np.diag(prior.covariance)), 1.0, atol=0.35)
    few, true, _ = people_with_tastes(people=400, each=2, seed=1)
    start = laplace(few, prior)
    assert np.mean((start.mean - true) ** 2) < np.mean((prior.mean - true) ** 2)


def test_people_who_are_all_alike_make_a_narrow_prior():
    choices, _, _ = people_with_tastes(people=400, each=20, spread=0.0)
    assert np.sqrt(np.diag(learn_prior(choices).covariance)).max() < 0.25


def test_one_more_choice_moves_the_posterior_as_all_choices_would():
    choices, _, _ = people_with_tastes(people=1, each=30)
    prior = Prior(np.zeros(3), np.eye(3))
    mean, covariance = prior.mean, prior.covariance
    for x, chosen in zip(choices.x, choices.chosen, strict=True):
        mean, covariance = updated((mean, covariance), x, int(chosen))
    exact = laplace(choices, prior)
    np.testing.assert_allclose(mean, exact.mean[0], atol=0.2)
    np.testing.assert_allclose(np.diag(covariance), np.diag(exact.covariance[0]), rtol=0.35)


def test_what_is_foreseen_is_calibrated_where_a_point_estimate_is_too_sure():
    choices, weights, _ = people_with_tastes(people=2000, each=3)
    prior = Prior(np.array([1.0, -0.5, 0.0]), np.eye(3))
    found = laplace(choices, prior)
    rng = np.random.default_rng(9)
    sure, point, right = [], [], []
    for who in range(2000):
        x = 2 * rng.normal(size=(2, 3))
        likely = foreseen(x, found.mean[who], found.covariance[who])
        plain = foreseen(x, found.mean[who], 1e-12 * np.eye(3))
        pick = int(likely.argmax())
        sure.append(likely[pick])
        point.append(plain[int(plain.argmax())])
        right.append(int((x @ weights[who] + rng.gumbel(size=2)).argmax()) == pick)
    assert abs(np.mean(sure) - np.mean(right)) < 0.03
    assert abs(np.mean(sure) - np.mean(right)) < abs(np.mean(point) - np.mean(right))


def test_draws_are_the_same_each_time_and_sum_to_one():
    x, mean, covariance = np.eye(3), np.array([1.0, 0.0, -1.0]), np.eye(3)
    one, two = draw_shares(x, mean, covariance), draw_shares(x, mean, covariance)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(one.sum(axis=1), 1.0)


def test_options_that_are_not_there_are_never_taken():
    rows = [np.ones((2, 1)), np.array([[0.0], [1.0], [5.0]])]
    choices = stack(rows, [0, 1], [1, 0], 2)
    assert choices.x.shape == (2, 3, 1)
    assert not choices.there[1, 2]
    found = laplace(choices, Prior(np.zeros(1), np.eye(1)))
    assert np.isfinite(found.mean).all()
    assert found.mean[1, 0] == pytest.approx(0.0)  # two equal options tell nothing
