"""Adapters in llama.cpp with real weights: who is answered with whose."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from idiolect import models
from idiolect.backends.llamacpp import LlamaCppBackend
from idiolect.errors import InputError
from idiolect.models import gguf
from idiolect.training import gguf_format, peft_format
from idiolect.training.factors import Factors, LowRank, cat
from idiolect.types import Adapter, Body, Call, Sampling

NAME = "smollm2-135m-instruct"
MODULES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip
QUESTIONS = ("What is the capital of France?", "Tell me about cats.")
TEXTS = ("It is Paris.", "Cats are small animals that sleep in the sun.")
GREEDY = Sampling(temperature=0.0, max_tokens=8, seed=1)
pytestmark = pytest.mark.models


def ask(text, *adapters, **fields):
    return Call(({"role": "user", "content": text},), adapters=adapters, **fields)


def random(seed, modules=tuple(MODULES), size=0.04, scaling=2.0, base_model=""):
    """A random change of these modules in every layer; ``size`` is its mean square root, of several ranks."""
    rng = np.random.default_rng(seed)
    found = {}
    for layer in range(30):
        for number, module in enumerate(modules):
            inputs, outputs = base().shapes[f"blk.{layer}.{MODULES[module]}.weight"]
            rank = 2 + number % 3
            a, b = rng.normal(size=(rank, inputs)), rng.normal(size=(outputs, rank)) * size / scaling / rank**0.5
            found[f"model.layers.{layer}.{module}"] = Factors(a.astype(np.float32), b.astype(np.float32))
    return LowRank(found, scaling, base_model)


def adapter(name, change, weight=1.0):
    return Adapter(name, weight, Body.of(peft_format.dump(change)))


def base():
    if not hasattr(base, "read"):
        base.read = gguf_format.base_of(models.require(NAME))
    return base.read


@pytest.fixture(scope="module")
def model(weights):
    backend = LlamaCppBackend(n_ctx=512, slots=2, threads=1, adapters=2)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def one(model):
    return adapter("one", random(1))


@pytest.fixture(scope="module")
def two(model):
    return adapter("two", random(2))


@pytest.fixture(scope="module")
def alone(model, one, two):
    """Scores under nothing, each adapter and both, from one fresh server each."""
    out = []
    for using in ((), (one,), (two,), (one, replace(two, weight=0.5))):
        model.close()
        out.append(scores(model, *using))
    return out


def scores(model, *adapters):
    return np.array(model.logprobs([ask(text, *adapters) for text in QUESTIONS], TEXTS))


def first(model, text, *adapters, **extra):
    """The likeliest tokens to begin an answer with; unlike scores they may come from a cache."""
    sampling = Sampling(temperature=0.0, max_tokens=1, seed=1)
    call = ask(text, *adapters, sampling=sampling, extra={"logprobs": True, "top_logprobs": 500, **extra})
    rows = model.generate([call])[0].raw["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return {row["id"] for row in rows}


def apart(one, two):
    """The part of them that is not common: computed with the same weights less than a fifth, else most."""
    return 1 - len(one & two) / max(len(one), len(two))


def test_adapters_change_scores(alone):
    for n, scored in enumerate(alone):
        for other in alone[:n]:
            assert np.abs(scored - other).max() > 3


@pytest.fixture
def halves(tmp_path, weights):
    """The weights in float16, as PyTorch gets them: 8-bit arithmetic would blur the comparison by tenths of a nat."""
    target = tmp_path / "halves.gguf"
    in_halves(models.require(NAME), target)
    yield target
    target.unlink()


def in_halves(source, target):
    header = gguf.read_header(source)
    table, data = [], []
    with source.open("rb") as file:
        for tensor in header.tensors:
            file.seek(header.data + tensor.offset)
            raw = file.read(tensor.nbytes)
            if tensor.type == gguf.Q8_0:  # blocks of a scale and 32 numbers
                blocks = np.frombuffer(raw, np.uint8).reshape(-1, 34)
                scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
                raw = (scale * blocks[:, 2:].view(np.int8)).astype(np.float16).tobytes()
                tensor = replace(tensor, type=gguf.F16)
            table.append(replace(tensor, offset=sum(map(len, data))))
            data.append(raw + b"\0" * (-len(raw) % 32))
    head = gguf._head_bytes(header, table)
    target.write_bytes(head + b"\0" * (-len(head) % 32) + b"".join(data))


def test_it_moves_scores_as_the_changed_weights_do(halves, monkeypatch):
    torch = pytest.importorskip("torch")
    from idiolect.backends.transformers import TransformersBackend

    exact = TransformersBackend(dtype="float32", threads=1)
    linear = dict(exact._loaded().model.named_modules())
    before = scores(exact)
    served = LlamaCppBackend(str(halves), n_ctx=512, slots=1, threads=1)
    unmoved = scores(served)
    assert unmoved == pytest.approx(before, abs=0.1)

    def moved_by(change):
        for name in change.modules:
            linear[name].weight.add_(torch.from_numpy(change.delta(name)))
        out = scores(exact)
        for name in change.modules:
            linear[name].weight.sub_(torch.from_numpy(change.delta(name)))
        return out - before

    def moved(name, change, weight=1.0):
        return scores(served, adapter(name, change, weight)) - unmoved

    everything, attention = random(1), random(3, ("self_attn.q_proj", "self_attn.k_proj"), size=0.06)
    expected = moved_by(everything)
    assert np.abs(expected).max() > 3
    assert moved("all", everything) == pytest.approx(expected, abs=0.2)
    assert np.abs(moved("all", everything, 0.5) - expected).max() > 1  # a wrong scale is far off
    expected = moved_by(attention)
    assert np.abs(expected).max() > 3
    assert moved("attention", attention) == pytest.approx(expected, abs=0.1)
    monkeypatch.setattr(gguf_format, "_rows", lambda module, b, base: b)
    assert np.abs(moved("rows in another order", attention) - expected).max() > 1
    served.close()
    exact.close()


class TestWhoseIsWhose:
    def test_adapters_in_turn_give_what_each_gives_alone(self, model, one, two, alone):
        both = (one, replace(two, weight=0.5))
        for number, using in ((1, (one,)), (2, (two,)), (0, ()), (1, (one,)), (3, both), (0, ()), (2, (two,))):
            assert scores(model, *using) == pytest.approx(alone[number], abs=1e-3)
        calls = [ask(QUESTIONS[1], *using) for using in ((one,), (), (two,), (one,), both)]
        mixed = model.logprobs(calls, [TEXTS[1]] * 5)
        assert mixed == pytest.approx([alone[number][1] for number in (1, 0, 2, 1, 3)], abs=1e-3)

    def test_several_with_weights_are_their_sum(self, model, one, two, alone):
        summed = adapter("sum", cat([random(1), random(2)], [1.0, 0.5]))
        assert scores(model, summed) == pytest.approx(alone[3], abs=2)
        assert np.abs(alone[3] - alone[1]).max() > 8

    def test_more_than_are_kept(self, model, one, two, alone):
        others = [adapter(f"other {seed}", random(seed, ("mlp.down_proj",))) for seed in (5, 6, 7)]
        for other in others:
            model.logprobs([ask("hi", other)], ["there"])
            assert len(model._residents.loaded) <= 2
            assert scores(model, one) == pytest.approx(alone[1], abs=1e-3)

    def test_no_cache_gives_one_person_what_was_computed_with_anothers(self, one, two):
        # The same prompt again and again in one slot, with others between: it may be found there and, since little of
        # what stands there is kept for the other one, among the prompts that are kept outside.
        long, other = "the river and the sea and " * 12, "a house with a red door, " * 12
        whose = {"none": (), "one": (one,), "two": (two,)}
        fresh = {}
        for name, using in whose.items():
            backend = LlamaCppBackend(n_ctx=512, slots=1, threads=1)
            fresh[name] = first(backend, long, *using)
            backend.close()
        backend = LlamaCppBackend(n_ctx=512, slots=1, threads=1)
        first(backend, other, one, two)  # loads both
        for name in ("one", "none", "two"):
            first(backend, long, *whose["one"])
            first(backend, other, *whose[name])
            got = first(backend, long, *whose[name])
            off = {which: apart(got, expected) for which, expected in fresh.items()}
            assert off.pop(name) < 0.25
            assert min(off.values()) > 0.5
            assert apart(first(backend, long, *whose["none"]), fresh["none"]) < 0.25
        backend.close()

    def test_a_client_cannot_name_an_adapter(self, model, one, two):
        plain = first(model, "Who am I?")
        model.logprobs([ask("hi", one, two)], ["there"])
        chosen = first(model, "Who am I?", lora=[{"id": 0, "scale": 1.0}, {"id": 1, "scale": 1.0}])
        assert apart(chosen, plain) < 0.25
        assert apart(first(model, "Who am I?", one), plain) > 0.5

    def test_at_the_same_time(self, model, one, two):
        three = adapter("three", random(8))  # one more than are kept
        users = [(), (one,), (two,), (three,)]
        text = "What shall we eat?"
        expected = [first(model, text, *using) for using in users]
        wrong = []

        def work(number):
            for step in range(3):
                using = (number + step) % len(users)
                off = [apart(first(model, text, *users[using]), other) for other in expected]
                if np.argmin(off) != using or off[using] > 0.25:
                    wrong.append((using, off))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
        assert wrong == []
        together = model.generate([replace(ask(text, *users[n % 4]), sampling=GREEDY) for n in range(8)])
        for number, answer in enumerate(together):  # near ties move the text with the batch, not whose it is
            likely = [model.logprobs([ask(text, *using)], [answer.text])[0] for using in users]
            assert np.argmax(likely) == number % 4


def test_a_stream_is_the_answer_and_may_stay_open_over_a_change(model, one, two):
    call = replace(ask("Tell me about cats.", one), sampling=GREEDY)
    answer = model.generate([call])[0].text
    assert "".join(chunk.text for chunk in model.stream(call)) == answer
    assert answer != model.generate([replace(call, adapters=())])[0].text
    opened = model.stream(call)
    pieces = [next(opened).text]
    fresh = adapter("not loaded yet", random(9, ("mlp.up_proj",)))
    assert model.generate([replace(call, adapters=(fresh,))])[0].tokens_out
    assert "".join(pieces + [chunk.text for chunk in opened]) == answer


def test_deterministic_answers_do_not_depend_on_what_was_asked_before(one, two):
    calls = [replace(ask(text, *using), sampling=GREEDY) for text in QUESTIONS for using in ((), (one,), (two,))]
    made = []
    for order in ([0, 1, 2, 3, 4, 5], [5, 1, 4, 0, 3, 2]):
        backend = LlamaCppBackend(n_ctx=256, slots=3, threads=1, deterministic=True, adapters=1)
        texts = dict(zip(order, backend.generate([calls[n] for n in order]), strict=True))
        scored = dict(zip(order, backend.logprobs([calls[n] for n in order], ["It is"] * 6), strict=True))
        made.append([(texts[n].text, scored[n]) for n in range(6)])
        backend.close()
    assert made[0] == made[1]


def test_forgetting(model, one, two, alone):
    model.logprobs([ask("hi", one, two)], ["there"])
    assert model.forget({"one", "nobody"}) == 1
    assert model.forget({"one"}) == 0
    assert scores(model) == pytest.approx(alone[0], abs=1e-3)
    assert [key[0] for key in model._residents.loaded] == ["two"]


def test_what_is_not_for_this_model_is_refused(model, one):
    biased = {"model.layers.0.self_attn.v_proj": Factors(*[np.ones((1, 1), np.float32)] * 2, np.ones(1, np.float32))}
    for change, message in (
        (random(1, base_model="another@123"), "made for the model another@123, not for smollm2-135m-instruct@"),
        (LowRank(biased), "bias"),
        (LowRank({"model.layers.99.mlp.up_proj": Factors(*[np.ones((1, 1), np.float32)] * 2)}), "no weight of its own"),
    ):
        call = ask("hi", one, adapter("wrong", change))
        for work in (
            lambda call=call: model.generate([call]),
            lambda call=call: model.stream(call),
            lambda call=call: model.logprobs([call], ["there"]),
        ):
            with pytest.raises(InputError, match=message):
                work()
    assert np.isfinite(scores(model, adapter("right", random(1, base_model=model.fingerprint)))).all()
