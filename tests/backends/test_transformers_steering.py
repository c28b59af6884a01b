"""Gradients by steering vectors, and states stretched along them: each beside one row, no padding, no cache."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from idiolect.backends.transformers import TransformersBackend
from idiolect.decoding.steering import Addition, directions, vectors
from idiolect.errors import InputError
from idiolect.types import Branch, Steer
from tiny import CALLS, TEXTS, greedy, write_model

torch = pytest.importorskip("torch")
HIDDEN = 32


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    backend = TransformersBackend(str(write_model(tmp_path_factory.mktemp("tiny"))), dtype="float32", threads=1)
    yield backend
    backend.close()


def some(n, scale=1.0):
    return np.random.default_rng(n).normal(scale=scale, size=HIDDEN).astype(np.float32)


def unit(n):
    return some(n) / np.linalg.norm(some(n))


STEERING = [
    (Steer(0, unit(1), 3.0, along=True),),
    (Steer(1, unit(2), -1.0, along=True), Steer(1, some(3), 0.7), Steer(1, unit(4), 2.0, along=True)),
    (),
    (Steer(0, some(5), 1.5), Steer(1, unit(6), 4.0, along=True)),
]


@contextmanager
def hooked(engine, steering, start):
    """From position ``start`` on, add what each vector says of the layer's own output."""
    handles = []
    for layer in {steer.layer for steer in steering}:

        def hook(module, inputs, output, layer=layer):
            changed = output.clone()
            for steer in (steer for steer in steering if steer.layer == layer):
                vector = torch.from_numpy(steer.vector)
                for at in range(start, output.shape[1]):
                    share = output[0, at] @ vector if steer.along else 1.0
                    changed[0, at] += steer.strength * share * vector
            return changed

        handles.append(engine.model.model.layers[layer].register_forward_hook(hook))
    yield
    for handle in handles:
        handle.remove()


def plain_logits(model, call, ids):
    """The definition, ``[tokens + 1, vocab]``: what follows the prompt and each of the ids."""
    engine = model._loaded()
    prompt = engine.prompt(call.messages, call)
    with torch.no_grad(), hooked(engine, call.steering, len(prompt)):
        return engine.model(torch.tensor([prompt + list(ids)])).logits[0, len(prompt) - 1 :].double()


def plain_logprobs(model, call, text):
    ids = model._loaded().tokens(text)
    rows = plain_logits(model, call, ids)[:-1].log_softmax(-1)
    return rows.gather(1, torch.tensor(ids)[:, None])[:, 0].numpy()


def plain_answer(model, call):
    engine, ids = model._loaded(), []
    for _ in range(call.sampling.max_tokens):
        token = int(plain_logits(model, call, ids)[-1].argmax())
        if token in engine.ends:
            break
        ids.append(token)
    return engine.tokenizer.decode(ids, skip_special_tokens=True)


def batched(model, rows):
    other = TransformersBackend(model.model, dtype="float32", batch=rows)
    other._engine = model._engine
    return other


def stretched():
    return [replace(c, steering=s, sampling=greedy(12)) for c, s in zip(CALLS, STEERING, strict=True)]


def test_scores_along_directions_are_the_definitions_in_any_batch_and_behind_a_shared_prompt(model):
    calls = stretched()
    expected = [plain_logprobs(model, call, text) for call, text in zip(calls, TEXTS, strict=True)]
    alone = [model.token_logprobs([c], [t])[0] for c, t in zip(calls, TEXTS, strict=True)]
    for found in (model.token_logprobs(calls, TEXTS), batched(model, 2).token_logprobs(calls, TEXTS), alone):
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-4)
    for call in calls:
        expected = [plain_logprobs(model, call, text).sum() for text in TEXTS]
        assert model.logprobs([call] * 4, TEXTS) == pytest.approx(expected, abs=1e-4)
    bare = model.logprobs(CALLS, TEXTS)
    assert [abs(a - b) > 1e-3 for a, b in zip(model.logprobs(calls, TEXTS), bare, strict=True)] == [1, 1, 0, 1]


def test_answers_along_directions_are_the_definitions_in_any_batch_and_as_a_stream(model):
    calls = stretched()
    expected = [plain_answer(model, call) for call in calls]
    assert [answer.text for answer in model.generate(calls)] == expected
    assert [answer.text for answer in batched(model, 2).generate(calls)] == expected
    assert ["".join(chunk.text for chunk in model.stream(call)) for call in calls] == expected
    assert expected != [answer.text for answer in model.generate([replace(call, steering=()) for call in calls])]


def test_a_strength_of_minus_one_takes_the_direction_out_of_the_states(model):
    call = replace(CALLS[1], steering=(Steer(1, unit(7), -1.0, along=True),))
    (states,), (plain,) = model.activations([call], [TEXTS[1]], 1), model.activations([CALLS[1]], [TEXTS[1]], 1)
    assert np.abs(plain @ unit(7)).max() > 0.1
    np.testing.assert_allclose(states @ unit(7), 0, atol=1e-5)
    np.testing.assert_allclose(states, plain - np.outer(plain @ unit(7), unit(7)), atol=1e-5)


def test_the_two_forms_of_steering_are_two_questions(model):
    constant = Steer(0, unit(8), 3.0)
    rows = [
        model._loaded().rows(replace(CALLS[0], steering=(s,)))[0] for s in (constant, replace(constant, along=True))
    ]
    assert rows[0].key != rows[1].key
    assert constant != replace(constant, along=True)


def test_no_strength_along_a_direction_is_no_steering_bit_for_bit(model):
    still = [replace(call, steering=(Steer(0, unit(9), 0.0, along=True),)) for call in CALLS]
    assert model.logprobs(still, TEXTS) == model.logprobs(CALLS, TEXTS)


def test_directions_of_one_layer_stand_beside_each_other_and_rows_keep_apart():
    one, two = np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)
    rows = [[Steer(1, one, 2.0, True), Steer(1, two, 3.0)], [], [Steer(1, two, -1.0, True), Steer(1, one, 0.5, True)]]
    found = directions(rows, 2, 2)
    assert list(found) == [1]
    np.testing.assert_array_equal(found[1][0], [[[1, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 1], [1, 0]]])
    np.testing.assert_array_equal(found[1][1], [[2, 0], [0, 0], [-1, 0.5]])
    np.testing.assert_array_equal(vectors(rows, 2, 2)[1], [[0, 3], [0, 0], [0, 0]])
    for wrong in (Steer(2, one, 1.0, True), Steer(0, np.ones(3, np.float32), 1.0, True)):
        with pytest.raises(InputError):
            directions([[wrong]], 2, 2)


def test_what_rows_get_can_be_cut_to_some_of_them():
    states = torch.arange(12.0).reshape(3, 1, 4)
    whole = Addition(torch.ones(3, 1, 4), torch.eye(4)[None, :1].repeat(3, 1, 1), torch.tensor([[[1.0]], [[2]], [[3]]]))
    some = torch.tensor([2, 0])
    assert torch.equal(whole.of(some).to(states[some]), whole.to(states)[some])
    assert whole.to(states)[1, 0].tolist() == [4 + 1 + 2 * 4, 6, 7, 8]


def gradient_calls():
    steering = [Steer(n % 2, some(20 + n, 0.5), (1.0, -1.0, 2.0, -0.5)[n]) for n in range(4)]
    return [replace(call, steering=(steer,)) for call, steer in zip(CALLS, steering, strict=True)]


def moved(call, by):
    (steer,) = call.steering
    return replace(call, steering=(replace(steer, vector=steer.vector + by),))


def test_gradients_by_the_vector_are_those_of_differences_and_of_one_row(model):
    calls, weights = gradient_calls(), [1.0, -0.5, 2.0, 0.25]
    scores, gradients = model.steer_gradients(calls, TEXTS, weights)
    np.testing.assert_allclose(scores, model.logprobs(calls, TEXTS), atol=1e-4)
    small = batched(model, 2).steer_gradients(calls, TEXTS, weights)
    for n, (call, text, weight) in enumerate(zip(calls, TEXTS, weights, strict=True)):
        one_score, one = model.steer_gradients([call], [text], [weight])
        assert one_score[0] == pytest.approx(scores[n], abs=1e-4)
        np.testing.assert_allclose(gradients[n], one[0], atol=1e-5)
        np.testing.assert_allclose(gradients[n], small[1][n], atol=1e-5)
        assert (gradients[n].shape, gradients[n].dtype) == ((HIDDEN,), np.float32)
        for at in range(0, HIDDEN, 5):
            step = 1e-2 * np.eye(HIDDEN, dtype=np.float32)[at]
            up, down = (float(plain_logprobs(model, moved(call, by), text).sum()) for by in (step, -step))
            assert weight * (up - down) / 2e-2 == pytest.approx(float(gradients[n][at]), abs=2e-3, rel=0.02)
    assert [bool(gradient.any()) for gradient in gradients] == [True, True, False, True]  # "cat" is one token


def test_gradients_at_no_vector_and_without_strength(model):
    zero = [replace(call, steering=(replace(call.steering[0], vector=0 * some(1)),)) for call in gradient_calls()]
    scores, gradients = model.steer_gradients(zero, TEXTS, [1.0] * 4)
    np.testing.assert_allclose(scores, model.logprobs(CALLS, TEXTS), atol=1e-4)
    assert [bool(gradient.any()) for gradient in gradients] == [True, True, False, True]
    off = [replace(call, steering=(replace(call.steering[0], strength=0.0),)) for call in gradient_calls()]
    assert not any(gradient.any() for gradient in model.steer_gradients(off, TEXTS, [1.0] * 4)[1])
    scores, gradients = model.steer_gradients(zero[:2], ["cat", ""], [1.0, 1.0])
    assert scores == pytest.approx(model.logprobs(CALLS[:2], ["cat", ""]), abs=1e-4)
    assert not any(gradient.any() for gradient in gradients)


def test_gradients_leave_the_model_as_it_was(model):
    engine = model._loaded()
    before = {name: weight.clone() for name, weight in engine.model.named_parameters()}
    model.steer_gradients(gradient_calls(), TEXTS, [1.0] * 4)
    assert all(torch.equal(weight, before[name]) for name, weight in engine.model.named_parameters())
    assert all(weight.grad is None for weight in engine.model.parameters())
    assert sum(len(layer._forward_hooks) for layer in engine.layers) == 0


def test_gradients_through_soft_prompts_beside_the_vector(model):
    soft = np.random.default_rng(0).normal(size=(2, HIDDEN)).astype(np.float32)
    call = replace(gradient_calls()[1], soft_prompt=soft)
    _, (gradient,) = model.steer_gradients([call], [TEXTS[1]], [1.0])
    step = 1e-2 * gradient / np.linalg.norm(gradient)
    up, down = model.logprobs([moved(call, step), moved(call, -step)], [TEXTS[1]] * 2)
    assert (up - down) / 2e-2 == pytest.approx(float(np.linalg.norm(gradient)), rel=0.02)


def test_gradients_of_what_is_not_one_added_vector_are_refused(model):
    call = gradient_calls()[0]
    for wrong in (
        CALLS[0],
        replace(call, steering=call.steering * 2),
        replace(call, steering=(replace(call.steering[0], along=True),)),
        replace(call, mix=(Branch(None, 1.0),)),
    ):
        with pytest.raises(InputError, match="one steering vector that is added"):
            model.steer_gradients([wrong], ["is here"], [1.0])
    with pytest.raises(InputError, match="layers 0 to 1"):
        model.steer_gradients([replace(call, steering=(Steer(5, some(1)),))], ["is here"], [1.0])
