"""The published reward models on people whose tastes are known."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from idiolect.alignment.drm import DRM
from idiolect.alignment.gpo import GPO
from idiolect.alignment.shared.heads import Heads, learn_heads, principal
from idiolect.alignment.shared.rewarding import Taken, options_of, ordered
from idiolect.alignment.vpl import VPL
from idiolect.errors import MissingExtra

DIM = 8


def of_two_types(people, each, seed=0, options=2):
    """Choices of people who take what lies farthest along the first axis, or every other one against it."""
    rng = np.random.default_rng(seed)
    out = []
    for who in range(people):
        rows = rng.normal(size=(each, options, DIM)) * np.array([2.0] + [1.0] * (DIM - 1))
        rows -= rows.mean(axis=1, keepdims=True)
        side = 1.0 if who % 2 else -1.0
        out.append(Taken(list(rows), [int((side * one[:, 0]).argmax()) for one in rows]))
    return out


def part(taken, *places):
    return Taken([taken.options[place] for place in places], [taken.chosen[place] for place in places])


def accuracy(model, people, known):
    right = []
    for own in people:
        kept = model.known(part(own, *range(known))) if known else None
        for options, chosen in zip(own.options[known:], own.chosen[known:], strict=True):
            right.append(int(model.rewards(options, kept).argmax()) == chosen)
    return float(np.mean(right))


# --- DRM --------------------------------------------------------------------------------------------------------------


def test_a_planted_axis_is_the_first_component():
    rng = np.random.default_rng(0)
    axis = rng.normal(size=DIM)
    axis /= np.linalg.norm(axis)
    pairs = rng.normal(size=(400, DIM)) + 4.0 * rng.normal(size=(400, 1)) * axis + 10.0 * np.ones(DIM)
    found = principal(pairs, 3)
    assert found.shape == (DIM, 3)
    assert abs(found[:, 0] @ axis) > 0.99  # the mean, far larger, is not what is found
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-9)


def test_people_of_opposite_taste_weigh_opposite_heads():
    model = learn_heads(of_two_types(40, 12), components=4, temperature=0.1)
    assert model.vectors.shape == (9, DIM)
    np.testing.assert_allclose(model.vectors[1:5], -model.vectors[5:])
    for own in of_two_types(4, 16, seed=1):
        weights = model.known(own)
        assert weights.sum() == pytest.approx(1.0, abs=1e-5)
        best = model.vectors[int(weights.argmax())]
        side = 1.0 if own.options[0][own.chosen[0], 0] > own.options[0][1 - own.chosen[0], 0] else -1.0
        assert side * best[0] / np.linalg.norm(best) > 0.9
    assert accuracy(model, of_two_types(40, 20, seed=2), 12) > 0.9
    assert accuracy(model, of_two_types(40, 20, seed=2), 0) < 0.65  # half of them want the opposite


def test_heads_are_weighed_by_their_loss():
    model = Heads(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), temperature=0.5)
    own = Taken([np.array([[0.0, 2.0], [1.0, 0.0]])], [0])  # chosen less the other: (-1, 2)
    loss = np.log1p(np.exp([1.0, -2.0, 2.0]))
    np.testing.assert_allclose(model.known(own), np.exp(-2 * loss) / np.exp(-2 * loss).sum(), rtol=1e-6)


def test_a_stranger_gets_the_original_head_which_the_components_do_not_hold():
    rng = np.random.default_rng(0)
    people = []
    for _ in range(20):  # all want the last axis, which varies least
        rows = rng.normal(size=(10, 2, DIM)) * np.array([3.0] * (DIM - 1) + [1.0])
        rows -= rows.mean(axis=1, keepdims=True)
        people.append(Taken(list(rows), [int(one[:, -1].argmax()) for one in rows]))
    model = learn_heads(people, components=3, temperature=1.0)
    assert model.vectors[0, -1] / np.linalg.norm(model.vectors[0]) > 0.9
    assert np.abs(model.vectors[1:, -1]).max() < 0.2 * model.vectors[0, -1]
    assert accuracy(model, people, 0) > 0.9


# --- in context -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["gpo", "vpl"])
def trained(request):
    pytest.importorskip("torch")
    method = {"gpo": GPO(passes=60, width=32, rate=3e-3), "vpl": VPL(passes=60, width=16, rate=3e-3)}[request.param]
    return method, method.trained(of_two_types(60, 12), None)


def test_four_choices_tell_two_opposite_types_apart(trained):
    _, model = trained
    assert accuracy(model, of_two_types(40, 10, seed=1), 4) > 0.95


def test_the_order_of_the_context_changes_nothing(trained):
    _, model = trained
    own = of_two_types(1, 6, seed=2)[0]
    rewards = [model.rewards(own.options[5], model.known(part(own, *o))) for o in ((0, 1, 2, 3), (3, 1, 0, 2))]
    np.testing.assert_allclose(rewards[0], rewards[1], atol=1e-4)


def test_opposite_choices_turn_the_rewards_around(trained):
    _, model = trained
    own = of_two_types(1, 6, seed=3)[0]
    turned = Taken(own.options, [1 - chosen for chosen in own.chosen])
    one, two = (model.rewards(own.options[5], model.known(part(each, 0, 1, 2, 3))) for each in (own, turned))
    assert (one[0] - one[1]) * (two[0] - two[1]) < 0


def test_without_choices_half_of_each_type_leave_nothing_to_prefer(trained):
    _, model = trained
    others = of_two_types(40, 4, seed=4)
    without = [np.ptp(model.rewards(own.options[3], None)) for own in others]
    with_them = [np.ptp(model.rewards(own.options[3], model.known(part(own, 0, 1, 2)))) for own in others]
    assert np.mean(without) < 0.5 * np.mean(with_them)


def test_what_is_kept_gives_the_same_model(trained):
    method, model = trained
    again = method.restored(model.arrays())
    own = of_two_types(1, 6, seed=5)[0]
    np.testing.assert_array_equal(again.known(own), model.known(own))
    np.testing.assert_array_equal(
        again.rewards(own.options[0], again.known(own)), model.rewards(own.options[0], model.known(own))
    )


def test_options_may_differ_in_number(trained):
    _, model = trained
    own = of_two_types(1, 3, seed=6)[0]
    more = of_two_types(1, 3, seed=6, options=4)[0]
    mixed = Taken([*own.options, *more.options], [*own.chosen, *more.chosen])
    assert model.rewards(more.options[0], model.known(mixed)).shape == (4,)


def test_draws_have_the_same_norm_in_training_and_afterwards():
    torch = pytest.importorskip("torch")
    from idiolect.alignment.shared._torch_vpl import Variational

    model = Variational(DIM, 16, 0.0)
    kept = torch.rand(3, 2, 16) * 2 - 1
    for noise in (torch.randn(3, 16), torch.zeros(3, 16)):
        np.testing.assert_allclose(model.drawn(kept, noise).norm(dim=1).numpy(), 4.0, rtol=1e-5)
    zero = torch.zeros(3, 2, 16)
    model.kl = 1.0
    assert float(model.penalty(zero, 1.0)) == pytest.approx(0.0)
    assert float(model.penalty(kept, 0.0)) == 0.0
    assert float(model.penalty(kept, 1.0)) > 0.0


def test_without_torch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for method in (GPO(), VPL()):
        with pytest.raises(MissingExtra, match=r"idiolect\[transformers\]"):
            method.trained(of_two_types(2, 2), None)


# --- what all share ---------------------------------------------------------------------------------------------------


def test_ordered_labels_are_their_value_times_the_prompt_and_which_they_are():
    rows = options_of(np.array([1.0, -2.0]), ("-1", "0", "1"))
    np.testing.assert_allclose(rows[:, :2], [[-1.0, 2.0], [0.0, 0.0], [1.0, -2.0]])
    np.testing.assert_allclose(rows[:, 2:], np.eye(3) - 1.0 / 3.0)
    np.testing.assert_allclose(options_of(np.array([[1.0], [3.0]]), ()), [[-1.0], [1.0]])
    assert (ordered(()), ordered(("no", "yes")), ordered(("a", "b", "c"))) == (True, True, False)


def test_somebody_who_always_says_the_middle_label_can_be_learnt():
    rng = np.random.default_rng(0)
    prompts = rng.normal(size=(20, 12, DIM)) / np.sqrt(DIM)
    people = [Taken([options_of(one, ("-1", "0", "1")) for one in own], [1] * 12) for own in prompts]
    assert accuracy(learn_heads(people, components=4, temperature=1.0), people, 0) == 1.0


def test_only_settings_of_learning_name_what_was_learnt():
    assert DRM(n=2).learnt == {"newest": 200, "replays": 0, "components": 32, "temperature": 1.0}
