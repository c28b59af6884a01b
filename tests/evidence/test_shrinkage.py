"""The arithmetic of the gate."""

from __future__ import annotations

import numpy as np
import pytest

from idiolect.evidence.shrinkage import DOUBT, Measured, Prior, choose, nothing_known, pool, posterior


def people(rng, mean, spread, noise, count=200, n=8):
    true = np.array(mean) + rng.normal(size=(count, len(mean))) * spread
    return true, [Measured.of(one[:, None] + rng.normal(size=(len(mean), n)) * noise) for one in true]


def test_by_hand():
    one = Measured.of(np.array([[1.0, 3.0], [0.0, 0.0]]))
    np.testing.assert_allclose(one.mean, [2, 0])
    np.testing.assert_allclose(one.variance, [2, 0])
    prior = Prior(np.array([0.0]), np.array([1.0]), np.array([4.0]), np.array([0.0]), 9)
    mean, sd = posterior(Measured(np.array([3.0]), np.array([4.0]), 4), prior)  # noise 4 / 4 = 1: trust a half
    assert mean[0] == pytest.approx(1.5)
    assert sd[0] == pytest.approx(np.sqrt(0.5))


def test_without_measurements_the_population_speaks():
    prior = Prior(np.array([0.2]), np.array([0.03]), np.array([1.0]), np.array([0.01]), 50)
    mean, sd = posterior(None, prior)
    assert (mean[0], sd[0]) == (0.2, pytest.approx(0.2))


def test_a_person_of_whom_no_others_are_known_is_drawn_towards_no_gain():
    own = Measured(np.array([0.6]), np.array([1.0]), 6)
    mean, _ = posterior(own, nothing_known(1, own.variance))
    assert mean[0] == pytest.approx(0.3)


@pytest.mark.parametrize("spread", [0.05, 0.2, 1.0])
def test_the_population_is_found_again(spread):
    _, found = people(np.random.default_rng(0), [0.3, -0.1], spread, 0.3, count=2000)
    prior = pool(found)
    np.testing.assert_allclose(prior.mean, [0.3, -0.1], atol=4 * np.sqrt((spread**2 + 0.09 / 8) / 2000))
    np.testing.assert_allclose(np.sqrt(prior.between), spread, rtol=0.15)
    np.testing.assert_allclose(np.sqrt(prior.within), 0.3, rtol=0.05)


def test_one_question_each_says_nothing_about_how_people_differ():
    rng = np.random.default_rng(3)
    _, found = people(rng, [-0.01], 0.0, 0.3, count=40, n=1)
    prior = pool(found)
    assert prior.between[0] == pytest.approx(0.0, abs=1e-12)
    assert prior.within[0] == pytest.approx(np.var([one.mean[0] for one in found], ddof=1))
    assert {choose(*posterior(one, prior), 0.25) for one in found} == {choose(*posterior(None, prior), 0.25)}


def test_the_scatter_of_one_person_by_hand():
    found = [Measured.of(np.array([[0.0, 2.0]])), Measured.of(np.array([[4.0, 6.0]]))]  # variance 2 each, means 1 and 5
    prior = pool(found)
    alike = 8.0 * 2  # the means' variance, were people alike, would be a single gain's over 2
    assert prior.within[0] == pytest.approx((2 * 2.0 + DOUBT * alike) / (2 + DOUBT))
    assert prior.between[0] == pytest.approx(8.0 - prior.within[0] / 2)


def test_alike_people_are_served_alike_and_different_ones_differently():
    rng = np.random.default_rng(1)
    for spread, alike in ((0.0, True), (0.5, False)):
        _, found = people(rng, [0.05, 0.0], spread, 0.3)
        prior = pool(found)
        chosen = [choose(*posterior(one, prior), 0.0) for one in found]
        assert (chosen.count(0) > 190) is alike
        assert ({-1, 0, 1} == set(chosen)) is not alike


def test_choosing_per_person_is_worth_more_than_the_best_method_for_all_where_people_differ():
    rng = np.random.default_rng(2)
    true, found = people(rng, [0.03, -0.02], 0.2, 0.3)
    prior = pool(found)
    picks = [choose(*posterior(one, prior), 0.25) for one in found]
    served = np.mean([0.0 if pick < 0 else gains[pick] for pick, gains in zip(picks, true, strict=True)])
    assert served > 2 * true.mean(axis=0).max()


def test_where_nothing_helps_none_is_chosen():
    assert choose(np.array([-0.1, 0.0]), np.array([0.1, 0.1]), 0.0) == -1
    assert choose(np.array([0.1, 0.05]), np.array([1.0, 0.01]), 0.5) == 1


def test_one_person_is_no_population_spread():
    prior = pool([Measured(np.array([0.5]), np.array([1.0]), 4)])
    assert prior.between[0] == 0
    assert prior.people == 1
