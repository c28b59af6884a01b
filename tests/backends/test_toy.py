from dataclasses import replace

import numpy as np
import pytest

from idiolect.backends._generation import log_softmax
from idiolect.backends.toy import END, ScriptedBackend, ToyBackend
from idiolect.errors import InputError, ModelError, UnsupportedCall
from idiolect.types import Backend, Branch, Call, Completion, Sampling, Steer


def ask(text: str, **fields) -> Call:
    return Call(({"role": "user", "content": text},), **fields)


@pytest.fixture
def toy():
    return ToyBackend()


def test_it_is_a_backend(toy):
    assert isinstance(toy, Backend)
    assert isinstance(ScriptedBackend(), Backend)
    assert toy.supports == {"logprobs", "mix", "logits_processors", "choose", "proxy"}


def test_what_stands_in_the_prompt_becomes_more_likely(toy):
    with_it, without = toy.logprobs([ask("I like peanut butter."), ask("I like tea.")], ["peanut", "peanut"])
    assert with_it > without + 5


def test_a_batch_gives_what_single_calls_give(toy):
    calls = [ask(text, sampling=Sampling(temperature=1.0, seed=7)) for text in ("I like tea.", "Elvis sings", "")]
    assert toy.generate(calls) == [toy.generate([call])[0] for call in calls]
    texts = ["tea", "sings on", "x"]
    one_by_one = [toy.logprobs([call], [text])[0] for call, text in zip(calls, texts, strict=True)]
    assert toy.logprobs(calls, texts) == one_by_one


def test_a_stream_joins_to_the_answer_and_ends_with_the_counts(toy):
    call = ask("naïve café, naïve café", sampling=Sampling(max_tokens=20))
    chunks = list(toy.stream(call))
    whole = toy.generate([call])[0]
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert (chunks[-1].tokens_in, chunks[-1].tokens_out) == (whole.tokens_in, whole.tokens_out)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_stop_texts_are_cut_out_of_answer_and_stream(toy, cut):
    call = ask("I like peanut butter. I like peanut butter.")
    text = toy.generate([call])[0].text
    stop = text[4 : 4 + cut]
    stopped = replace(call, sampling=Sampling(stop=("\0never", stop)))
    answer = toy.generate([stopped])[0]
    assert (answer.text, answer.finish_reason) == (text[: text.index(stop)], "stop")
    assert "".join(chunk.text for chunk in toy.stream(stopped)) == answer.text


def test_a_mixture_is_the_weighted_sum_of_its_branches_log_probabilities(toy):
    one, two = ask("I like tea."), ask("I like peanuts.")
    mixed = replace(one, mix=(Branch(None, 1.5), Branch(two.messages, -0.5)))
    base, other = log_softmax(toy.logits(one, b"te")), log_softmax(toy.logits(two, b"te"))
    expected = base - 0.5 * np.clip(other - base, -10, 10)
    np.testing.assert_allclose(toy.logits(mixed, b"te"), expected, rtol=1e-5)


def test_processors_see_the_answer_so_far_and_may_forbid(toy):
    seen = []

    def forbid_e(answer, logits):
        seen.append(len(answer))
        logits = logits.copy()
        logits[ord("e")] = -np.inf
        return logits

    answer = toy.generate([ask("eeee eeee eeee", logits_processors=(forbid_e,), sampling=Sampling(max_tokens=6))])[0]
    assert "e" not in answer.text
    assert seen == list(range(len(seen)))


def test_probabilities_sum_to_one(toy):
    call = ask("abc")
    total = sum(np.exp(toy.logprobs([call], [chr(byte)])[0]) for byte in range(128))
    assert 0.8 < total <= 1.0 + 1e-6


def test_sampling_follows_the_seed(toy):
    texts = {toy.generate([ask("hello", sampling=Sampling(temperature=1.0, seed=s))])[0].text for s in (1, 1, 2, 3)}
    assert len(texts) == 3


def test_what_it_cannot_do_is_refused(toy):
    steered = ask("x", steering=(Steer(0, np.ones(4, np.float32)),))
    for work in (lambda: toy.generate([steered]), lambda: toy.stream(steered), lambda: toy.logprobs([steered], ["a"])):
        with pytest.raises(UnsupportedCall, match="steering"):
            work()
    with pytest.raises(InputError, match="2 calls but 1"):
        toy.logprobs([ask("a"), ask("b")], ["a"])
    with pytest.raises(InputError, match="at most 10"):
        ToyBackend(context=10).generate([ask("a long prompt")])


def test_no_tokens_asked_for_is_an_empty_answer(toy):
    assert toy.generate([ask("a", sampling=Sampling(max_tokens=0))])[0] == Completion(
        "", "length", toy.generate([ask("a")])[0].tokens_in, 0, {"role": "assistant", "content": ""}
    )
    assert END == 256


def test_a_script_answers_in_order_and_keeps_the_calls():
    model = ScriptedBackend(["one", Completion("two", "length"), ModelError("three")], scores=lambda call, text: -1.0)
    assert model.generate([ask("a")])[0].text == "one"
    assert model.generate([ask("b")])[0].finish_reason == "length"
    with pytest.raises(ModelError, match="three"):
        model.generate([ask("c")])
    with pytest.raises(ModelError, match="no answer left"):
        model.generate([ask("d")])
    assert [call.query for call in model.calls] == ["a", "b", "c", "d"]
    assert model.logprobs([ask("e")], ["x"]) == [-1.0]


def test_a_script_can_be_a_function_and_streams_its_words():
    model = ScriptedBackend(lambda call: call.query.upper())
    assert "".join(chunk.text for chunk in model.stream(ask("to be or"))) == "TO BE OR"
