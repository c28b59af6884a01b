"""Soft prompts, steering, hidden states and gradients: each beside one row, no padding, no cache."""

from __future__ import annotations

import itertools
import math
import threading
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from idiolect.backends._torch_engine import partition
from idiolect.backends.transformers import TransformersBackend
from idiolect.decoding.mixture import mixture
from idiolect.decoding.steering import Addition, steered, vectors, watched
from idiolect.errors import InputError, UnsupportedCall
from idiolect.types import Branch, Choose, Sampling, Steer
from tiny import CALLS, TEXTS, WORDS, ask, greedy

pytest.importorskip("torch")
HIDDEN = 32


def some(n, *shape, scale=1.0):
    return np.random.default_rng(n).normal(scale=scale, size=shape).astype(np.float32)


SOFT = [some(1, 3, HIDDEN), None, some(2, 5, HIDDEN), some(3, 1, HIDDEN)]
STEER = [
    (Steer(0, some(4, HIDDEN), 8.0),),
    (Steer(1, some(5, HIDDEN), 1.5), Steer(0, some(6, HIDDEN), -1.0), Steer(0, some(7, HIDDEN), 0.5)),
    (),
    (Steer(1, some(8, HIDDEN), 3.0),),
]


def personal(soft=True, steering=True, sampling=None):
    return [
        replace(call, soft_prompt=s if soft else None, steering=t if steering else (), sampling=sampling or greedy(12))
        for call, s, t in zip(CALLS, SOFT, STEER, strict=True)
    ]


def batched(model, rows):
    other = TransformersBackend(model.model, dtype="float32", batch=rows)
    other._engine = model._engine
    return other


@contextmanager
def adding(engine, steering, start):
    """Add the vectors to every position from ``start`` on."""
    handles = []
    for steer in steering:

        def hook(module, inputs, output, steer=steer):
            output = output.clone()
            output[:, start:] += steer.strength * engine.torch.from_numpy(steer.vector)
            return output

        handles.append(engine.model.model.layers[steer.layer].register_forward_hook(hook))
    yield
    for handle in handles:
        handle.remove()


def plain_logits(model, call, ids):
    """The definition, ``[tokens + 1, vocab]``: what follows the prompt and each of the ids."""
    engine = model._engine or model._loaded()
    torch, prompt = engine.torch, engine.prompt(call.messages, call)
    with torch.no_grad():
        embedded = engine.model.model.embed_tokens(torch.tensor([prompt + list(ids)]))
        soft = np.zeros((0, HIDDEN), np.float32) if call.soft_prompt is None else call.soft_prompt
        embedded = torch.cat([torch.from_numpy(soft)[None], embedded], dim=1)
        start = len(soft) + len(prompt)
        with adding(engine, call.steering, start):
            return engine.model(inputs_embeds=embedded).logits[0, start - 1 :].double().numpy()


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def plain_logprobs(model, call, text):
    ids = model._loaded().tokens(text)
    rows = log_softmax(plain_logits(model, call, ids))
    return [rows[n, token] for n, token in enumerate(ids)]


def plain_answer(model, call):
    engine, ids = model._loaded(), []
    for _ in range(call.sampling.max_tokens):
        token = int(np.argmax(plain_logits(model, call, ids)[-1]))
        if token in engine.ends:
            break
        ids.append(token)
    return engine.tokenizer.decode(ids, skip_special_tokens=True)


def test_a_soft_prompt_of_word_embeddings_is_these_words_in_front_of_the_prompt(model):
    engine = model._loaded()
    words = engine.tokens("the cat is on red tea")
    soft = engine.model.model.embed_tokens.weight[words].detach().numpy()
    call = replace(CALLS[1], soft_prompt=soft)
    prompt = words + engine.prompt(call.messages, call)
    ids = engine.tokens(TEXTS[1])
    with engine.torch.no_grad():
        rows = engine.model(engine.torch.tensor([prompt + ids])).logits[0].double().log_softmax(-1)
    expected = sum(float(rows[len(prompt) - 1 + n, token]) for n, token in enumerate(ids))
    assert model.logprobs([call], [TEXTS[1]])[0] == pytest.approx(expected, abs=1e-4)
    answer = model.generate([replace(call, sampling=greedy(1))])[0]
    assert answer.tokens_in == len(prompt)


@pytest.mark.parametrize(("soft", "steering"), [(True, False), (False, True), (True, True)])
def test_answers_are_the_definitions_in_any_batch_and_as_a_stream(model, soft, steering):
    calls = personal(soft, steering)
    expected = [plain_answer(model, call) for call in calls]
    assert [answer.text for answer in model.generate(calls)] == expected
    assert [answer.text for answer in batched(model, 2).generate(calls)] == expected
    assert [model.generate([call])[0].text for call in calls] == expected
    assert ["".join(chunk.text for chunk in model.stream(call)) for call in calls] == expected


def test_soft_prompts_and_steering_change_the_answers(model):
    plain, soft, moved = (
        [answer.text for answer in model.generate(personal(*which))]
        for which in ((False, False), (True, False), (False, True))
    )
    assert [one == two for one, two in zip(soft, plain, strict=True)] == [False, True, False, False]
    assert [one == two for one, two in zip(moved, plain, strict=True)] == [False, False, True, False]


@pytest.mark.parametrize(("soft", "steering"), [(True, False), (False, True), (True, True)])
def test_scores_are_the_definitions_in_any_batch_and_behind_a_shared_prompt(model, soft, steering):
    calls = personal(soft, steering)
    expected = [plain_logprobs(model, call, text) for call, text in zip(calls, TEXTS, strict=True)]
    for found in (model.token_logprobs(calls, TEXTS), batched(model, 2).token_logprobs(calls, TEXTS)):
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-4)
    assert model.logprobs(calls, TEXTS) == pytest.approx([sum(row) for row in expected], abs=1e-4)
    for call in calls:
        together = model.logprobs([call] * 4, TEXTS)
        assert together == pytest.approx([sum(plain_logprobs(model, call, text)) for text in TEXTS], abs=1e-4)
    alone = TransformersBackend(model.model, deterministic=True)
    alone._engine = model._engine
    assert alone.logprobs(calls, TEXTS) == [alone.logprobs([c], [t])[0] for c, t in zip(calls, TEXTS, strict=True)]


def test_the_prompt_is_never_steered(model):
    calls = personal(False, True)
    without = personal(False, False)
    first = [values[0] for values in model.token_logprobs(calls, TEXTS)]
    assert first == [values[0] for values in model.token_logprobs(without, TEXTS)]
    assert model.logprobs(calls[:1], ["cat"]) == model.logprobs(without[:1], ["cat"])


def test_no_strength_is_no_steering_bit_for_bit(model):
    still = [replace(call, steering=(Steer(0, some(9, HIDDEN), 0.0),)) for call in CALLS]
    assert model.logprobs(still, TEXTS) == model.logprobs(CALLS, TEXTS)
    for one, two in zip(model.activations(still, TEXTS, 1), model.activations(CALLS, TEXTS, 1), strict=True):
        assert np.array_equal(one, two)


def hooks(engine):
    return sum(len(layer._forward_hooks) for layer in engine.layers)


def test_hooks_are_gone_afterwards_also_after_an_error(model):
    engine = model._loaded()
    additions = engine.additions(engine.rows(personal()[0]))

    def enter():
        with steered(engine.layers, additions), watched(engine.layers, 1):
            raise ZeroDivisionError(hooks(engine))

    with pytest.raises(ZeroDivisionError, match="2"):
        enter()
    assert hooks(engine) == 0

    def broken(answer, logits):
        raise ZeroDivisionError

    call = replace(personal()[0], logits_processors=(broken,))
    with pytest.raises(ZeroDivisionError):
        model.generate([call])
    left = model.stream(personal()[0])
    next(left)
    assert hooks(engine) == 0


def test_another_threads_passes_are_not_steered(model):
    engine = model._loaded()
    ids = engine.torch.tensor([[4, 5, 6]])

    def run():
        with engine.torch.no_grad():
            found.append(engine.model(ids).logits)

    found = []
    run()
    with steered(engine.layers, {0: Addition(engine.torch.ones(1, 3, HIDDEN))}):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        run()
    assert engine.torch.equal(found[0], found[1])
    assert not engine.torch.allclose(found[0], found[2])


def test_a_layer_that_gives_a_tuple_is_steered_too():
    torch = pytest.importorskip("torch")

    class Layer(torch.nn.Module):
        def forward(self, x):
            return x, "more"

    layers = [Layer()]
    with steered(layers, {0: Addition(torch.ones(1, 1, 2))}), watched(layers, 0) as seen:
        states, more = layers[0](torch.zeros(1, 3, 2))
    assert (states[0, :, 0].tolist(), more) == ([0.0, 0.0, 1.0], "more")
    assert torch.equal(seen[0], states)


def test_vectors_of_one_layer_add_up_and_rows_keep_apart():
    one, two = np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)
    found = vectors([[Steer(1, one, 2.0), Steer(1, two, 3.0)], [], [Steer(1, two, -1.0), Steer(0, one, 0.0)]], 2, 2)
    assert list(found) == [1]
    np.testing.assert_array_equal(found[1], [[2, 3], [0, 0], [0, -1]])


def test_what_does_not_fit_the_model(model):
    for call, words in (
        (replace(CALLS[0], steering=(Steer(2, some(1, HIDDEN)),)), "layers 0 to 1"),
        (replace(CALLS[0], steering=(Steer(0, some(1, 8)),)), "width of 32"),
        (replace(CALLS[0], soft_prompt=some(1, 4, 8)), r"\[tokens, 32\]"),
        (replace(CALLS[0], soft_prompt=some(1, HIDDEN)), r"\[tokens, 32\]"),
        (replace(CALLS[0], soft_prompt=some(1, 62, HIDDEN)), "at most 64"),
    ):
        for work in (
            lambda c=call: model.generate([c]),
            lambda c=call: model.stream(c),
            lambda c=call: model.logprobs([c], ["cat"]),
        ):
            with pytest.raises(InputError, match=words):
                work()
    with pytest.raises(InputError, match="no layer 2"):
        model.activations(CALLS, TEXTS, 2)
    for call in (CALLS[0], replace(personal()[0], mix=(Branch(None, 1.0),))):
        with pytest.raises(InputError, match="with a soft prompt, and without a mixture"):
            model.soft_gradients([call], ["cat"], [1.0])


def test_in_a_mixture_they_belong_to_the_calls_own_prompt(model):
    own, bare = personal()[0], CALLS[1]
    mixed = replace(own, mix=(Branch(bare.messages, -0.5), Branch(None, 1.5)))
    ids = model._loaded().tokens(TEXTS[1])
    base, other = (log_softmax(plain_logits(model, call, ids)) for call in (bare, own))
    rows = log_softmax(base + 1.5 * np.clip(other - base, -10, 10))
    expected = [rows[n, token] for n, token in enumerate(ids)]
    np.testing.assert_allclose(model.token_logprobs([mixed], [TEXTS[1]])[0], expected, atol=1e-4)
    with pytest.raises(UnsupportedCall, match="without the call's own prompt"):
        model.generate([replace(own, mix=(Branch(bare.messages, 1.0),))])


def test_mixtures_of_the_same_prompts_are_read_once(model):
    engine = model._loaded()
    strengths, texts = (-0.5, 0.0, 0.7, 2.0), TEXTS[:3]
    calls = [
        replace(CALLS[0], mix=(Branch(CALLS[1].messages, -s), Branch(None, 1 + s)), plausibility=0.1 * (s == 2))
        for s in strengths
    ]
    passes = []
    handle = engine.model.register_forward_hook(lambda *_: passes.append(1))
    pairs = [(call, text) for call in calls for text in texts]
    found = model.logprobs([call for call, _ in pairs], [text for _, text in pairs])
    one = len(passes)
    few = model.logprobs(calls, [texts[1]] * len(calls))
    handle.remove()
    assert (one, len(passes) - one) == (4, 1)  # two prompts and what follows each; two rows in one pass
    alone = TransformersBackend(model.model, deterministic=True)
    alone._engine = engine
    assert alone.logprobs([call for call, _ in pairs], [text for _, text in pairs]) == found
    expected = []
    for call, text in pairs:
        ids = engine.tokens(text)
        base, other = (log_softmax(plain_logits(model, c, ids)) for c in (CALLS[1], CALLS[0]))
        total = 0.0
        for at, token in enumerate(ids):
            row = mixture(np.stack([base[at], other[at]]), [b.weight for b in call.mix], call.plausibility)
            total += log_softmax(row)[token]
        expected.append(total)
    assert found == pytest.approx(expected, abs=1e-4)
    assert few == pytest.approx([expected[n * 3 + 1] for n in range(4)], abs=1e-4)
    assert -math.inf in found


def test_a_mixture_writes_what_its_logits_say(model):
    calls = [
        replace(own, mix=(Branch(bare.messages, -0.5), Branch(None, 1.5)), plausibility=0.05, sampling=greedy(6))
        for own, bare in zip(personal(), [*CALLS[1:], CALLS[0]], strict=True)
    ]
    for call, bare, answer in zip(calls, [*CALLS[1:], CALLS[0]], model.generate(calls), strict=True):
        ids, engine = [], model._loaded()
        for _ in range(6):
            rows = [log_softmax(plain_logits(model, c, ids))[-1] for c in (bare, replace(call, mix=()))]
            token = int(np.argmax(mixture(np.stack(rows), [-0.5, 1.5], 0.05)))
            if token in engine.ends:
                break
            ids.append(token)
        assert answer.text == engine.tokenizer.decode(ids, skip_special_tokens=True)
    drawn = [replace(call, sampling=Sampling(temperature=0.9, seed=n, max_tokens=5)) for n, call in enumerate(calls)]
    assert model.generate(drawn) == [model.generate([call])[0] for call in drawn]


@pytest.mark.parametrize("layer", [0, 1])
def test_activations_are_a_layers_outputs_at_the_texts_tokens(model, layer):
    engine, calls = model._loaded(), personal(True, False)
    calls = [replace(call, mix=(Branch(CALLS[3].messages, 0.5), Branch(None, 0.5))) for call in calls]
    for backend in (model, batched(model, 2)):
        found = backend.activations([*calls, calls[0]], [*TEXTS, ""], layer)
        assert found[-1].shape == (0, HIDDEN)
        for call, text, states in zip(calls, TEXTS, found, strict=False):
            ids = engine.tokens(text)
            soft = np.zeros((0, HIDDEN), np.float32) if call.soft_prompt is None else call.soft_prompt
            with engine.torch.no_grad():
                words = engine.model.model.embed_tokens(engine.torch.tensor([engine.prompt(call.messages, call) + ids]))
                embedded = engine.torch.cat([engine.torch.from_numpy(soft)[None], words], dim=1)
                out = engine.model(inputs_embeds=embedded, output_hidden_states=True).hidden_states
                if layer == 1:  # transformers gives the last one after the norm
                    states = engine.model.model.norm(engine.torch.from_numpy(states)).numpy()
            np.testing.assert_allclose(states, out[layer + 1][0, -len(ids) :].numpy(), atol=1e-4)


def test_steering_shows_in_activations_at_its_layer(model):
    vector = some(3, HIDDEN)
    plain = model.activations(CALLS, TEXTS, 0)
    moved = model.activations([replace(c, steering=(Steer(0, vector, 2.0),)) for c in CALLS], TEXTS, 0)
    for one, two in zip(plain, moved, strict=True):
        np.testing.assert_allclose(two, one + 2 * vector, atol=1e-5)


def test_what_the_model_looks_like(model):
    weight = model._loaded().model.model.embed_tokens.weight.numpy()
    assert (model.hidden, model.layers) == (HIDDEN, 2)
    assert model.embedding_norm == pytest.approx(np.linalg.norm(weight, axis=1).mean(), rel=1e-5)


def test_gradients_are_those_of_one_row_and_of_finite_differences(model):
    engine = model._loaded()
    torch = engine.torch
    calls = [replace(call, soft_prompt=some(20 + n, 1 + n % 3, HIDDEN)) for n, call in enumerate(personal(False))]
    weights = [1.0, -0.5, 2.0, 0.25]
    before = {name: weight.clone() for name, weight in engine.model.named_parameters()}
    scores, gradients = model.soft_gradients([*calls, calls[0]], [*TEXTS, ""], [*weights, 1.0])
    assert (scores[-1], np.abs(gradients[-1]).max()) == (0.0, 0.0)
    np.testing.assert_allclose(scores[:-1], model.logprobs(calls, TEXTS), atol=1e-4)
    two = batched(model, 2).soft_gradients(calls, TEXTS, weights)
    for n, (call, text, weight) in enumerate(zip(calls, TEXTS, weights, strict=True)):
        np.testing.assert_allclose(two[1][n], gradients[n], atol=1e-4)
        soft = torch.tensor(call.soft_prompt, requires_grad=True)
        prompt, ids = engine.prompt(call.messages, call), engine.tokens(text)
        embedded = torch.cat([soft[None], engine.model.model.embed_tokens(torch.tensor([prompt + ids]))], dim=1)
        start = len(soft) + len(prompt)
        with adding(engine, call.steering, start):
            rows = engine.model(inputs_embeds=embedded).logits[0, start - 1 : -1].double().log_softmax(-1)
        value = rows.gather(1, torch.tensor(ids)[:, None]).sum()
        expected = torch.autograd.grad(weight * value, soft)[0].numpy()
        np.testing.assert_allclose(gradients[n], expected, atol=1e-4)
        assert gradients[n].dtype == np.float32
        at, step = np.unravel_index(np.argmax(np.abs(gradients[n])), gradients[n].shape), 1e-2
        moved = [call.soft_prompt.copy() for _ in range(2)]
        moved[0][at] += step
        moved[1][at] -= step
        up, down = model.logprobs([replace(call, soft_prompt=soft) for soft in moved], [text] * 2)
        assert weight * (up - down) / (2 * step) == pytest.approx(float(gradients[n][at]), rel=0.02)
    for name, parameter in engine.model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


def test_gradients_through_a_bfloat16_model(folder, model):
    rough = TransformersBackend(str(folder), dtype="bfloat16", threads=1)
    calls = [replace(call, soft_prompt=some(30 + n, 2, HIDDEN)) for n, call in enumerate(CALLS)]
    scores, gradients = rough.soft_gradients(calls, TEXTS, [1.0] * 4)
    exact = model.soft_gradients(calls, TEXTS, [1.0] * 4)
    np.testing.assert_allclose(scores, exact[0], atol=1.0)
    for one, two in zip(gradients, exact[1], strict=True):
        assert (one * two).sum() > 0.95 * np.linalg.norm(one) * np.linalg.norm(two)


def test_rows_are_read_in_groups_of_like_lengths():
    assert partition([5], 10) == [[0]]
    assert partition([200, 50, 210, 55], 64) == [[1, 3], [0, 2]]
    assert partition([200, 50, 210, 55], 10_000) == [[1, 3, 0, 2]]
    lengths = [3, 90, 4, 60, 61, 5, 300]
    for overhead in (0, 1, 20, 100, 1000):
        groups = partition(lengths, overhead)
        assert sorted(n for group in groups for n in group) == list(range(7))
        cost = sum(len(g) * max(lengths[n] for n in g) + overhead for g in groups)
        ordered = sorted(lengths)
        cuts = (
            [0, *(n + 1 for n in range(6) if mask >> n & 1), 7]
            for mask in range(64)
        )  # fmt: skip
        assert cost == min(sum((b - a) * ordered[b - 1] + overhead for a, b in itertools.pairwise(c)) for c in cuts)


@pytest.mark.parametrize("overhead", [1, 10_000])
def test_answers_do_not_depend_on_how_prompts_were_grouped_or_how_much_room_was_reserved(model, overhead, monkeypatch):
    engine, calls = model._loaded(), personal()
    monkeypatch.setattr(engine, "overhead", overhead)
    monkeypatch.setattr("idiolect.backends._torch_cache._ROOM", 2)
    assert [answer.text for answer in model.generate(calls)] == [plain_answer(model, call) for call in calls]
    assert model.logprobs(calls, TEXTS) == pytest.approx(
        [sum(plain_logprobs(model, call, text)) for call, text in zip(calls, TEXTS, strict=True)], abs=1e-4
    )


def test_the_best_draft_is_chosen_from_one_batch(model):
    drafts = []

    def longest(texts):
        drafts.append(list(texts))
        return [len(text) for text in texts]

    call = replace(CALLS[1], sampling=Sampling(max_tokens=6, seed=3))
    chosen = replace(call, choose=Choose(4, longest))
    plain, best = model.generate([replace(call, sampling=greedy(6)), chosen])
    assert plain == model.generate([replace(call, sampling=greedy(6))])[0]
    assert best.text == max(drafts[0], key=len)
    assert len(set(drafts[0])) > 1
    among = replace(personal()[0], choose=Choose(1, longest, tuple(personal()[:2])))
    assert model.generate([among])[0].text in [answer.text for answer in model.generate(personal()[:2])]
    (chunk,) = model.stream(chosen)
    assert (chunk.text, chunk.tokens_out) == (best.text, best.tokens_out)


def test_every_next_word_has_its_share(model):
    call = replace(personal()[1], steering=())
    scores = model.logprobs([call] * len(WORDS), WORDS)
    assert sum(map(math.exp, scores)) == pytest.approx(1.0, abs=1e-5)
    assert ask("x") == ask("x")
