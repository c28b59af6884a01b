"""Training a generator through a real model, its gradients beside a plain loop, and people whom it never saw."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import HashEmbedder
from idiolect.errors import InputError
from idiolect.trainable import Example
from idiolect.training.factors import Factors
from idiolect.training.generating import Differentiable, Known, Training, fit, vector_of
from idiolect.training.generator import Generator
from tiny import CALLS, TEXTS, ask, write_model

torch = pytest.importorskip("torch")
TASTES = ("tea", "red", "dog", "café")
QUESTION = ask("ana likes")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from idiolect.backends.transformers import TransformersBackend

    backend = TransformersBackend(str(write_model(tmp_path_factory.mktemp("tiny"))), dtype="float32", threads=1)
    yield backend
    backend.close()


def new(model, vectors, **more):
    given = {"rank": 4, "alpha": 8.0, "bound": 1.0, "width": 32, "base_model": model.fingerprint} | more
    return Generator.new(model.linear_places(("q_proj", "v_proj")), vectors, **given)


def plain_losses(model, examples):
    """The mean loss of each example's tokens, one row and no padding; it can be differentiated."""
    engine, out = model._loaded(), []
    for example in examples:
        prompt = engine.rows(example.call)[0].ids
        ids = [*prompt, *engine.tokens(example.text), engine.end]
        logits = engine.model(torch.tensor([ids])).logits[0, len(prompt) - 1 : -1]
        out.append(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[len(prompt) :])))
    return torch.stack(out)


EXAMPLES = [Example(call, text, weight) for call, text, weight in zip(CALLS, TEXTS, (1.0, 0.5, 2.0, 0.25), strict=True)]
OWNERS = (0, 2, 0, 1)


def test_a_new_generator_leaves_the_model_exactly_as_it_is(model):
    vectors = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    made, _ = new(model, vectors).forward(vectors)
    nothing = {name: Factors(0 * one.a, 0 * one.b) for name, one in made.items()}
    assert all(one.a.any() for one in made.values())
    found = model.factor_losses(EXAMPLES, OWNERS, made, 2.0)
    np.testing.assert_array_equal(found, model.factor_losses(EXAMPLES, OWNERS, nothing, 2.0))
    with torch.no_grad():
        np.testing.assert_allclose(found, plain_losses(model, EXAMPLES).numpy(), rtol=1e-5)


def test_gradients_through_both_layers_equal_those_of_plain_hooks(model):
    rng = np.random.default_rng(1)
    factors = {
        place.name: Factors(*(rng.normal(size=(3, *shape)).astype(np.float32) * 0.3
                              for shape in ((2, place.inputs), (place.outputs, 2))))
        for place in model.linear_places(("q_proj", "v_proj"))
    }  # fmt: skip
    losses, gradients = model.factor_gradients(EXAMPLES, OWNERS, factors, 0.5)
    modules = dict(model._loaded().model.named_modules())
    leaves = {
        name: [torch.tensor(part, requires_grad=True) for part in (one.a, one.b)] for name, one in factors.items()
    }
    with torch.enable_grad():
        alone = [_under(model, modules, leaves, owner, one) for owner, one in zip(OWNERS, EXAMPLES, strict=True)]
        sum(one.weight * loss for one, loss in zip(EXAMPLES, alone, strict=True)).backward()
    np.testing.assert_allclose(losses, [float(loss.detach()) for loss in alone], rtol=1e-4)
    assert {name.split(".")[2] for name in gradients} == {"0", "1"}
    for name, (a, b) in leaves.items():
        assert a.grad.abs().max() > 1e-3
        np.testing.assert_allclose(gradients[name].a, a.grad.numpy(), atol=1e-4)
        np.testing.assert_allclose(gradients[name].b, b.grad.numpy(), atol=1e-4)


def _under(model, modules, leaves, owner, example):
    handles = []
    for name, (a, b) in leaves.items():

        def hook(_, given, output, a=a, b=b):  # fmt: skip
            return output + 0.5 * (given[0] @ a[owner].T @ b[owner].T)

        handles.append(modules[name].register_forward_hook(hook))
    loss = plain_losses(model, [example])[0]
    for handle in handles:
        handle.remove()
    return loss


def test_factors_for_another_model_are_refused(model):
    wrong = Factors(np.zeros((1, 2, 7), np.float32), np.zeros((1, 32, 2), np.float32))
    with pytest.raises(InputError, match="do not fit 'model"):
        model.factor_losses(EXAMPLES[:1], [0], {"model.layers.0.self_attn.q_proj": wrong}, 1.0)
    with pytest.raises(InputError, match="no linear module 'elsewhere'"):
        model.factor_losses(EXAMPLES[:1], [0], {"elsewhere": wrong}, 1.0)
    with pytest.raises(InputError, match="'z_proj'"):
        model.linear_places(("z_proj",))


def somebody(n, embedder):
    """A person with one taste, told in some of many words; they answer with it."""
    rng, taste = np.random.default_rng((3, n)), n % len(TASTES)
    said = [f"I {rng.choice(['love', 'want', 'take'])} {TASTES[taste]} w{rng.integers(300)}" for _ in range(5)]
    return taste, Known(embedder.embed(said), [Example(QUESTION, TASTES[taste])])


def test_people_whom_it_never_saw_get_adapters_that_give_their_own_answer(model):
    assert isinstance(model, Differentiable)
    embedder = HashEmbedder()
    people = [somebody(n, embedder) for n in range(60)]
    seen, unseen = [one for _, one in people[:40]], people[40:]
    start = new(model, np.stack([vector_of(one.vectors) for one in seen]))
    training = Training(steps=80, rate=3e-3, people=8, examples=1)
    made = fit(model, start, seen, training=training)
    assert made.losses[-1] < 0.5 < made.losses[0]
    answers = [Example(QUESTION, taste) for taste in TASTES]
    right = []
    for taste, one in unseen:
        factors, _ = made.generator.forward(vector_of(one.vectors)[None])
        losses = model.factor_losses(answers, [0] * len(answers), factors, made.generator.scaling)
        right.append(int(losses.argmin()) == taste)
    plain, _ = start.forward(vector_of(unseen[0][1].vectors)[None])
    of_the_model = int(model.factor_losses(answers, [0] * 4, plain, start.scaling).argmin())
    flipped = [right for right, (taste, _) in zip(right, unseen, strict=True) if taste != of_the_model]
    assert len(flipped) >= 10
    assert np.mean(flipped) >= 0.9


def test_held_out_people_keep_the_best_and_the_same_seed_gives_the_same(model):
    embedder = HashEmbedder()
    people = [somebody(n, embedder)[1] for n in range(10)]
    start = new(model, np.stack([vector_of(one.vectors) for one in people]))
    training = Training(steps=12, rate=3e-3, people=4, examples=1, check=4)
    one, two = (fit(model, start, people[:8], people[8:], training) for _ in range(2))
    assert one.held < one.plain
    assert one.losses == two.losses
    assert one.generator.dump() == two.generator.dump()
