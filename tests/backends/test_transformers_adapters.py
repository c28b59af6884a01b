"""Adapters row by row, beside a model whose own weights were changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adapted import (
    change,
    log_softmax,
    merged,
    modules,
    plain_answer,
    plain_logits,
    plain_logprobs,
    some,
    worn,
    write_gpt2,
)
from idiolect import models
from idiolect.backends.transformers import TransformersBackend
from idiolect.errors import InputError, UnsupportedCall
from idiolect.training.factors import Factors, LowRank
from idiolect.types import Adapter, Body, Branch, Steer
from tiny import CALLS, TEXTS, ask, greedy

pytest.importorskip("torch")
HIDDEN = 32
MANY = [ask(f"{one} {two} likes") for one in ("ana", "bob", "dog", "red") for two in ("the cat", "a", "tea is not")]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    backend = TransformersBackend(str(write_gpt2(tmp_path_factory.mktemp("gpt2"))), dtype="float32", threads=1)
    yield backend
    backend.close()


@pytest.fixture(params=["llama", "gpt2"])
def any_model(request, model):
    return model if request.param == "llama" else request.getfixturevalue("gpt2")


def few(model):
    """The names of some modules of the family, two that read the same among them."""
    return ("q_proj", "v_proj", "down_proj") if modules(model, "q_proj") else ("c_attn", "c_fc")


def sets(model):
    """Adapters of a row: none, one, several; all ranks and sets of modules."""
    every, some_ = modules(model), modules(model, *few(model))
    last = dict(list(every.items())[-3:])
    return [
        (),
        (worn("a", change(1, every, 8)),),
        (worn("b", change(2, some_, 8)),),
        (worn("c", change(3, every, 8)),),
        (worn("d", change(4, some_, 1)), worn("a", change(1, every, 8), 0.5), worn("e", change(5, last, 3), -0.7)),
        (worn("f", change(6, every, [1, 2, 5, 16], bias=True), 1.5),),
        (worn("g", change(7, every, 64, scaling=0.5)),),
        (worn("a", change(1, every, 8)),),
        (worn("h", change(8, last, 33, bias=True)), worn("f", change(6, every, [1, 2, 5, 16], bias=True))),
        (worn("a", change(1, every, 8), 0.0),),
        (worn("i", change(9, every, 8, scaling=-1.0)),),
        (worn("b", change(2, some_, 8)), worn("b", change(2, some_, 8))),
    ]


def adapted(model, sampling=None):
    return [
        replace(call, adapters=adapters, sampling=sampling or greedy(12))
        for call, adapters in zip(MANY, sets(model), strict=True)
    ]


def texts(calls):
    return [TEXTS[n % len(TEXTS)] for n in range(len(calls))]


def other(model, **settings):
    backend = TransformersBackend(model.model, dtype="float32", **settings)
    backend._engine = model._engine
    return backend


def test_scores_of_a_mixed_batch_are_those_of_changed_weights(any_model):
    calls = adapted(any_model)
    expected = [plain_logprobs(any_model, call, text) for call, text in zip(calls, texts(calls), strict=True)]
    bare = any_model.token_logprobs([replace(call, adapters=()) for call in calls], texts(calls))
    for backend in (any_model, other(any_model, batch=5), other(any_model, deterministic=True)):
        for one, two in zip(backend.token_logprobs(calls, texts(calls)), expected, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-4)
    moved = [np.abs(one - two).max() > 1e-2 for one, two in zip(bare, expected, strict=True)]
    assert moved == [bool(sum(abs(one.weight) for one in call.adapters)) for call in calls]


def test_scores_behind_a_shared_prompt(any_model):
    for call in adapted(any_model)[3:7]:
        found = any_model.logprobs([call] * 4, TEXTS)
        assert found == pytest.approx([plain_logprobs(any_model, call, text).sum() for text in TEXTS], abs=1e-4)
    one, two = (replace(CALLS[0], adapters=call.adapters) for call in adapted(any_model)[1:3])
    assert any_model.logprobs([one] * 2, TEXTS[:2]) + any_model.logprobs([two] * 2, TEXTS[:2]) == pytest.approx(
        any_model.logprobs([one, one, two, two], [*TEXTS[:2], *TEXTS[:2]]), abs=1e-4
    )


def test_answers_of_a_mixed_batch_are_those_of_changed_weights(any_model):
    calls = adapted(any_model)
    expected = [plain_answer(any_model, call) for call in calls]
    for rows in (16, 5, 1):
        assert [answer.text for answer in other(any_model, batch=rows).generate(calls)] == expected
    assert ["".join(chunk.text for chunk in any_model.stream(call)) for call in calls] == expected
    assert len(set(expected)) > 6


def written(backend, calls):
    """The logits at every step of every answer, ``[tokens, vocab]`` for each."""
    seen = [[] for _ in calls]

    def watching(n):
        def watch(answer, logits):
            seen[n].append(logits.copy())
            logits[0] = -np.inf  # never end
            return logits

        return watch

    backend.generate([replace(call, logits_processors=(watching(n),)) for n, call in enumerate(calls)])
    return [np.stack(rows) for rows in seen]


def test_logits_at_every_step_while_rows_come_and_go(any_model):
    calls = [replace(call, sampling=greedy(3 + 4 * n % 11)) for n, call in enumerate(adapted(any_model))]
    calls = calls[::2] + calls[1::2]
    alone = [written(any_model, [call])[0] for call in calls]
    for rows in (16, 4):
        for one, two in zip(written(other(any_model, batch=rows), calls), alone, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-4)


def test_rows_with_each_others_adapters_are_seen(any_model, monkeypatch):
    from idiolect.backends import _torch_adapters

    calls = [call for call in adapted(any_model, greedy(5)) if len(call.adapters) == 1][:3]
    alone = [written(any_model, [call])[0] for call in calls]
    right = _torch_adapters.Banks.plan

    def swapped(self, rows):
        return right(self, [rows[1], rows[0], *rows[2:]] if len(rows) > 1 else rows)

    monkeypatch.setattr(_torch_adapters.Banks, "plan", swapped)
    apart = [np.abs(one - two).max() for one, two in zip(written(any_model, calls), alone, strict=True)]
    assert sorted(difference > 1e-2 for difference in apart) == [False, True, True]
    scores = any_model.token_logprobs(calls, texts(calls))
    reading = _torch_adapters.read_plan
    monkeypatch.setattr(_torch_adapters, "read_plan", lambda rows: reading(rows[::-1]))
    mixed_up = other(any_model).token_logprobs(calls, texts(calls))
    assert any(np.abs(one - two).max() > 1e-2 for one, two in zip(scores, mixed_up, strict=True))


def test_a_slot_that_was_not_refilled_is_seen(any_model, monkeypatch):
    from idiolect.backends import _torch_adapters

    every = modules(any_model)
    calls = [
        replace(MANY[n], adapters=(worn(f"s{n}", change(30 + n, every, 8)),), sampling=greedy(2 + 3 * n))
        for n in range(4)
    ]
    alone = [written(any_model, [call])[0] for call in calls]
    right = _torch_adapters.Bank.filled

    def stale(self, wanted):
        self._slots = list(wanted) if self._slots else []
        return right(self, wanted)

    for broken in (False, True):
        if broken:
            monkeypatch.setattr(_torch_adapters.Bank, "filled", stale)
        found = written(any_model, calls)
        apart = max(np.abs(one - two).max() for one, two in zip(found, alone, strict=True))
        assert (apart > 1e-2) == broken


def test_with_soft_prompts_and_steering(any_model):
    calls = [
        replace(
            call,
            soft_prompt=some(n, 2, HIDDEN) if n % 3 else None,
            steering=(Steer(n % 2, some(40 + n, HIDDEN), 2.0),) if n % 2 else (),
        )
        for n, call in enumerate(adapted(any_model))
    ]
    for call, text, found in zip(calls, texts(calls), any_model.token_logprobs(calls, texts(calls)), strict=True):
        np.testing.assert_allclose(found, plain_logprobs(any_model, call, text), atol=1e-4)
    assert [answer.text for answer in any_model.generate(calls)] == [plain_answer(any_model, call) for call in calls]


def test_in_a_mixture_they_belong_to_the_calls_own_prompt(any_model):
    calls = [
        replace(call, mix=(Branch(bare.messages, -0.5), Branch(None, 1.5)))
        for call, bare in zip(adapted(any_model), reversed(MANY), strict=True)
    ]
    for call, bare, text, found in zip(
        calls, reversed(MANY), texts(calls), any_model.token_logprobs(calls, texts(calls)), strict=True
    ):
        ids = any_model._loaded().tokens(text)
        base, own = (log_softmax(plain_logits(any_model, one, ids)) for one in (bare, replace(call, mix=())))
        rows = log_softmax(base + 1.5 * np.clip(own - base, -10, 10))
        np.testing.assert_allclose(found, [rows[n, token] for n, token in enumerate(ids)], atol=1e-4)
    assert any_model.generate(calls) == [any_model.generate([call])[0] for call in calls]
    with pytest.raises(UnsupportedCall, match="without the call's own prompt"):
        any_model.generate([replace(calls[1], mix=(Branch(MANY[0].messages, 1.0),))])


def test_sources_of_a_mixture_may_meet_adapters_of_their_own(any_model):
    """Each source's logits are those of the merged model read alone; instructions stand in its system message."""
    worn_by = [call.adapters for call in adapted(any_model)]
    calls = [
        replace(
            call,
            mix=(
                Branch(None, -0.75), Branch(None, 0.5, "red", other), Branch(None, 0.75, adapters=()),
                Branch(MANY[n].messages, 0.5, adapters=other),
            ),
        )
        for n, (call, other) in enumerate(zip(adapted(any_model), reversed(worn_by), strict=True))
    ]  # fmt: skip
    found = any_model.token_logprobs(calls, texts(calls))
    for n, (call, text) in enumerate(zip(calls, texts(calls), strict=True)):
        ids = any_model._loaded().tokens(text)
        plain, other = replace(call, mix=()), call.mix[1].adapters
        told = ({"role": "system", "content": "red"}, *call.messages)
        alone = [
            plain, replace(plain, messages=told, adapters=other), replace(plain, adapters=()),
            replace(plain, messages=MANY[n].messages, adapters=other),
        ]  # fmt: skip
        rows = [log_softmax(plain_logits(any_model, one, ids)) for one in alone]
        mixed = rows[0] + sum(
            branch.weight * np.clip(row - rows[0], -10, 10) for branch, row in zip(call.mix[1:], rows[1:], strict=True)
        )
        expected = log_softmax(mixed)
        np.testing.assert_allclose(found[n], [expected[at, token] for at, token in enumerate(ids)], atol=1e-4)
        np.testing.assert_allclose(any_model.token_logprobs([call], [text])[0], found[n], atol=1e-5)
    assert any_model.generate(calls) == [any_model.generate([call])[0] for call in calls]
    one = replace(calls[1], adapters=(), mix=(Branch(None, 1.0, adapters=worn_by[1]),))
    same = replace(calls[1], mix=(), adapters=worn_by[1])
    np.testing.assert_allclose(*any_model.token_logprobs([one, same], [texts(calls)[1]] * 2), atol=1e-5)
    twice = replace(one, mix=(Branch(None, 0.4, adapters=worn_by[1]), Branch(None, 0.6, adapters=worn_by[1])))
    np.testing.assert_allclose(*any_model.token_logprobs([twice, same], [texts(calls)[1]] * 2), atol=1e-5)


def test_activations_and_gradients_meet_them_too(any_model):
    calls = [replace(call, soft_prompt=some(n, 2, HIDDEN)) for n, call in enumerate(adapted(any_model))]
    engine = any_model._loaded()
    weights = list(np.linspace(-1, 1, len(calls)))
    scores, gradients = any_model.soft_gradients(calls, texts(calls), weights)
    together = any_model.activations(calls, texts(calls), 0)
    for n, (call, text) in enumerate(zip(calls, texts(calls), strict=True)):
        np.testing.assert_allclose(scores[n], plain_logprobs(any_model, call, text).sum(), atol=1e-3)
        plain = replace(call, adapters=())
        with merged(engine, call):
            one_score, one = any_model.soft_gradients([plain], [text], [weights[n]])
            states = any_model.activations([plain], [text], 0)[0]
        np.testing.assert_allclose(gradients[n], one[0], atol=1e-3)
        np.testing.assert_allclose(together[n], states, atol=1e-4)
        assert one_score[0] == pytest.approx(float(scores[n]), abs=1e-3)


def test_modules_that_read_the_same_share_a_product(model, gpt2):
    names = [[site.last_name for site in group] for group in model._loaded().adapters.sites]
    assert names == 2 * [["q_proj", "k_proj", "v_proj"], ["o_proj"], ["gate_proj", "up_proj"], ["down_proj"]]
    names = [[site.last_name for site in group] for group in gpt2._loaded().adapters.sites]
    assert names == 2 * [["c_attn"], ["c_proj"], ["c_fc"], ["c_proj"]]


def test_adapters_are_paged(folder, model):
    small = TransformersBackend(str(folder), dtype="float32", threads=1)
    engine = small._loaded()
    calls = [replace(MANY[n], adapters=(worn(f"p{n}", change(50 + n, modules(small), 8)),)) for n in range(10)]
    engine.adapters.weights(calls[0].adapters)
    engine.adapters._limit = int(2.5 * engine.adapters.weights(calls[0].adapters).size)
    expected = model.logprobs(calls, texts(calls))
    engine.adapters.loads = 0
    found = [small.logprobs([call], [text])[0] for call, text in zip(calls, texts(calls), strict=True)]
    assert (engine.adapters.loads, len(engine.adapters._held)) == (9, 2)  # the first one was there
    assert found == pytest.approx(expected, abs=1e-4)
    small.logprobs(calls[8:], TEXTS[:2])
    assert engine.adapters.loads == 9
    small.logprobs(calls[:1], TEXTS[:1])
    small.logprobs(calls[9:], TEXTS[:1])
    assert engine.adapters.loads == 10  # the eighth was older than the ninth
    assert small.logprobs(calls, texts(calls)) == pytest.approx(expected, abs=1e-4)  # more in a batch than in memory
    small.forget(["p9", "nobody's"])
    count = engine.adapters.loads
    small.logprobs(calls[9:], TEXTS[:1])
    assert engine.adapters.loads == count + 1
    small.close()
    small.forget(["p9"])


def test_a_slot_keeps_what_is_in_it_and_shared_adapters_are_not_copied(model):
    from idiolect.backends._torch_adapters import Banks

    pool, every = model._loaded().adapters, modules(model)
    a, b, c = (pool.weights((worn(f"k{n}", change(60 + n, every)),)) for n in range(3))
    banks = Banks()
    (part,) = banks.parts([None, a, a, None])
    assert part.flat is a.flat
    assert part.rows == slice(1, 3)
    (part,) = banks.parts([a, b, c])
    assert part.rows is None
    held = part.flat
    held[1] = 7.0  # a mark in the slot of b
    (part,) = banks.parts([c, b])
    assert part.flat.data_ptr() == held.data_ptr()
    assert (part.flat[1] == 7.0).all()
    assert (part.flat[0] == c.flat).all()
    (part,) = banks.parts([c, None, b])
    assert part.rows.tolist() == [0, 2]
    assert not banks.parts([None, None])
    (part,) = banks.parts([b, c])
    assert (part.flat[0] == b.flat).all()


def test_sums_are_forgotten_with_their_parts(model):
    pool, every = model._loaded().adapters, modules(model)
    both = (worn("x1", change(1, every)), worn("x2", change(2, every)))
    kept = pool.weights(both)
    pool.forget(["elsewhere"])
    assert pool.weights(both) is kept
    pool.forget(["x2"])
    assert not [key for key in pool._held if "x2" in dict(key)]
    again = pool.weights(both)
    assert again is not kept
    np.testing.assert_array_equal(again.flat.numpy(), kept.flat.numpy())


def test_what_is_not_for_this_model(model):
    every = modules(model)
    name, site = next(iter(every.items()))
    wrong = LowRank({name: Factors(some(1, 4, site.inputs + 1), some(2, site.outputs, 4))}, 1.0)
    biased = LowRank({name: Factors(some(1, 4, site.inputs), some(2, site.outputs, 4), some(3, 5))}, 1.0)
    elsewhere = LowRank({"model.layers.7.self_attn.q_proj": wrong.modules[name]}, 1.0)
    head = LowRank({"lm_head": Factors(some(1, 4, HIDDEN), some(2, 25, 4))}, 1.0)
    cases = {
        "not of .*@": change(1, every, base_model="another@0123456789ab"),
        r"shape \[32, 33\]; the model's is \[32, 32\]": wrong,
        r"a bias of shape \[5\]": biased,
        r"'model.layers.7.self_attn.q_proj', which is no linear module": elsewhere,
        "'lm_head'": head,
    }
    for words, low in cases.items():
        call = replace(CALLS[0], adapters=(worn(f"w{words}", low),), soft_prompt=some(1, 2, HIDDEN))
        for work in (
            lambda c=call: model.generate([CALLS[1], c]),
            lambda c=call: model.stream(c),
            lambda c=call: model.logprobs([c], ["cat"]),
            lambda c=call: model.activations([c], ["cat"], 0),
            lambda c=call: model.soft_gradients([c], ["cat"], [1.0]),
        ):
            with pytest.raises(InputError, match=words):
                work()
    with pytest.raises(InputError, match="no adapter in safetensors form"):
        model.generate([replace(CALLS[0], adapters=(Adapter("junk", 1.0, Body.of(b"weights")),))])
    fits = worn("fits", change(1, every, base_model=models.fingerprint(model.model)))
    assert model.logprobs([replace(CALLS[0], adapters=(fits,))], ["cat"])[0] < 0


def test_hooks_are_gone_afterwards(model):
    engine = model._loaded()
    calls = adapted(model)
    model.generate(calls)
    left = model.stream(calls[1])
    next(left)
    left.close()
    model.logprobs(calls, texts(calls))
    assert not any(site.module._forward_hooks or site.module._forward_pre_hooks for site in modules(model).values())
    assert not any(layer._forward_hooks for layer in engine.layers)


def test_another_threads_passes_are_not_changed(model):
    import threading

    engine, call = model._loaded(), adapted(model)[1]
    ids, found = engine.torch.tensor([[4, 5, 6]]), []

    def run():
        with engine.torch.no_grad():
            found.append(engine.model(ids).logits)

    run()
    with engine.changed(engine.rows(call)):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        run()
    assert engine.torch.equal(found[0], found[1])
    assert not engine.torch.allclose(found[0], found[2])


def test_no_adapter_costs_no_hook_and_changes_no_bit(model):
    none = [replace(call, adapters=(worn("a", change(1, modules(model)), 0.0),)) for call in CALLS]
    assert model.logprobs(none, TEXTS) == model.logprobs(CALLS, TEXTS)
