"""Gates and the choice of pieces over a real model, each beside a plain loop: one row, no padding, no hooks shared."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from idiolect.trainable import Example, Job, Recipe
from idiolect.training import peft_format
from idiolect.training.modules import sites
from idiolect.training.pieces import Assembles, Gating, assembled, standard
from tiny import WORDS, ask, write_model

torch = pytest.importorskip("torch")
OWN = [word for word in WORDS if not word.startswith("<")]
PEOPLE = 8
PLAIN = Recipe(rate=0.02, epochs=2, batch=4, warmup=0.0, schedule="constant")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from idiolect.backends.transformers import TransformersBackend

    backend = TransformersBackend(str(write_model(tmp_path_factory.mktemp("tiny"))), dtype="float32", threads=1)
    yield backend
    backend.close()


def texts(person, seed, n=12):
    """What somebody gives who has two words of their own."""
    rng = np.random.default_rng((person, seed))
    own = OWN[2 * person : 2 * person + 2]
    lengths = rng.integers(3, 8, (n, 2))
    return [Example(ask(" ".join(rng.choice(own, a))), " ".join(rng.choice(own, b))) for a, b in lengths]


@pytest.fixture(scope="module")
def adapters(model):
    jobs = [Job(str(n), texts(n, 1)) for n in range(PEOPLE)]
    made = {one.key: one.body for one in model.train(jobs, Recipe(epochs=3, rate=2e-3, dtype="float32"))}
    return [made[str(n)] for n in range(PEOPLE)]


@pytest.fixture(scope="module")
def pool(model, adapters):
    assert isinstance(model, Assembles)
    found = dict(model.train_gates([Gating(str(n), adapters[n], texts(n, 1)) for n in range(PEOPLE)], PLAIN))
    return [found[str(n)] for n in range(PEOPLE)]


def row_of(model, example):
    engine = model._loaded()
    prompt = engine.rows(example.call)[0].ids
    return [*prompt, *engine.tokens(example.text), engine.end], len(prompt)


def test_the_own_adapter_is_chosen_at_nine_sites_of_ten_by_new_texts_of_its_owner(model, pool):
    own = []
    for person in range(PEOPLE):
        chosen = model.choose_pieces(texts(person, 2), pool, 1, 1.0)
        own += [places == (person,) for places, _ in chosen.values()]
    assert np.mean(own) >= 0.9


def inputs_of(engine, module, rows):
    """Read rows one by one; return what a module read, ``[tokens, in]`` for each."""
    seen = []
    hook = module.register_forward_pre_hook(lambda _, given: seen.append(given[0][0]))
    with torch.no_grad():
        for ids in rows:
            engine.model(torch.tensor([ids]))
    hook.remove()
    return seen


def test_the_choice_equals_a_plain_loop_in_which_deeper_modules_see_the_assembled_ones(model, pool):
    engine, examples, k, temperature = model._loaded(), texts(3, 5, 3) + texts(6, 5, 3), 3, 0.7
    found = sites(engine.model, engine.layers)
    scores = {}
    weights = {name: site.module.weight.clone() for name, site in found.items()}
    chosen = model.choose_pieces(examples, pool, k, temperature)
    for name, site in found.items():  # in the order of the pass: each is merged before the next is looked at
        seen = inputs_of(engine, site.module, [row_of(model, example)[0] for example in examples])
        means = [
            np.mean([standard(x.numpy()) for x in states[row_of(model, example)[1] :]], axis=0)
            for example, states in zip(examples, seen, strict=True)
        ]
        scores[name] = np.array([p.keys[name] @ np.mean(means, axis=0) for p in pool]) / math.sqrt(site.inputs)
        order = np.argsort(-scores[name])[:k]
        assert chosen[name][0] == tuple(order)
        wanted = np.exp(scores[name][order] / temperature)
        np.testing.assert_allclose(chosen[name][1], wanted / wanted.sum(), rtol=1e-4)
        made = assembled([p.adapter for p in pool], {name: chosen[name]})
        with torch.no_grad():
            site.module.weight += torch.from_numpy(made.delta(name))
    with torch.no_grad():
        for name, site in found.items():
            site.module.weight.copy_(weights[name])
    assert len(Counter(places[0] for places, _ in chosen.values())) > 1


def test_gates_equal_a_plain_loop_of_one_person(model, adapters, pool):
    engine, person = model._loaded(), 2
    examples, adapter = texts(person, 1), peft_format.load(adapters[person].read())
    found = sites(engine.model, engine.layers)
    gates = {name: torch.zeros(site.inputs, requires_grad=True) for name, site in found.items()}
    for step in range(6):
        epoch, within = divmod(step, 3)
        order = np.random.default_rng((0, epoch)).permutation(12)[within * 4 : within * 4 + 4]
        with torch.enable_grad():
            loss = _gated_loss(model, adapter, gates, [examples[n] for n in order])
            slopes = torch.autograd.grad(loss, list(gates.values()))
        for gate, slope in zip(gates.values(), slopes, strict=True):
            gate.data -= PLAIN.rate * slope / slope.norm()
    for name, gate in gates.items():
        np.testing.assert_allclose(pool[person].keys[name], standard(gate.detach().numpy()), atol=5e-3)


def _gated_loss(model, adapter, gates, examples):
    engine = model._loaded()
    found, handles = sites(engine.model, engine.layers), []
    for name, gate in gates.items():
        one = adapter.modules[name]
        a, b = torch.from_numpy(one.a), torch.from_numpy(one.b)

        def hook(_, given, output, a=a, b=b, gate=gate):
            x = given[0]
            return output + adapter.scaling * ((x * torch.sigmoid(x @ gate)[..., None]) @ a.T @ b.T)

        handles.append(found[name].module.register_forward_hook(hook))
    total, count = 0.0, 0
    for example in examples:
        ids, start = row_of(model, example)
        logits = engine.model(torch.tensor([ids])).logits[0, start - 1 : -1]
        total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(ids[start:]), reduction="sum")
        count += len(ids) - start
    for handle in handles:
        handle.remove()
    return total / count


def test_other_people_in_the_same_training_change_nothing(model, adapters, pool):
    jobs = [Gating("alone", adapters[5], texts(5, 1)), Gating("beside", adapters[1], texts(1, 1, 3))]
    found = dict(model.train_gates(jobs, PLAIN))
    for name, key in pool[5].keys.items():
        np.testing.assert_allclose(found["alone"].keys[name], key, atol=5e-3)
