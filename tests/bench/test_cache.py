"""The backend that remembers: what is one question, and what is never kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers import HashEmbedder, InsideToy
from idiolect.backends.toy import ScriptedBackend, ToyBackend
from idiolect.bench.cache import Cache, CachedBackend, CachedEmbedder
from idiolect.errors import InputError, MalformedAnswer, StoreError
from idiolect.hashing import prompt_hash
from idiolect.trainable import Example, Job, Recipe
from idiolect.types import Adapter, Body, Branch, Call, Choose, Sampling, Steer

ASK = Call(({"role": "user", "content": "hello"},), sampling=Sampling(max_tokens=4))


def counted(backend=None, cache=None, **more):
    return CachedBackend(backend or ToyBackend(), cache or Cache(None), **more)


def test_the_same_question_is_asked_once():
    inner = ScriptedBackend(lambda call: "hi")
    model = counted(inner)
    assert [c.text for c in model.generate([ASK, ASK])] == ["hi", "hi"]
    model.generate([ASK])
    assert len(inner.calls) <= 2
    assert (model.calls, model.made) == (3, 2)


@pytest.mark.parametrize(
    "other",
    [
        Call(({"role": "user", "content": "hello!"},), sampling=Sampling(max_tokens=4)),
        Call(ASK.messages, sampling=Sampling(max_tokens=5)),
        Call(ASK.messages, sampling=Sampling(max_tokens=4, temperature=1.0)),
        Call(ASK.messages, sampling=ASK.sampling, extra={"tools": []}),
        Call(ASK.messages, sampling=ASK.sampling, adapters=(Adapter("a", 1.0, Body.of(b"weights")),)),
        Call(ASK.messages, sampling=ASK.sampling, mix=(Branch(ASK.messages, 1.0),)),
        Call(ASK.messages, sampling=ASK.sampling, steering=(Steer(1, np.ones(3, np.float32)),)),
        Call(ASK.messages, sampling=ASK.sampling, soft_prompt=np.ones((1, 3), np.float32)),
    ],
)
def test_whatever_reaches_the_model_makes_another_question(other):
    assert prompt_hash(ASK) != prompt_hash(other)


def test_steering_along_a_direction_makes_another_question_than_steering_by_it():
    by, along = (Steer(1, np.ones(3, np.float32), 1.0, form) for form in (False, True))
    asked = prompt_hash(replace(ASK, steering=(by,))), prompt_hash(replace(ASK, steering=(along,)))
    assert asked[0] != asked[1]


def test_the_plausibility_of_a_mixture_makes_another_question():
    mixed = Call(ASK.messages, mix=(Branch(ASK.messages, 1.0),))
    assert prompt_hash(mixed) != prompt_hash(replace(mixed, plausibility=0.1))


def test_what_a_source_of_a_mixture_reads_and_meets_makes_another_question():
    found = {
        prompt_hash(Call(ASK.messages, mix=(branch,)))
        for branch in (
            Branch(None, 1.0), Branch(None, 1.0, "Be brief."), Branch(None, 1.0, adapters=()),
            Branch(None, 1.0, adapters=(Adapter("a", 1.0, Body.of(b"weights")),)),
        )
    }  # fmt: skip
    assert len(found) == 4


def test_the_inside_of_a_backend_can_be_reached():
    model, inner = counted(InsideToy()), InsideToy()
    assert (model.hidden, model.layers, model.embedding_norm) == (inner.hidden, inner.layers, inner.embedding_norm)
    assert model.vocabulary == inner.vocabulary
    np.testing.assert_array_equal(model.embeddings([3, 7]), inner.embeddings([3, 7]))
    soft = Call(ASK.messages, soft_prompt=np.ones((2, inner.hidden), np.float32))
    steered = Call(ASK.messages, steering=(Steer(1, np.ones(inner.hidden, np.float32)),))
    for _ in range(2):  # made, and remembered
        for ours, its in (
            (model.activations([ASK, soft], ["hi", "yo"], 1), inner.activations([ASK, soft], ["hi", "yo"], 1)),
            (model.token_logprobs([ASK, soft], ["hi", ""]), inner.token_logprobs([ASK, soft], ["hi", ""])),
            (model.soft_gradients([soft], ["hi"], [1.0])[1], inner.soft_gradients([soft], ["hi"], [1.0])[1]),
            (model.steer_gradients([steered], ["hi"], [1.0])[1], inner.steer_gradients([steered], ["hi"], [1.0])[1]),
        ):
            for one, two in zip(ours, its, strict=True):
                np.testing.assert_array_equal(one, two)
                assert one.dtype == two.dtype
    assert (model.calls, model.made) == (12, 8)
    assert not np.array_equal(model.activations([ASK], ["hi"], 2)[0], model.activations([ASK], ["hi"], 1)[0])
    assert model.made == 9
    processed = replace(ASK, logits_processors=(lambda answer, logits: logits,))
    model.token_logprobs([processed], ["hi"])
    model.token_logprobs([processed], ["hi"])
    assert model.made == 11


def test_an_impossible_text_is_remembered_as_such():
    model = counted(ScriptedBackend(scores=lambda call, text: -np.inf))
    assert [model.logprobs([ASK], ["x"]) for _ in range(2)] == [[-np.inf]] * 2
    assert model.made == 1


def test_scores_of_two_backends_over_the_same_weights_are_kept_apart():
    cache = Cache(None)
    first = counted(ScriptedBackend(scores=lambda call, text: -1.0), cache, name="a")
    second = counted(ScriptedBackend(scores=lambda call, text: -2.0), cache, name="b")
    assert first.logprobs([ASK], ["x"]) == [-1.0]
    assert second.logprobs([ASK], ["x"]) == [-2.0]
    assert first.logprobs([ASK], ["y"]) == [-1.0]


def test_a_call_with_a_function_in_it_is_never_kept():
    model = counted(ScriptedBackend(lambda call: "hi"))
    chosen = Call(ASK.messages, choose=Choose(2, lambda drafts: [0.0] * len(drafts)))
    model.generate([chosen])
    model.generate([chosen, ASK])
    assert (model.calls, model.made) == (3, 3)
    model.generate([chosen, ASK])
    assert (model.calls, model.made) == (5, 4)


def test_one_prompt_that_is_too_long_does_not_take_the_others_with_it():
    model = counted(ToyBackend(context=60))
    long = Call(({"role": "user", "content": "x" * 100},), sampling=Sampling(max_tokens=4))
    kept = model.answers([ASK, long, ASK])
    assert [k.failure for k in kept] == ["", "too_long", ""]
    assert model.failures == {"too_long": 1}
    with pytest.raises(InputError):
        model.generate([long])


def test_a_malformed_answer_is_counted_and_asked_for_again():
    inner = ScriptedBackend([MalformedAnswer("no JSON"), "hi"])
    model = counted(inner)
    assert [kept.failure for kept in model.answers([ASK])] == ["malformed"]
    assert model.failures == {"malformed": 1}
    assert [kept.failure for kept in model.answers([ASK])] == [""]
    assert model.made == 2


def test_answers_equal_those_of_the_backend_itself():
    calls = [Call(({"role": "user", "content": text},), sampling=Sampling(max_tokens=6)) for text in ("ab", "cd", "ab")]
    model, plain = counted(), ToyBackend()
    assert [c.text for c in model.generate(calls)] == [c.text for c in plain.generate(calls)]
    texts = ["a", "bc", "d"]
    assert model.logprobs(calls, texts) == plain.logprobs(calls, texts)


def test_vectors_are_kept_by_text_and_embedder(tmp_path):
    inner = HashEmbedder()
    cached = CachedEmbedder(inner, Cache(tmp_path / "c.db"))
    first = cached.embed(["a b", "c", "a b"])
    assert np.array_equal(first, inner.embed(["a b", "c", "a b"]))
    calls = inner.calls
    again = CachedEmbedder(inner, Cache(tmp_path / "c.db")).embed(["c", "a b"])
    assert inner.calls == calls
    assert np.array_equal(again, first[[1, 0]])
    assert cached.embed([]).shape == (0, 48)


def test_a_file_that_is_no_cache_says_what_to_do(tmp_path):
    (tmp_path / "c.db").write_text("not a database, " * 100)
    with pytest.raises(StoreError, match="Delete it"):
        Cache(tmp_path / "c.db")


class Training(InsideToy):
    def __post_init__(self):
        super().__post_init__()
        self.trained = []

    def train(self, jobs, recipe, **more):
        for job in jobs:
            self.trained.append(job.key)
            yield from super().train([job], recipe, **more)


def test_an_adapter_is_trained_once_on_the_same_examples():
    cache, recipe, ask = Cache(None), Recipe(), Example(ASK, "saffron")
    first = counted(Training(), cache)
    jobs = [Job("ana", [ask]), Job("bob", [replace(ask, text="brisket")], [ask])]
    made = {one.key: one for one in first.train(jobs, recipe)}
    again = counted(inner := Training(), cache)
    more = [Job("somebody", [ask]), *jobs, Job("cleo", [replace(ask, ends=False)])]
    found = {one.key: one for one in again.train(more, recipe)}
    assert inner.trained == ["cleo"]
    assert found["ana"] == made["ana"]
    assert found["somebody"].body.read() == made["ana"].body.read()
    assert found["bob"] == made["bob"]
    list(again.train(jobs, replace(recipe, rank=2)))
    assert inner.trained == ["cleo", "ana", "bob"]


def test_an_adapter_over_other_rejected_texts_is_another():
    backend = counted(inner := Training(), Cache(None))
    for rejected in ("brisket", "opera", "brisket"):
        list(backend.train([Job("ana", [Example(ASK, "saffron", rejected=rejected)])], Recipe()))
    assert inner.trained == ["ana", "ana"]
