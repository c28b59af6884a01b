import threading
from dataclasses import replace

import pytest

from idiolect.backends.llamacpp import LlamaCppBackend
from idiolect.errors import InputError, ModelError, UnknownName, UnsupportedCall
from idiolect.types import Backend, Branch, Call, Choose, Sampling

GREEDY = Sampling(temperature=0.0, max_tokens=16, seed=1)


def ask(text, **fields):
    return Call(({"role": "user", "content": text},), **fields)


def test_nothing_happens_before_the_first_use(monkeypatch, tmp_path):
    monkeypatch.setenv("IDIOLECT_MODELS", str(tmp_path))
    model = LlamaCppBackend()
    assert isinstance(LlamaCppBackend.fingerprint, property)
    model.close()


def test_a_model_that_is_not_here_says_how_to_get_it(monkeypatch, tmp_path):
    pytest.importorskip("xllamacpp")
    monkeypatch.setenv("IDIOLECT_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match="Run: idiolect models pull smollm2-135m-instruct"):
        LlamaCppBackend().generate([ask("hi")])
    with pytest.raises(UnknownName):
        LlamaCppBackend("smollm").count_tokens("x")
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF1234")
    with pytest.raises(ModelError, match="cannot load"):
        LlamaCppBackend(str(damaged)).count_tokens("x")


def test_what_it_cannot_do_is_refused_without_loading(monkeypatch, tmp_path):
    monkeypatch.setenv("IDIOLECT_MODELS", str(tmp_path))
    mixed = ask("x", mix=(Branch((), 1.0),))
    chosen = ask("x", choose=Choose(2, lambda drafts: [0.0] * len(drafts), (ask("y"), mixed)))
    model = LlamaCppBackend()
    for call in (mixed, chosen):
        for work in (
            lambda c=call: model.generate([ask("fine"), c]),
            lambda c=call: model.stream(c),
            lambda c=call: model.logprobs([c], ["a"]),
        ):
            with pytest.raises(UnsupportedCall, match="mix"):
                work()


@pytest.fixture(scope="module")
def model(weights):
    backend = LlamaCppBackend(n_ctx=1024, slots=3, threads=1)
    assert isinstance(backend, Backend)
    yield backend
    backend.close()


@pytest.mark.models
class TestRealWeights:
    def test_an_answer(self, model):
        answer = model.generate([ask("Name three fruits.", sampling=GREEDY)])[0]
        assert "Bananas" in answer.text
        assert answer.message["role"] == "assistant"
        assert (answer.raw["object"], answer.raw["model"]) == ("chat.completion", "smollm2-135m-instruct")
        assert answer.tokens_in > 20
        assert 0 < answer.tokens_out <= 16

    def test_the_best_draft_is_chosen(self, model):
        drafts = []

        def shortest(texts):
            drafts.append(list(texts))
            return [-len(text) for text in texts]

        call = ask("Name a colour.", sampling=Sampling(temperature=1.0, max_tokens=8, seed=5))
        chosen = replace(call, choose=Choose(3, shortest))
        plain, best = model.generate([call, chosen])
        assert len(drafts[0]) == 3
        assert best.text == min(drafts[0], key=len)
        assert best.tokens_in == 3 * plain.tokens_in
        (chunk,) = model.stream(chosen)
        assert chunk.text == min(drafts[1], key=len)

    def test_a_stream_is_the_answer(self, model):
        call = ask("Tell me about cats.", sampling=GREEDY)
        chunks = list(model.stream(call))
        whole = model.generate([call])[0]
        assert "".join(chunk.text for chunk in chunks) == whole.text
        last = chunks[-1]
        assert (last.finish_reason, last.tokens_in, last.tokens_out) == ("length", whole.tokens_in, 16)

    def test_a_stream_left_early_frees_its_slot(self, model):
        for _ in range(5):
            chunks = model.stream(ask("Tell me a long story.", sampling=replace(GREEDY, max_tokens=800)))
            next(chunks)
            chunks.close()
        assert model.generate([ask("hi", sampling=GREEDY)])[0].text

    def test_more_calls_than_slots_wait_their_turn(self, model):
        calls = [ask(f"Say the number {n}.", sampling=replace(GREEDY, max_tokens=4)) for n in range(8)]
        together = model.generate(calls)
        assert len(together) == 8
        got = []
        threads = [threading.Thread(target=lambda c=c: got.append(model.generate([c])[0].text)) for c in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 8

    def test_stop_texts_and_the_seed(self, model):
        call = ask("Count from one to ten.", sampling=Sampling(temperature=1.0, seed=5, max_tokens=12))
        first = model.generate([call])[0].text
        assert model.generate([call])[0].text == first
        stop = first[3:6]
        stopped = model.generate([replace(call, sampling=replace(call.sampling, stop=(stop,)))])[0]
        assert (stopped.text, stopped.finish_reason) == (first[: first.index(stop)], "stop")

    def test_other_fields_reach_the_model(self, model):
        call = ask("hi", sampling=GREEDY, extra={"logprobs": True, "top_logprobs": 2, "user": "u"})
        rows = model.generate([call])[0].raw["choices"][0]["logprobs"]["content"]
        assert len(rows[0]["top_logprobs"]) == 2

    def test_log_probabilities_are_those_of_the_models_own_greedy_answer(self, model):
        call = ask("What is the capital of France?", extra={"logprobs": True}, sampling=replace(GREEDY, max_tokens=6))
        answer = model.generate([call])[0]
        rows = answer.raw["choices"][0]["logprobs"]["content"]
        expected = sum(row["logprob"] for row in rows)
        assert model.logprobs([call], [answer.text])[0] == pytest.approx(expected, abs=0.02)

    def test_log_probabilities_in_a_batch_are_those_one_by_one(self, model):
        calls = [ask(f"What do you know about {word}?") for word in ("cats", "tea", "Rome", "snow", "music")]
        texts = ["They purr.", "Tea is a drink made of leaves.", "Rome", "It is cold and white", "Music is"]
        one_by_one = [model.logprobs([call], [text])[0] for call, text in zip(calls, texts, strict=True)]
        assert model.logprobs(calls, texts) == pytest.approx(one_by_one, abs=1e-3)
        assert all(value < 0 for value in one_by_one)
        assert model.logprobs([calls[0]], [""]) == [0.0]

    def test_options_of_one_call_are_scored_as_each_alone(self, model):
        call = ask("Which section of a newspaper reports elections?")
        options = ["politics", "political news", "sports", "", "style & beauty", "zxqv", "politics", "political"]
        alone = [model.logprobs([call], [option])[0] for option in options]
        assert model.logprobs([call] * len(options), options) == pytest.approx(alone, abs=0.02)
        assert alone[3] == 0.0
        assert alone[7] > alone[1]  # the beginning of a longer one

    def test_characters_of_several_tokens_are_scored(self, model):
        call = ask("Write a tweet. Answer with the tweet alone.")  # its likeliest first token is part of a character
        texts = ["🌱 hello", "hello 🌱", "RIP 🌱🌱", "naïve 日本語", "🌱", "hello"]
        together = model.logprobs([call] * len(texts), texts)
        assert all(-400 < score < 0 for score in together)
        assert together == pytest.approx([model.logprobs([call], [text])[0] for text in texts], abs=0.02)
        assert together[1] < together[5]
        letters = [chr(letter) for letter in range(ord("A"), ord("F"))]
        assert len(set(model.logprobs([call] * 5, letters))) == 5

    def test_deterministic_answers_do_not_depend_on_what_was_asked_before(self, weights):
        calls = [ask(f"Name a {thing}.", sampling=GREEDY) for thing in ("river", "bird", "tree", "song")]
        made = []
        for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
            backend = LlamaCppBackend(n_ctx=512, slots=3, threads=1, deterministic=True)
            texts = dict(zip(order, backend.generate([calls[n] for n in order]), strict=True))
            scores = dict(zip(order, backend.logprobs([calls[n] for n in order], ["The Nile"] * 4), strict=True))
            made.append([(texts[n].text, scores[n]) for n in range(4)])
            backend.close()
        assert made[0] == made[1]

    def test_personal_text_moves_the_log_probability(self, model):
        with_it, without = model.logprobs(
            [ask("I am Ana and I live in Lisbon. Where do I live?"), ask("Where do I live?")], ["Lisbon", "Lisbon"]
        )
        assert with_it > without + 1

    def test_a_prompt_that_is_too_long(self, model):
        for work in (
            lambda: model.generate([ask("hi " * 2000)]),
            lambda: list(model.stream(ask("hi " * 2000))),
            lambda: model.logprobs([ask("hi " * 2000)], ["x"]),
            lambda: model.logprobs([ask("hi " * 900)], ["x " * 500]),
        ):
            with pytest.raises(InputError, match=r"has \d+ tokens, the model reads at most 1024"):
                work()

    def test_a_request_that_it_cannot_take(self, model):
        for extra in ({"grammar": "((("}, {"tools": "none"}):
            with pytest.raises(InputError, match="cannot take"):
                model.generate([ask("hi", extra=extra)])

    def test_tokens_are_counted_and_no_text_is_kept(self, model):
        assert model.count_tokens("Hello there") == 2
        assert model.count_tokens("") == 0
        model.count_tokens("a private sentence")
        assert not any(b"private" in key for key in model._counts)

    def test_the_port_is_closed_to_others(self, model):
        import http.client

        address = model._residents.engine._address
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=5)
        connection.request("POST", "/tokenize", b'{"content": "x"}', {"Content-Type": "application/json"})
        assert connection.getresponse().status == 401

    def test_the_context_that_the_model_was_trained_with(self, model):
        other = LlamaCppBackend(n_ctx=0, slots=1, threads=1)
        assert other.logprobs([ask("hi")], ["there"]) == pytest.approx(model.logprobs([ask("hi")], ["there"]), abs=1e-3)
        assert other._residents.engine._n_ctx == 8192
        other.close()

    def test_it_loads_again_after_close(self, model):
        before = model.fingerprint
        model.close()
        assert model.generate([ask("hi", sampling=GREEDY)])[0].text
        assert model.fingerprint == before
        assert before.startswith("smollm2-135m-instruct@")
