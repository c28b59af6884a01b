"""A second, smaller model as a source of the mixture: what both say, mixed by hand, alone and in one running batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adapted import change, log_softmax, modules, plain_logits, worn, write_gpt2
from idiolect.backends.transformers import TransformersBackend
from idiolect.bench.cache import Cache, CachedBackend
from idiolect.errors import ConfigError, InputError, UnsupportedCall
from idiolect.types import Branch
from tiny import CALLS, TEXTS, WORDS, ask, greedy, write_model

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return str(write_model(folder / "large")), str(write_gpt2(folder / "small"))


def backend(folders, **more):
    large, small = folders
    return TransformersBackend(large, dtype="float32", threads=1, proxy=small, **more)


@pytest.fixture(scope="module")
def paired(folders):
    return backend(folders)


def proxied(call, weight=1.5, **own):
    """The large model, moved by what the small one says of a hint less what it says without it."""
    hint = ask(f"{call.messages[-1]['content']} and tea").messages
    small = Branch(hint, weight, proxy=True, **own), Branch(call.messages, -weight, proxy=True)
    return replace(call, mix=(Branch(None, 1.0), *small))


def by_hand(paired, call, ids=()):
    """The mixture of what each source's own model says, ``[tokens + 1, vocab]``."""
    rows = []
    for branch in call.mix:
        model = paired.proxy_model if branch.proxy else paired
        own = replace(call, mix=(), adapters=branch.adapters or (), messages=branch.messages or call.messages)
        own = replace(own, soft_prompt=None) if branch.proxy else own
        rows.append(log_softmax(plain_logits(model, own, ids)))
    moved = (
        branch.weight * np.clip(row - rows[0], -10, 10) for branch, row in zip(call.mix[1:], rows[1:], strict=True)
    )
    return log_softmax(sum(branch.weight for branch in call.mix) * rows[0] + sum(moved))


def scores_by_hand(paired, call, text):
    ids = paired._loaded().tokens(text)
    return by_hand(paired, call, ids[:-1])[np.arange(len(ids)), ids]


@pytest.mark.parametrize("deterministic", [False, True])
def test_scores_are_the_mixture_of_what_the_two_models_say(folders, deterministic):
    model = backend(folders, deterministic=deterministic)
    calls = [proxied(call) for call in CALLS for _ in TEXTS]
    texts = TEXTS * len(CALLS)
    for found, call, text in zip(model.token_logprobs(calls, texts), calls, texts, strict=True):
        np.testing.assert_allclose(found, scores_by_hand(model, call, text), atol=1e-4)
    plain = model.logprobs(CALLS, TEXTS)
    assert np.abs(np.array(model.logprobs(list(map(proxied, CALLS)), TEXTS)) - plain).min() > 0.1


def first_of(paired, call):
    return by_hand(paired, call if call.mix else replace(call, mix=(Branch(None, 1.0),)))[0]


def test_answers_follow_the_mixture_alone_and_in_a_running_batch(paired, folders):
    plain = [replace(call, sampling=greedy(5)) for call in CALLS]
    calls = [*(replace(proxied(call), sampling=greedy(3 + n)) for n, call in enumerate(CALLS)), *plain]
    together = [one.text for one in paired.generate(calls)]
    alone = backend(folders, batch=1)
    assert together == [alone.generate([call])[0].text for call in calls]
    for call, text in zip(calls, together, strict=True):
        said = text.split()
        if said:
            assert said[0] == WORDS[int(first_of(paired, call).argmax())]
    assert together[: len(CALLS)] != [one.text for one in paired.generate(plain)]


def test_answers_of_unlike_length_leave_both_models_rows_where_they_belong(folders):
    model = backend(folders, batch=6)
    calls = [replace(proxied(CALLS[n % 4]), sampling=greedy(1 + 5 * (n % 3))) for n in range(9)]
    calls += [replace(CALLS[n % 4], sampling=greedy(2 + n)) for n in range(4)]
    together = model.generate(calls)
    assert [one.text for one in together] == [model.generate([call])[0].text for call in calls]


def test_an_adapter_of_the_small_model_changes_that_alone(paired):
    small = paired.proxy_model
    adapter = worn("one", change(3, modules(small), base_model=small.fingerprint))
    call = proxied(CALLS[0], adapters=(adapter,))
    for text in TEXTS:
        expected = scores_by_hand(paired, call, text)
        np.testing.assert_allclose(paired.token_logprobs([call], [text])[0], expected, atol=1e-4)
        assert np.abs(expected - scores_by_hand(paired, proxied(CALLS[0]), text)).max() > 1e-2
    grown = paired.generate([replace(call, sampling=greedy(4)), replace(proxied(CALLS[0]), sampling=greedy(4))])
    assert grown[0].text == paired.generate([replace(call, sampling=greedy(4))])[0].text
    paired.forget(["one"])


def test_what_belongs_to_the_large_model_does_not_reach_the_small_one(paired):
    soft = paired.embeddings([5, 6])
    call = replace(proxied(CALLS[0]), soft_prompt=soft)
    for text in TEXTS:
        np.testing.assert_allclose(
            paired.token_logprobs([call], [text])[0], scores_by_hand(paired, call, text), atol=1e-4
        )


def test_a_backend_without_one_and_a_model_with_other_tokens_are_refused(folders, tmp_path):
    without = TransformersBackend(folders[0], dtype="float32", threads=1)
    with pytest.raises(UnsupportedCall, match="proxy"):
        without.generate([proxied(CALLS[0])])
    with pytest.raises(ConfigError, match=r"backends\.transformers\.proxy"):
        without.proxy_model  # noqa: B018
    other = write_model(tmp_path / "other")
    vocabulary = other / "tokenizer.json"
    vocabulary.write_text(vocabulary.read_text().replace('"cat"', '"cow"'))
    with pytest.raises(ConfigError, match="other tokens"):
        backend((folders[0], str(other))).generate([ask("the cat")])


def test_what_is_too_long_for_the_small_model_is_refused(paired):
    long = tuple(ask(" ".join(["red"] * 70)).messages)
    with pytest.raises(InputError, match="at most"):
        paired.generate([replace(CALLS[0], mix=(Branch(None, 1.0), Branch(long, 0.5, proxy=True)))])


def test_the_bench_keeps_what_the_small_model_says_apart(paired):
    kept = CachedBackend(paired, Cache(None), "paired")
    call = proxied(CALLS[0])
    large = replace(call, mix=tuple(replace(branch, proxy=False) for branch in call.mix))
    assert kept.logprobs([call, large], ["cat", "cat"]) == pytest.approx(paired.logprobs([call, large], ["cat"] * 2))
    assert kept.logprobs([call], ["cat"])[0] != pytest.approx(kept.logprobs([large], ["cat"])[0], abs=1e-3)
    assert kept.proxy_model.logprobs([CALLS[0]], ["cat"]) == paired.proxy_model.logprobs([CALLS[0]], ["cat"])
    assert kept.proxy_model.fingerprint != kept.fingerprint
