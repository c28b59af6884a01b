"""The generator of adapters: no change at first, gradients as by small steps, never more than its bound."""

from dataclasses import replace

import numpy as np
import pytest

from idiolect.training.factors import Factors, norm
from idiolect.training.generator import Generator
from idiolect.training.modules import Place

PLACES = tuple(
    Place(f"layers.{layer}.{name}", layer, 6, outputs, 3.0)
    for layer in range(2)
    for name, outputs in (("q", 5), ("v", 4))
)


def some(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def new(**more):
    given = {"rank": 2, "alpha": 4.0, "bound": 0.5, "width": 8, "base_model": "model"} | more
    return Generator.new(PLACES, some(0, 5, 3), **given)


def moved(generator, seed, size):
    weights = {name: one + size * some(n + seed, *one.shape) for n, (name, one) in enumerate(generator.weights.items())}
    return generator.with_weights(weights)


def test_a_new_one_changes_nothing_and_its_a_begins_as_loras():
    adapter = new().adapter(some(1, 3))
    assert list(adapter.modules) == [place.name for place in (PLACES[0], PLACES[2], PLACES[1], PLACES[3])]
    assert all(not one.b.any() for one in adapter.modules.values())
    assert all(0 < np.abs(one.a).max() <= 6**-0.5 for one in adapter.modules.values())
    assert adapter.scaling == 2.0


@pytest.mark.parametrize("name", list(new().weights))
def test_gradients_are_those_of_small_steps(name):
    wide = {key: one.astype(np.float64) for key, one in moved(new(), 3, 0.3).weights.items()}
    fixed = {key: one.astype(np.float64) for key, one in new().fixed.items()}
    generator, vectors = replace(new(), weights=wide, fixed=fixed), some(2, 3, 3).astype(np.float64)
    towards = {p.name: Factors(some(n, 3, 2, 6), some(n + 9, 3, p.outputs, 2)) for n, p in enumerate(PLACES)}

    def value(weights):
        made, _ = generator.with_weights(weights).forward(vectors)
        return sum((one.a * towards[n].a).sum() + (one.b * towards[n].b).sum() for n, one in made.items())

    found = generator.forward(vectors)[1](towards)
    assert found.keys() == wide.keys()
    direction = some(7, *wide[name].shape).astype(np.float64)
    step = {key: 1e-6 * direction if key == name else 0 for key in wide}
    slope = value({k: one + step[k] for k, one in wide.items()}) - value({k: one - step[k] for k, one in wide.items()})
    np.testing.assert_allclose((found[name] * direction).sum(), slope / 2e-6, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [1.0, 1e3])
def test_no_change_exceeds_its_bound_whatever_weights_and_vector_are(size):
    adapter = moved(new(), 5, size).adapter(1e4 * some(4, 3))
    for place in PLACES:
        alone = replace(adapter, modules={place.name: adapter.modules[place.name]})
        assert 0 < norm(alone) <= 0.5 * place.norm * (1 + 1e-5)


def test_each_person_gets_their_own_and_what_was_kept_makes_the_same():
    generator, vectors = moved(new(), 6, 0.5), some(8, 4, 3)
    together, _ = generator.forward(vectors)
    again = Generator.load(generator.dump())
    assert again.dump() == Generator.load(again.dump()).dump()
    for n, vector in enumerate(vectors):
        adapter, kept = generator.adapter(vector), again.adapter(vector)
        for name, one in adapter.modules.items():
            np.testing.assert_allclose(one.a @ one.a.T, together[name].a[n] @ together[name].a[n].T, atol=1e-5)
            np.testing.assert_allclose(one.b, together[name].b[n], atol=1e-5)
            np.testing.assert_allclose(kept.modules[name].b, one.b, atol=1e-2)
    assert not np.allclose(together["layers.0.q"].b[0], together["layers.0.q"].b[1], atol=1e-3)
    assert not np.allclose(together["layers.0.q"].b[0], together["layers.1.q"].b[0], atol=1e-3)
