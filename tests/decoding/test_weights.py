"""Closed forms of iterated steering, against the iterations themselves."""

from __future__ import annotations

import numpy as np
import pytest

from idiolect.backends._generation import log_softmax
from idiolect.decoding.mixture import mixture
from idiolect.decoding.weights import amulet_strength, costeer_strength, multi, weights


@pytest.mark.parametrize(
    ("steps", "expected", "digits"),
    [(1, 0.476, 3), (2, 0.732, 3), (3, 0.900, 3), (5, 1.126, 3), (20, 1.78326, 5), (50, 2.234, 3), (200, 2.92, 2)],
)
def test_the_numbers_of_costeer(steps, expected, digits):
    assert round(costeer_strength(steps), digits) == expected


def test_how_the_strength_depends_on_the_settings():
    assert costeer_strength(20, beta=2.0) == pytest.approx(2 * costeer_strength(20))
    assert costeer_strength(20, alpha=1.0) == pytest.approx(0.872, abs=5e-4)
    assert costeer_strength(5000, alpha=0.0) == pytest.approx(0.5, abs=1e-3)
    assert costeer_strength(0) == 0.0


def test_the_numbers_of_amulet():
    assert amulet_strength() == pytest.approx(4.6487, abs=5e-5)
    assert amulet_strength(alpha=1.0) == pytest.approx(0.926, abs=5e-4)
    assert amulet_strength(20) == pytest.approx(3.567, abs=5e-4)


def rows(n, vocab=50):
    return log_softmax(np.random.default_rng(3).normal(size=(n, vocab)).astype(np.float32)).astype(np.float64)


def normal(row):
    return row - np.logaddexp.reduce(row)


def test_costeers_iterations_end_at_the_closed_form():
    base, personal, plain = rows(3)
    delta, alpha, beta, lam, eta = personal - plain, 2.0, 1.0, 2.0, 10.0
    seen, last = np.zeros_like(base), base
    for step in range(1, 21):
        seen += alpha * (last - base) + beta * delta
        last = normal((step * lam * base + seen + last / eta) / (step * lam + 1 / eta))
    np.testing.assert_allclose(last, normal(base + costeer_strength(20) * delta), atol=1e-6)


def test_amulets_iterations_end_at_the_closed_form():
    personal, plain = rows(2)
    alpha, lam, eta, total, last = 2.0, 2.0, 10.0, np.zeros(50), personal
    for step in range(1, 61):
        total += alpha * (last - plain)
        last = normal((total / step + lam * personal + last / (eta * step)) / (lam + 1 / (eta * step)))
    np.testing.assert_allclose(last, normal(personal + amulet_strength() * (personal - plain)), atol=1e-6)


def test_one_dial_in_two_forms():
    with_context, without = rows(2).astype(np.float32)
    mixed = mixture(np.stack([with_context, without]), weights(0.7))
    np.testing.assert_allclose(mixed, without + multi(0.7) * (with_context - without), atol=1e-5)
    assert sum(weights(0.7)) == pytest.approx(1.0)
