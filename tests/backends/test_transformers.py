import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from idiolect import models
from idiolect.backends.transformers import TransformersBackend
from idiolect.errors import ConfigError, InputError, ModelError, UnknownName, UnsupportedCall
from idiolect.inside import Inside
from idiolect.types import Adapter, Backend, Body, Branch, Call, Choose, Sampling
from tiny import CALLS, TEXTS, WORDS, ask, greedy


def test_nothing_heavy_is_imported_with_the_module():
    code = "import sys, idiolect.backends.transformers; print('torch' in sys.modules or 'transformers' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout
        == "False\n"
    )


def test_what_it_cannot_do_is_refused_without_loading():
    model = TransformersBackend("nowhere")
    model.supports = model.supports - {"adapters"}
    adapted = ask("x", adapters=(Adapter("a", 1.0, Body.of(b"weights")),))
    chosen = ask("x", choose=Choose(1, lambda drafts: [0.0], (ask("y"), adapted)))
    for call in (adapted, chosen):
        for work in (
            lambda c=call: model.generate([ask("fine"), c]),
            lambda c=call: model.logprobs([c], ["a"]),
            lambda c=call: model.stream(c),
            lambda c=call: model.activations([c], ["a"], 0),
            lambda c=call: model.soft_gradients([c], ["a"], [1.0]),
        ):
            with pytest.raises(UnsupportedCall, match="adapters"):
                work()


def plain_logprob(model, call, text):
    """One row, no padding, no cache: the definition."""
    engine = model._engine
    prompt, ids = engine.prompt(call.messages, call), engine.tokens(text)
    with engine.torch.no_grad():
        logits = engine.model(engine.torch.tensor([prompt + ids])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + n, token]) for n, token in enumerate(ids))


def test_log_probabilities_are_the_models_own_in_any_batch(model):
    one_by_one = [model.logprobs([call], [text])[0] for call, text in zip(CALLS, TEXTS, strict=True)]
    plain = [plain_logprob(model, call, text) for call, text in zip(CALLS, TEXTS, strict=True)]
    assert one_by_one == pytest.approx(plain, abs=1e-4)
    assert model.logprobs(CALLS, TEXTS) == pytest.approx(plain, abs=1e-4)
    assert replace_batch(model, 2).logprobs(CALLS, TEXTS) == pytest.approx(plain, abs=1e-4)
    assert model.logprobs([CALLS[0]], [""]) == [0.0]


def test_continuations_of_one_call_share_its_prompt(model):
    texts = ["is here", "", "is", "not the blue tea on and on", "cat", "is here now", "is here"]
    plain = [plain_logprob(model, CALLS[1], text) for text in texts]
    assert model.logprobs([CALLS[1]] * len(texts), texts) == pytest.approx(plain, abs=1e-4)
    calls = [CALLS[0], *[CALLS[1]] * len(texts), CALLS[2], CALLS[2], CALLS[3]]
    mixed = ["cat", *texts, "red", "red red", "tea"]
    one_by_one = [plain_logprob(model, call, text) for call, text in zip(calls, mixed, strict=True)]
    assert model.logprobs(calls, mixed) == pytest.approx(one_by_one, abs=1e-4)
    with pytest.raises(InputError, match="at most"):
        model.logprobs([CALLS[1]] * 2, ["is", "red " * 60])


def test_it_is_a_backend_and_shows_its_inside(model):
    assert isinstance(model, Backend)
    assert isinstance(model, Inside)
    assert model.supports >= {"logprobs", "mix", "soft_prompt", "steering", "adapters", "choose", "inside"}


def test_deterministic_is_the_same_whatever_else_is_asked(model):
    alone = TransformersBackend(model.model, dtype="float32", deterministic=True)
    alone._engine = model._engine
    together = alone.logprobs(CALLS, TEXTS)
    assert together == [alone.logprobs([call], [text])[0] for call, text in zip(CALLS, TEXTS, strict=True)]
    assert together == pytest.approx(model.logprobs(CALLS, TEXTS), abs=1e-4)


def replace_batch(model, rows):
    other = TransformersBackend(model.model, dtype="float32", batch=rows)
    other._engine = model._engine
    return other


def test_the_probabilities_of_all_next_words_sum_to_one(model):
    scores = model.logprobs([CALLS[1]] * len(WORDS), WORDS)
    assert sum(map(math.exp, scores)) == pytest.approx(1.0, abs=1e-5)


def test_greedy_answers_are_those_of_transformers_itself(model):
    engine = model._engine or model._loaded()
    for call in CALLS:
        prompt = engine.torch.tensor([engine.prompt(call.messages, call)])
        made = engine.model.generate(prompt, max_new_tokens=8, do_sample=False, pad_token_id=0)[0, prompt.shape[1] :]
        expected = engine.tokenizer.decode(made.tolist(), skip_special_tokens=True)
        assert model.generate([replace(call, sampling=greedy())])[0].text == expected


def test_a_batch_gives_what_single_calls_give(model):
    calls = [
        replace(call, sampling=Sampling(temperature=0.8, top_p=0.9, seed=n, max_tokens=4 + 3 * n))
        for n, call in enumerate(CALLS)
    ]
    calls.append(
        replace(CALLS[0], mix=(Branch(CALLS[0].messages, 1.4), Branch(CALLS[1].messages, -0.4)), sampling=greedy())
    )
    one_by_one = [model.generate([call])[0] for call in calls]
    assert model.generate(calls) == one_by_one
    assert replace_batch(model, 2).generate(calls) == one_by_one


def test_a_stream_joins_to_the_answer(model):
    for call in CALLS:
        call = replace(call, sampling=greedy(12))
        chunks, whole = list(model.stream(call)), model.generate([call])[0]
        assert "".join(chunk.text for chunk in chunks) == whole.text
        last = chunks[-1]
        assert (last.finish_reason, last.tokens_in, last.tokens_out) == (
            whole.finish_reason, whole.tokens_in, whole.tokens_out,
        )  # fmt: skip


def test_stop_texts(model):
    call = replace(CALLS[1], sampling=greedy(12))
    text = model.generate([call])[0].text
    stop = text[len(text) // 2 :][:3]
    stopped = replace(call, sampling=greedy(12, stop=(stop,)))
    answer = model.generate([stopped])[0]
    assert (answer.text, answer.finish_reason) == (text[: text.index(stop)], "stop")
    assert "".join(chunk.text for chunk in model.stream(stopped)) == answer.text


def next_logits(model, messages):
    engine = model._engine
    prompt = engine.torch.tensor([engine.prompt(messages, ask(""))])
    with engine.torch.no_grad():
        return engine.model(prompt).logits[0, -1].double().numpy()


def test_a_mixture_is_the_weighted_sum_of_its_branches_logits(model):
    one, two = CALLS[0].messages, CALLS[1].messages
    mixed = ask("ignored", mix=(Branch(one, 1.5), Branch(two, -0.5)))
    logits = 1.5 * next_logits(model, one) - 0.5 * next_logits(model, two)
    expected = logits - np.log(np.exp(logits).sum())
    scores = model.logprobs([mixed] * len(WORDS), WORDS)
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    first = model.generate([replace(mixed, sampling=greedy(1))])[0].text
    assert first in ("", WORDS[int(np.argmax(logits))])


def test_processors_see_the_answer_so_far(model):
    seen = []

    def forbid(answer, logits):
        seen.append(tuple(answer))
        logits = logits.copy()
        logits[0] = -np.inf  # never end
        logits[list(answer)] = -np.inf  # never twice
        return logits

    call = replace(CALLS[0], logits_processors=(forbid,), sampling=greedy(6))
    words = model.generate([call])[0].text.split()
    assert len(set(words)) == len(words) == 6
    assert [len(answer) for answer in seen] == list(range(6))
    assert model.logprobs([call], ["tea tea"])[0] == -math.inf


def test_what_does_not_fit(model):
    for work in (
        lambda: model.generate([ask("tea " * 80)]),
        lambda: model.logprobs([ask("tea " * 40)], ["tea " * 40]),
        lambda: model.stream(ask("tea " * 80)),
    ):
        with pytest.raises(InputError, match=r"has \d+ tokens, the model reads at most 64"):
            work()
    answer = model.generate(
        [ask("tea " * 50, sampling=Sampling(temperature=5.0, seed=1), logits_processors=(no_end,))]
    )[0]
    assert (answer.finish_reason, answer.tokens_in + answer.tokens_out) == ("length", 64)
    with pytest.raises(InputError, match="chat template"):
        model.generate([Call(({"role": "bad", "content": "x"},))])


def no_end(answer, logits):
    logits = logits.copy()
    logits[0] = -np.inf
    return logits


def test_settings_and_files(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("IDIOLECT_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match="idiolect models pull"):
        TransformersBackend().generate([ask("x")])
    with pytest.raises(UnknownName):
        TransformersBackend("smollm").generate([ask("x")])
    with pytest.raises(ConfigError, match="float64"):
        TransformersBackend(str(folder), dtype="float64").count_tokens("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="cannot load"):
        TransformersBackend(str(tmp_path / "empty")).count_tokens("x")


def test_counts_and_fingerprint(model, folder):
    assert model.count_tokens("the cat likes tea") == 4
    assert model.fingerprint == f"{folder.name}@{models.digest(folder / 'model.safetensors')[:12]}"


@pytest.fixture(scope="module")
def smol(weights):
    pytest.importorskip("transformers")
    backend = TransformersBackend(dtype="float32")
    yield backend
    backend.close()


@pytest.mark.models
class TestRealWeights:
    calls = tuple(ask(f"What do you know about {word}?") for word in ("cats", "tea in the morning", "Rome"))
    texts = ("They purr when they are happy.", "Tea is a drink.", "Rome")

    def test_log_probabilities_in_a_batch_are_those_one_by_one(self, smol):
        one_by_one = [smol.logprobs([call], [text])[0] for call, text in zip(self.calls, self.texts, strict=True)]
        assert smol.logprobs(self.calls, self.texts) == pytest.approx(one_by_one, abs=1e-4)

    def test_llama_cpp_agrees_within_the_error_of_its_8_bit_arithmetic(self, smol):
        pytest.importorskip("xllamacpp")
        from idiolect.backends.llamacpp import LlamaCppBackend

        other = LlamaCppBackend(n_ctx=512, slots=1, threads=1)
        assert other.fingerprint == smol.fingerprint
        for text in (*self.texts, "naïve café, 123 \n ok"):
            assert other.count_tokens(text) == smol.count_tokens(text)
        here, there = smol.logprobs(self.calls, self.texts), other.logprobs(self.calls, self.texts)
        other.close()
        for text, a, b in zip(self.texts, here, there, strict=True):
            assert abs(a - b) < 0.1 * smol.count_tokens(text) + 0.1
