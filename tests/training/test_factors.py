"""The algebra of low-rank changes, against the whole matrices."""

from __future__ import annotations

import numpy as np
import pytest

from idiolect.errors import InputError
from idiolect.training.factors import Factors, LowRank, cat, inner, mean, norm, truncated


def some(seed, rank=4, scaling=2.0, shapes=(("q", 12, 10), ("v", 6, 10)), bias=False):
    rng = np.random.default_rng(seed)
    modules = {
        name: Factors(
            rng.normal(size=(rank, inputs)).astype(np.float32), rng.normal(size=(outputs, rank)).astype(np.float32),
            rng.normal(size=outputs).astype(np.float32) if bias else None,
        )
        for name, outputs, inputs in shapes
    }  # fmt: skip
    return LowRank(modules, scaling, "model@1")


def close(one, two, **more):
    np.testing.assert_allclose(one, two, atol=1e-4, **more)


def test_cat_is_the_weighted_sum_of_the_matrices():
    parts, weights = [some(1), some(2, rank=3, scaling=0.5), some(3, rank=1)], [0.7, -1.5, 2.0]
    made = cat(parts, weights)
    assert made.modules["q"].rank == 8
    for name in ("q", "v"):
        close(made.delta(name), sum(w * one.delta(name) for w, one in zip(weights, parts, strict=True)))


def test_cat_keeps_modules_that_only_one_changes_and_adds_biases():
    one, two = some(1, bias=True), some(2, shapes=(("q", 12, 10), ("up", 5, 10)), bias=True)
    made = cat([one, two], [1.0, 3.0])
    assert set(made.modules) == {"q", "v", "up"}
    close(made.delta("up"), 3 * two.delta("up"))
    expected = one.scaling * one.modules["q"].bias + 3 * two.scaling * two.modules["q"].bias
    close(made.scaling * made.modules["q"].bias, expected)


def test_mean_is_exact_where_the_mean_of_factors_is_not():
    parts = [some(n) for n in range(5)]
    full = np.mean([one.delta("q") for one in parts], axis=0)
    close(mean(parts).delta("q"), full)
    a, b = (np.mean([getattr(one.modules["q"], side) for one in parts], axis=0) for side in "ab")
    assert np.linalg.norm(2.0 * b @ a - full) > 0.5 * np.linalg.norm(full)


def test_mean_with_weights_that_add_up_to_nothing_is_refused():
    with pytest.raises(InputError, match="add up to 0"):
        mean([some(1), some(2)], [1.0, -1.0])


@pytest.mark.parametrize("scaling", [2.0, -0.5])
def test_truncation_is_the_best_there_is(scaling):
    adapter = some(4, rank=6, scaling=scaling)
    u, s, vt = np.linalg.svd(adapter.delta("q").astype(np.float64))
    best = (u[:, :2] * s[:2]) @ vt[:2]
    made = truncated(adapter, 2)
    assert made.modules["q"].rank == 2
    close(made.delta("q"), best)
    close(truncated(adapter, 64).delta("q"), adapter.delta("q"))


def test_norms_and_inner_products_are_those_of_the_matrices():
    one, two = some(5), some(6, rank=2)
    both = [np.concatenate([adapter.delta(n).ravel() for n in ("q", "v")]).astype(np.float64) for adapter in (one, two)]
    assert norm(one) == pytest.approx(np.linalg.norm(both[0]), rel=1e-5)
    assert inner(one, two) == pytest.approx(both[0] @ both[1], rel=1e-4)


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(InputError, match="no adapter"):
        cat([], [])
    with pytest.raises(InputError, match="different models"):
        cat([some(1), LowRank(some(2).modules, 1.0, "other@2")], [1.0, 1.0])
    with pytest.raises(InputError, match="different shapes"):
        cat([some(1), some(2, shapes=(("q", 12, 11),))], [1.0, 1.0])
