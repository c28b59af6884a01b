"""The one mixture, by hand and for tensors."""

from __future__ import annotations

import numpy as np
import pytest

from idiolect.backends._generation import log_softmax
from idiolect.decoding.mixture import CLIP, mixture, mixture_of_tensors

ROWS = log_softmax(np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32))


def test_weights_that_sum_to_one_are_a_weighted_sum():
    np.testing.assert_allclose(mixture(ROWS, [0.5, 0.75, -0.25]), 0.5 * ROWS[0] + 0.75 * ROWS[1] - 0.25 * ROWS[2], 1e-4)


def test_one_branch_comes_back_times_its_weight():
    np.testing.assert_array_equal(mixture(ROWS[:1], [1.0]), ROWS[0])
    np.testing.assert_allclose(mixture(ROWS[:1], [2.0]), 2 * ROWS[0])


def test_one_odd_token_does_not_decide():
    rows = np.array([[-1.0, -1.0], [-1.0, -50.0]], np.float32)
    np.testing.assert_allclose(mixture(rows, [0.0, 1.0]), [-1.0, -1.0 - CLIP])
    np.testing.assert_allclose(mixture(rows, [0.5, 0.5]), [-1.0, -1.0 - 0.5 * CLIP])


def test_plausible_is_what_the_first_branch_gives_a_part_of_its_best():
    rows = np.log(np.array([[0.6, 0.3, 0.05, 0.05], [0.1, 0.1, 0.7, 0.1]], np.float32))
    found = mixture(rows, [0.0, 1.0], 0.25)
    assert np.isinf(found).tolist() == [False, False, True, True]


@pytest.mark.parametrize("weights", [[1.0], [1.5, -0.5], [0.2, 0.3, 0.5], [-3.0, 2.0, 2.0], [0.0, 1.0]])
@pytest.mark.parametrize("plausibility", [0.0, 0.1, 1.0])
def test_tensors_are_mixed_alike(weights, plausibility):
    torch = pytest.importorskip("torch")
    expected = mixture(ROWS[: len(weights)], weights, plausibility)
    given = torch.from_numpy(ROWS[: len(weights)].copy())
    found = mixture_of_tensors(given, weights, plausibility)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert int(found.argmax()) == int(np.argmax(expected))
    places = torch.stack([given, given.flip(-1)], dim=1)  # [branches, places, vocab]
    both = mixture_of_tensors(places, weights, plausibility)
    assert torch.equal(both[0], found)
    assert torch.equal(given, torch.from_numpy(ROWS[: len(weights)]))
