from __future__ import annotations

import numpy as np
import pytest

from idiolect.prompting.shared.distillation import Adam, calibrated, distill, reinforce, softmax

GAINS = np.array([1, 0, 0, 0.5])


def slope(loss, scores, step=1e-6):
    """The gradient by differences."""
    ahead = [loss(scores + step * row)[0] - loss(scores - step * row)[0] for row in np.eye(len(scores))]
    return np.array(ahead) / (2 * step)


def test_target_loss_and_gradient_of_distillation_by_hand():
    np.testing.assert_allclose(softmax(GAINS), [0.4269, 0.1571, 0.1571, 0.2589], atol=5e-5)
    value, gradient = distill(np.zeros(4), GAINS)
    assert value == pytest.approx(0.09157, abs=5e-6)
    np.testing.assert_allclose(gradient, [-0.1769, 0.0929, 0.0929, -0.0089], atol=5e-5)


def test_temperature_sharpens_the_target():
    np.testing.assert_allclose(softmax(np.array([0.4, 0.3, 0.2]) / 0.1), [0.665, 0.245, 0.090], atol=5e-4)
    np.testing.assert_allclose(softmax(np.array([0.4, 0.3, 0.2])), [0.367, 0.332, 0.301], atol=5e-4)
    value, gradient = distill(np.array([4.0, 3.0, 2.0]), np.array([0.4, 0.3, 0.2]), 0.1)
    assert value == pytest.approx(0)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


def test_the_student_reaches_its_target_among_many():
    """A second softmax would leave at most e / (e + 15) = 0.153 for the best of 16."""
    scores, gains = np.zeros(16), np.eye(16)[3] * 20
    adam = Adam(0.1)
    for _ in range(300):
        adam.step({"s": scores}, {"s": distill(scores, gains)[1]})
    assert softmax(scores)[3] > 0.95


@pytest.mark.parametrize("loss", [distill, calibrated])
def test_padding_counts_on_neither_side(loss):
    mask = np.array([[True, True, False], [False, False, False]])
    scores, gains = np.array([[1.0, 2, 9], [1, 1, 1]]), np.array([[0.5, 0, 99], [7, 8, 9]])
    value, gradient = loss(scores, gains, mask=mask)
    alone, slopes = loss(scores[0, :2], gains[0, :2])
    assert value[0] == pytest.approx(float(alone))
    np.testing.assert_allclose(gradient[0], [*slopes, 0])
    assert value[1] == 0
    assert not gradient[1].any()


def test_gradients_agree_with_differences():
    scores = np.array([0.3, -1.0, 0.2, 2.0])
    for loss in (
        lambda s: distill(s, GAINS, 0.5),
        lambda s: calibrated(s, GAINS, 0.7, -0.2, temperature=0.5),
        lambda s: reinforce(s, -0.4, 2),
    ):
        np.testing.assert_allclose(loss(scores)[1], slope(loss, scores), atol=1e-6)


def test_a_reward_of_nothing_teaches_nothing_and_padding_is_never_sampled():
    assert not reinforce(np.array([1.0, 2.0]), 0.0, 1)[1].any()
    with pytest.raises(ValueError, match="padding"):
        reinforce(np.zeros(2), 1.0, 1, np.array([True, False]))


def test_the_anchor_ties_the_level_of_the_scores():
    gains = np.array([2.0, -2.0])
    assert distill(gains + 3, gains)[0] == pytest.approx(0)
    assert calibrated(gains, gains)[0] == pytest.approx(0)
    assert calibrated(gains + 3, gains)[0] > 0.1
    scores = np.zeros(2)
    adam = Adam(0.05)
    for _ in range(2000):
        adam.step({"s": scores}, {"s": calibrated(scores, gains)[1]})
    np.testing.assert_allclose(scores, gains, atol=1e-3)


def test_the_first_step_of_adam_is_the_rate_in_each_direction():
    place = {"x": np.array([1.0, 1.0]), "y": np.ones(1)}
    Adam(0.1).step(place, {"x": np.array([3.0, -0.01])})
    np.testing.assert_allclose(place["x"], [0.9, 1.1], atol=1e-6)
    assert place["y"] == 1
