from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers import InsideToy
from idiolect.prompting.shared.preference import Pair, Settings, dpo, optimize, pairs, step
from idiolect.types import Call

CALL = Call(({"role": "user", "content": "what matters to this person"},))
SOFT = np.random.default_rng(3).normal(size=(2, 16)).astype(np.float32) * np.float32(0.1)
DATA = [Pair(CALL, "BLUE", "GRAY", 1.0), Pair(CALL, "so BLUE", "so gray", 2.0)]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_loss_begins_at_ln_2_whatever_is_smoothed(smoothing):
    loss, slope = dpo(np.zeros(3), smoothing)
    np.testing.assert_allclose(loss, np.log(2))
    np.testing.assert_allclose(slope, smoothing - 0.5)
    assert step(InsideToy(), SOFT, DATA, _odds(SOFT), Settings(smoothing=smoothing))[0] == pytest.approx(np.log(2))


def test_the_slope_is_the_loss_derivative():
    z, h = np.array([-3.0, -0.2, 0.0, 1.5, 80.0]), 1e-6
    numeric = (dpo(z + h, 0.1)[0] - dpo(z - h, 0.1)[0]) / (2 * h)
    np.testing.assert_allclose(dpo(z, 0.1)[1], numeric, atol=1e-6)


def _odds(soft):
    model, found = InsideToy(), []
    for pair in DATA:
        call = replace(pair.call, soft_prompt=soft)
        found.append(float(np.subtract(*model.logprobs([call, call], [pair.chosen, pair.rejected]))))
    return np.array(found)


def test_the_gradient_is_that_of_the_loss():
    settings, reference = Settings(beta=0.5), _odds(SOFT * 0)
    loss, gradient = step(InsideToy(), SOFT, DATA, reference, settings)
    assert loss == pytest.approx(dpo(0.5 * (_odds(SOFT) - reference), 0.1)[0].mean(), rel=1e-5)
    for at in ((0, 0), (1, 7)):
        moved = [SOFT.copy(), SOFT.copy()]
        moved[0][at] += 1e-2
        moved[1][at] -= 1e-2
        up, down = (step(InsideToy(), soft, DATA, reference, settings)[0] for soft in moved)
        assert gradient[at] == pytest.approx((up - down) / 2e-2, rel=0.02, abs=1e-4)


def test_one_step_makes_the_chosen_text_likelier():
    settings = Settings(epochs=1, rate=0.05)
    after, losses = optimize(InsideToy(), SOFT, DATA, settings, np.random.default_rng(0))
    assert losses == [pytest.approx(np.log(2))]
    call = [replace(CALL, soft_prompt=soft) for soft in (SOFT, after)]
    before_blue, after_blue = InsideToy().logprobs(call, ["BLUE", "BLUE"])
    assert after_blue > before_blue
    assert (_odds(after) > _odds(SOFT)).all()
    assert optimize(InsideToy(), SOFT, [], settings, np.random.default_rng(0))[1] == []


def test_more_steps_lower_the_loss_and_do_not_touch_the_reference():
    settings = Settings(epochs=8, rate=0.05, batch=1)
    before = SOFT.copy()
    _, losses = optimize(InsideToy(), SOFT, DATA, settings, np.random.default_rng(0))
    np.testing.assert_array_equal(SOFT, before)
    assert len(losses) == 16
    assert np.mean(losses[-2:]) < np.mean(losses[:2])


def test_the_better_half_meets_the_worse_half():
    texts = ["BLUE sky", "rain", "BLUE sea", "snow", "BLUE sky", "deep BLUE"]
    values = [1.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    made = pairs(CALL, texts, values)
    assert [(pair.chosen, pair.rejected) for pair in made] == [("BLUE sky", "snow"), ("BLUE sea", "rain")]
    assert all("BLUE" in pair.chosen and "BLUE" not in pair.rejected for pair in made)
    assert pairs(CALL, ["a", "b", "c", "d"], [1, 1, 1, 0])[0].rejected == "d"
    assert len(pairs(CALL, ["a", "b", "c", "d"], [1, 1, 1, 0])) == 1  # equals teach nothing
    assert pairs(CALL, ["same", "same"], [1, 0]) == []
    assert pairs(CALL, ["alone"], [1]) == pairs(CALL, [], []) == []
