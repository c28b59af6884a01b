from __future__ import annotations

import numpy as np
import pytest

from idiolect.prompting.hydra import one_hot
from idiolect.prompting.shared.distillation import sigmoid
from idiolect.prompting.shared.heads import (
    Examples,
    add_router,
    gradients,
    pack,
    route,
    route_gradients,
    score,
    start,
    train,
    unpack,
)

RNG = np.random.default_rng(5)


def examples(people=3, each=6, features=4):
    rng = np.random.default_rng(1)
    return Examples.join([(rng.normal(size=(each, features)), rng.random(each)) for _ in range(people)])


def net(given, heads=7, people=3, dim=5):
    rng = np.random.default_rng(2)
    weights = start(given, heads, 6, rng)
    vectors = rng.normal(size=(people, dim))
    add_router(weights, vectors, rng)
    return weights, vectors


def numeric(value, array, step=1e-6):
    """The gradient by central differences, one number at a time."""
    out = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        held = array[place]
        array[place] = held + step
        above = value()
        array[place] = held - step
        out[place] = (above - value()) / (2 * step)
        array[place] = held
    return out


@pytest.mark.parametrize("name", ["base", "heads"])
def test_gradients_are_those_of_finite_differences(name):
    given = examples()
    weights, vectors = net(given)
    mixing = route(weights, vectors, 3)[given.person]
    found = gradients(weights, given, mixing)[1][name]
    wanted = numeric(lambda: gradients(weights, given, mixing)[0], weights[name])
    np.testing.assert_allclose(found, wanted, atol=1e-7)


def test_the_routers_gradient_is_that_of_finite_differences_balance_included():
    given = examples()
    weights, vectors = net(given)

    def whole():
        mixing = route(weights, vectors, 3)
        value, _, by_mixing = gradients(weights, given, mixing[given.person])
        slopes = np.zeros_like(mixing)
        np.add.at(slopes, given.person, by_mixing)
        balance, by_router = route_gradients(weights, vectors, 3, slopes, 0.5)
        return value + balance, by_router

    found = whole()[1]
    np.testing.assert_allclose(found, numeric(lambda: whole()[0], weights["router"]), atol=1e-7)
    assert np.abs(found).max() > 1e-3


def test_a_batch_of_one_person_gives_exactly_zero_gradient_on_anothers_head():
    given = examples(people=2)
    weights = start(given, 3, 6, RNG)
    weights["heads"] = RNG.normal(size=weights["heads"].shape)
    mine = Examples(given.features[given.person == 0], given.targets[given.person == 0], np.zeros(6, np.intp))
    found = gradients(weights, mine, one_hot(mine.person, 2))[1]["heads"]
    assert (found[2] == 0).all()
    assert (found[:2] != 0).all()


def test_routing_has_exactly_three_non_zeros_that_sum_to_one():
    weights, _ = net(examples())
    mixing = route(weights, RNG.normal(size=(40, 5)), 3)
    assert ((mixing > 0).sum(axis=1) == 3).all()
    np.testing.assert_allclose(mixing.sum(axis=1), 1.0)
    weights["router"][:] = 0.0  # even ties are three
    assert ((route(weights, RNG.normal(size=(4, 5)), 3) > 0).sum(axis=1) == 3).all()


def test_the_balance_is_least_where_all_facets_are_used_alike():
    given = examples()
    weights, vectors = net(given)
    weights["router"][:] = 0.0
    even, _ = route_gradients(weights, vectors, 7, np.zeros((3, 7)), 0.5)
    assert even == pytest.approx(0.5)
    weights["router"][-1, 0] = 9.0
    assert route_gradients(weights, vectors, 1, np.zeros((3, 7)), 0.5)[0] > 3.0


def test_scores_by_hand():
    weights = {"mean": np.array([1.0]), "spread": np.array([2.0]), "base": np.array([[1.0], [0.5]]),
               "heads": np.array([[2.0, 0.0], [0.0, 10.0]])}  # fmt: skip
    found = score(weights, np.array([[3.0]]), np.array([1.0, 0.5]))
    assert found[0] == pytest.approx(2 * np.tanh(1.5) + 5.0)
    assert sigmoid(np.array([0.0, 800.0, -800.0])).tolist() == [0.5, 1.0, 0.0]


def test_a_feature_that_never_varies_does_no_harm():
    given = examples()
    given.features[:, 1] = 4.0
    weights = start(given, 2, 6, RNG)
    assert np.isfinite(score(weights, given.features, np.ones(2))).all()


def test_nets_are_read_as_they_were_written_and_the_same_give_the_same_bytes():
    weights, _ = net(examples())
    data = pack({"base": "x"}, {"ranking": weights, "drafting": weights})
    head, nets = unpack(data)
    assert head == {"base": "x"}
    assert list(nets) == ["ranking", "drafting"]
    for name, array in weights.items():
        np.testing.assert_allclose(nets["drafting"][name], array, rtol=1e-6)
    assert pack(head, nets) == data


def test_training_moves_what_has_a_gradient_and_nothing_else():
    given = examples()
    weights, vectors = net(given)
    before = {name: array.copy() for name, array in weights.items()}
    mixing = route(weights, vectors, 3)[given.person]
    train(weights, lambda w: {"heads": gradients(w, given, mixing)[1]["heads"]}, 50, 0.01)
    assert gradients(weights, given, mixing)[0] < gradients(before, given, mixing)[0]
    assert {name for name in weights if not np.array_equal(weights[name], before[name])} == {"heads"}
