"""Pieces of adapters: the arithmetic of their choice, and that what is assembled is the sum of whole changes."""

import numpy as np
import pytest

from idiolect.errors import InputError
from idiolect.training.factors import Factors, LowRank
from idiolect.training.pieces import Pieces, assembled, best, standard

NAMES = ("layers.0.q_proj", "layers.0.v_proj")


def some(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def adapter(seed, rank=2, scaling=2.0):
    return LowRank(
        {name: Factors(some((seed, n, 0), rank, 6), some((seed, n, 1), 5, rank)) for n, name in enumerate(NAMES)},
        scaling, "model",
    )  # fmt: skip


def test_the_assembled_change_is_the_weighted_sum_of_whole_matrices_and_not_of_factors():
    adapters = [adapter(1), adapter(2, rank=3, scaling=0.5), adapter(3)]
    chosen = {NAMES[0]: ((2, 0), (0.75, 0.25)), NAMES[1]: ((1,), (1.0,))}
    made = assembled(adapters, chosen)
    wanted = 0.75 * adapters[2].delta(NAMES[0]) + 0.25 * adapters[0].delta(NAMES[0])
    np.testing.assert_allclose(made.delta(NAMES[0]), wanted, atol=1e-5)
    np.testing.assert_allclose(made.delta(NAMES[1]), adapters[1].delta(NAMES[1]), atol=1e-5)
    parts = [(adapters[n].modules[NAMES[0]], w) for n, w in ((2, 0.75), (0, 0.25))]
    averaged = 2.0 * sum(w * one.b for one, w in parts) @ sum(w * one.a for one, w in parts)
    assert np.linalg.norm(averaged - wanted) > 0.3 * np.linalg.norm(wanted)
    assert made.base_model == "model"


def test_the_best_are_weighed_by_the_softmax_of_their_scores():
    scores = np.array([0.1, 2.0, 1.0, -3.0], np.float32)
    places, weights = best(scores, 2, 0.5)
    assert places == (1, 2)
    np.testing.assert_allclose(weights, [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))])
    assert best(scores, 1, 0.5) == ((1,), (1.0,))
    assert best(scores, 9, 0.5)[0] == (1, 2, 0, 3)


def test_a_key_has_mean_0_and_variance_1_however_short_the_gate_and_one_without_gradient_is_0():
    gate = some(4, 12)
    np.testing.assert_allclose(standard(gate * 1e-9), standard(gate), atol=1e-5)
    assert abs(standard(gate).mean()) < 1e-6
    assert abs((standard(gate) ** 2).mean() - 1) < 1e-5
    assert not standard(np.zeros(12, np.float32)).any()


def test_pieces_come_back_from_bytes():
    one = Pieces(adapter(5), {name: standard(some(6, 6)) for name in NAMES})
    again = Pieces.load(one.dump())
    assert again.adapter.scaling == 2.0
    assert again.adapter.base_model == "model"
    for name in NAMES:
        np.testing.assert_allclose(again.adapter.delta(name), one.adapter.delta(name), atol=2e-2)
        np.testing.assert_allclose(again.keys[name], one.keys[name], atol=2e-3)
    assert again.dump() == Pieces.load(again.dump()).dump()


def test_nothing_cannot_be_assembled():
    with pytest.raises(InputError, match="no pieces"):
        assembled([], {})
