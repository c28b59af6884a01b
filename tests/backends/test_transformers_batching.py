"""Answers of many threads in one running batch."""

from __future__ import annotations

import gc
import random
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from adapted import change, modules, some, worn
from idiolect.backends.transformers import TransformersBackend
from idiolect.errors import InputError, ModelError
from idiolect.types import Adapter, Body, Branch, Sampling, Steer
from tiny import CALLS, TEXTS, ask, greedy

pytest.importorskip("torch")


def never_end(answer, logits):
    logits[0] = -np.inf
    return logits


def endless(call, tokens=20):
    return replace(call, logits_processors=(never_end,), sampling=greedy(tokens))


def with_rows(model, rows, **settings):
    backend = TransformersBackend(model.model, dtype="float32", batch=rows, **settings)
    backend._engine = model._engine or model._loaded()
    return backend


def varied(model):
    """Calls that differ in all that a row brings."""
    every = modules(model)
    out = []
    for n in range(12):
        call = replace(CALLS[n % 4], sampling=Sampling(temperature=0.9 * (n % 2), seed=n, max_tokens=3 + 5 * n % 17))
        if n % 3:
            call = replace(call, adapters=(worn(f"t{n}", change(70 + n, every, 8 if n % 4 else 3)),))
        if n % 5 == 2:
            call = replace(call, steering=(Steer(n % 2, some(n, 32), 3.0),), soft_prompt=some(90 + n, 3, 32))
        if n % 4 == 1:
            call = replace(call, mix=(Branch(CALLS[(n + 1) % 4].messages, -0.5), Branch(None, 1.5)))
        out.append(call)
    return out


def test_streams_of_many_threads_are_the_answers_one_by_one(model, monkeypatch):
    monkeypatch.setattr("idiolect.backends._torch_cache._ROOM", 3)
    calls = varied(model)
    expected = [with_rows(model, 16).generate([call])[0] for call in calls]
    for rows in (6, 1):
        backend, found, wrong = with_rows(model, rows), {}, []

        def work(n, backend=backend, found=found, wrong=wrong):
            try:
                for at in random.Random(n).sample(range(12), 4):
                    chunks = list(backend.stream(calls[at]))
                    found[n, at] = ("".join(chunk.text for chunk in chunks), chunks[-1].tokens_out)
            except Exception as error:  # noqa: BLE001 - told by the test
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not wrong
        assert len(found) == 6 * 4
        for (_, at), answer in found.items():
            assert answer == (expected[at].text, expected[at].tokens_out)
        assert backend._batching.rows == 0


def test_streams_share_their_passes(model):
    backend = with_rows(model, 4)
    engine, passes = backend._loaded(), []
    handle = engine.model.register_forward_hook(lambda m, i, out: passes.append(out.logits.shape[0]))
    streams = [backend.stream(endless(call)) for call in CALLS]
    chunks = [[next(stream)] for stream in streams]
    for at, stream in enumerate(streams):
        chunks[at] += list(stream)
    handle.remove()
    assert [answer[-1].tokens_out for answer in chunks] == [20] * 4
    assert max(passes) == 4
    assert len(passes) < 4 + 20 + 3  # each prompt once, and 20 tokens for all that overlap


def test_a_closed_stream_frees_its_rows_at_once(model):
    backend = with_rows(model, 3)
    mixture = replace(endless(CALLS[0]), mix=(Branch(CALLS[1].messages, -0.5), Branch(None, 1.5)))
    one, two = backend.stream(mixture), backend.stream(endless(CALLS[2]))
    expected = [chunk.text for chunk in with_rows(model, 3).stream(endless(CALLS[2]))]
    next(one)
    found = [next(two).text]
    assert backend._batching.rows == 3
    waiting = backend.stream(endless(CALLS[3], 4))
    one.close()
    assert backend._batching.rows == 1
    assert list(waiting)[-1].tokens_out == 4
    assert found + [chunk.text for chunk in two] == expected
    assert backend._batching.rows == 0
    never_begun = backend.stream(endless(CALLS[0]))
    never_begun.close()
    lost = backend.stream(endless(CALLS[0]))
    next(lost)
    del lost
    gc.collect()
    assert (backend._batching.rows, len(backend._batching._waiting)) == (0, 0)


def test_a_paused_stream_holds_nobody_up(model):
    backend = with_rows(model, 1)
    paused = backend.stream(endless(CALLS[0]))
    first = next(paused)
    answer = backend.generate([endless(CALLS[1], 5)])[0]
    assert answer == with_rows(model, 4).generate([endless(CALLS[1], 5)])[0]
    whole = [first, *paused]
    assert [chunk.text for chunk in whole] == [chunk.text for chunk in with_rows(model, 4).stream(endless(CALLS[0]))]


def test_an_error_reaches_its_own_answer_alone(model, monkeypatch):
    backend = with_rows(model, 8)
    expected = [with_rows(model, 8).generate([endless(call)])[0].text for call in CALLS]

    def breaking(answer, logits):
        if len(answer) == 3:
            raise ZeroDivisionError
        return never_end(answer, logits)

    bad = replace(endless(CALLS[1]), logits_processors=(breaking,))
    streams = [backend.stream(call) for call in (endless(CALLS[0]), bad, endless(CALLS[2]))]
    texts = [next(stream).text for stream in streams]
    with pytest.raises(ZeroDivisionError):
        list(streams[1])
    assert backend._batching.rows == 2
    # an adapter that nobody can read is found out when its row is to join
    junk = replace(CALLS[3], adapters=(Adapter("broken", 1.0, Body.of(b"weights")),))
    with pytest.raises(InputError):
        backend.generate([junk, endless(CALLS[3])])
    assert backend._batching.rows == 2
    assert texts[0] + "".join(chunk.text for chunk in streams[0]) == expected[0]
    assert texts[2] + "".join(chunk.text for chunk in streams[2]) == expected[2]


def test_of_prompts_that_are_read_together_the_good_ones_go_on(model):
    backend = with_rows(model, 8)
    streams = {"first": backend.stream(endless(CALLS[0]))}
    next(streams["first"])
    junk = replace(CALLS[3], adapters=(Adapter("broken", 1.0, Body.of(b"weights")),), sampling=greedy(4))
    found = {}

    def work(name, call):
        try:
            found[name] = backend.generate([call])[0].text
        except InputError as error:
            found[name] = error

    batching = backend._batching
    batching._leader = -1  # nobody may lead until all of them wait
    threads = [threading.Thread(target=work, args=item) for item in {"bad": junk, "good": endless(CALLS[2])}.items()]
    for thread in threads:
        thread.start()
    while len(batching._waiting) < 2:
        time.sleep(0.001)
    with batching._turns:
        batching._leader = 0
        batching._turns.notify_all()
    for thread in threads:
        thread.join(60)
    assert isinstance(found["bad"], InputError)
    assert found["good"] == with_rows(model, 8).generate([endless(CALLS[2])])[0].text


def test_a_pass_that_fails_is_told_to_all_and_the_next_answers_are_right(model, monkeypatch):
    backend = with_rows(model, 8)
    engine = backend._loaded()
    streams = [backend.stream(endless(call)) for call in CALLS[:2]]
    for stream in streams:
        next(stream)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "step", lambda *a, **k: 1 / 0)
        for stream in streams:
            with pytest.raises(ZeroDivisionError):
                list(stream)
    assert backend._batching.rows == 0
    call = endless(CALLS[2])
    assert backend.generate([call]) == with_rows(model, 8).generate([call])


def test_an_interrupted_reader_takes_nobody_along_unnoticed(model, monkeypatch):
    backend = with_rows(model, 8)
    engine = backend._loaded()
    other = backend.stream(endless(CALLS[0]))
    next(other)

    def interrupted(*args):
        raise KeyboardInterrupt

    for part in ("read", "step"):
        with monkeypatch.context() as patch:
            patch.setattr(engine, part, interrupted)
            with pytest.raises(KeyboardInterrupt):
                backend.generate([endless(CALLS[1])])
    with pytest.raises(ModelError, match="interrupted"):
        list(other)
    assert backend._batching.rows == 0
    assert backend.generate([endless(CALLS[2])]) == with_rows(model, 8).generate([endless(CALLS[2])])


def test_a_processor_may_ask_the_model(model):
    asked = []

    def curious(answer, logits):
        asked.append(backend.generate([endless(CALLS[1], 2)])[0].text)
        return never_end(answer, logits)

    backend = with_rows(model, 2)
    call = replace(endless(CALLS[0], 3), logits_processors=(curious,))
    assert backend.generate([call])[0].text == backend.generate([endless(CALLS[0], 3)])[0].text
    assert asked == [backend.generate([endless(CALLS[1], 2)])[0].text] * 3


def test_deterministic_answers_do_not_share_a_pass(model):
    backend = with_rows(model, 8, deterministic=True)
    passes = []
    handle = backend._loaded().model.register_forward_hook(lambda m, i, out: passes.append(out.logits.shape[0]))
    streams = [backend.stream(endless(call, 6)) for call in CALLS]
    found = [next(stream).text for stream in streams]
    found = [text + "".join(chunk.text for chunk in stream) for text, stream in zip(found, streams, strict=True)]
    handle.remove()
    assert set(passes) == {1}
    assert found == [answer.text for answer in backend.generate([endless(call, 6) for call in CALLS])]


def test_more_calls_than_rows_leave_room_for_streams(model):
    backend = with_rows(model, 2)
    batching_rows = []

    def look(answer, logits):
        batching_rows.append((backend._batching.rows, len(backend._batching._waiting)))
        return never_end(answer, logits)

    calls = [replace(endless(CALLS[n % 4], 3), logits_processors=(look,)) for n in range(12)]
    answers = backend.generate(calls)
    assert [answer.tokens_out for answer in answers] == [3] * 12
    assert max(rows for rows, _ in batching_rows) == 2
    assert max(waiting for _, waiting in batching_rows) <= 1  # those that wait stand in nobody's way


def test_columns_that_no_row_has_are_taken_out(model):
    backend = with_rows(model, 2)
    backend._loaded()
    long = endless(ask("tea " * 30), 4)
    short = [endless(ask("a"), 12), endless(ask("the cat"), 12), endless(CALLS[0], 12)]
    expected = [with_rows(model, 1).generate([call])[0].text for call in [long, *short]]
    widths = []
    handle = backend._engine.layers[0].self_attn.register_forward_pre_hook(
        lambda m, args, given: widths.append(given["past_key_values"].get_seq_length()), with_kwargs=True
    )
    assert [answer.text for answer in backend.generate([*short, long])] == [*expected[1:], expected[0]]
    streams = [backend.stream(long), backend.stream(short[0])]
    texts = [next(stream).text for stream in streams]
    for at in (0, 1):
        texts[at] += "".join(chunk.text for chunk in streams[at])
    handle.remove()
    assert texts == expected[:2]
    assert widths[-1] < 20 < max(widths)


def test_a_model_with_sliding_windows_answers_in_groups(tmp_path):
    import torch
    import transformers

    from tiny import WORDS, write_model

    write_model(tmp_path)
    torch.manual_seed(3)
    config = transformers.MistralConfig(
        vocab_size=len(WORDS), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, eos_token_id=0, bos_token_id=None, initializer_range=0.4,
        sliding_window=6,
    )  # fmt: skip
    transformers.MistralForCausalLM(config).save_pretrained(tmp_path)
    backend = TransformersBackend(str(tmp_path), dtype="float32", threads=1, batch=3)
    engine, every = backend._loaded(), modules(backend)
    assert not engine.attends_to_all
    calls = [
        replace(endless(call, 10 + n), adapters=(worn(f"m{n}", change(n, every)),)) for n, call in enumerate(CALLS)
    ]
    one_by_one = [backend.generate([call])[0] for call in calls]
    assert backend.generate(calls) == one_by_one
    assert ["".join(chunk.text for chunk in backend.stream(call)) for call in calls] == [a.text for a in one_by_one]
    assert backend.generate([replace(call, adapters=()) for call in calls]) != one_by_one
    scores = [backend.logprobs([call], [text])[0] for call, text in zip(calls, TEXTS, strict=True)]
    assert backend.logprobs(calls, TEXTS) == pytest.approx(scores, abs=1e-4)
