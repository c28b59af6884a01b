"""A real vLLM with our plugin beside the same weights in PyTorch: ``make test-vllm``."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from backends.vllm_server import RealServer, adapter, smollm_shapes
from idiolect import config, models
from idiolect.backends._vllm_resolver import NAME
from idiolect.backends.vllm import VLLMBackend
from idiolect.errors import ModelError, NotFound
from idiolect.pipeline import Idiolect
from idiolect.serve.app import create_app
from idiolect.training.factors import cat
from idiolect.training.peft_format import load
from idiolect.types import Call, Sampling

pytestmark = [pytest.mark.vllm, pytest.mark.models]

WEIGHTS = "smollm2-135m-instruct"
MESSAGES = ({"role": "user", "content": "Name three colours."},)
TOLERANCE = 2e-3
"""In nats; both compute in float32."""


@pytest.fixture(scope="module")
def folder():
    if not os.environ.get("IDIOLECT_VLLM_PYTHON"):
        pytest.skip("IDIOLECT_VLLM_PYTHON names no python that has vLLM and this package; run: make test-vllm")
    try:
        return models.hf_folder(WEIGHTS)
    except ModelError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    running = RealServer(os.environ["IDIOLECT_VLLM_PYTHON"], folder, tmp_path_factory.mktemp("vllm"))
    try:
        running.wait()
        yield running
    finally:
        running.end()


@pytest.fixture
def build(server):
    opened = []

    def make(**more):
        settings = {"base_url": server.url, "model": "tiny", "weights": WEIGHTS, "access": str(server.access)}
        opened.append(VLLMBackend(**settings, max_rank=8, retries=0, timeout=600, **more))
        return opened[-1]

    yield make
    for backend in opened:
        backend.close()


class Reference:
    """``W + B A`` in PyTorch, no adapter code involved."""

    def __init__(self, folder):
        torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
        self.torch = torch
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.prompt = self.ids(self.tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False))

    def ids(self, text):
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def logprobs(self, answer, adapters):
        """Return log probabilities ``[len(answer), vocab]`` of the next token before each token of an answer."""
        torch, kept = self.torch, {}
        with torch.no_grad():
            if adapters:
                change = cat([load(one.body.read()) for one in adapters], [one.weight for one in adapters])
                for name in change.modules:
                    weight = self.model.get_submodule(name).weight
                    kept[name] = weight.clone()
                    weight += torch.from_numpy(change.delta(name))
            rows = self.model(torch.tensor([[*self.prompt, *answer]])).logits.log_softmax(-1)[0]
            for name, weight in kept.items():
                self.model.get_submodule(name).weight.copy_(weight)
        return rows[len(self.prompt) - 1 : -1].numpy()

    def score(self, text, adapters):
        ids = self.ids(text)
        rows = self.logprobs(ids, adapters)
        return float(sum(rows[at, token] for at, token in enumerate(ids)))


@pytest.fixture(scope="module")
def reference(folder):
    return Reference(folder)


@pytest.fixture(scope="module")
def people(folder):
    return [adapter(smollm_shapes(), seed, models.fingerprint(WEIGHTS), size=0.06) for seed in (1, 2)]


def ask(*adapters, tokens=8):
    shown = {"logprobs": True, "top_logprobs": 5, "return_tokens_as_token_ids": True}
    return Call(MESSAGES, adapters=adapters, sampling=Sampling(temperature=0.0, max_tokens=tokens), extra=shown)


def steps(completion):
    """Return ``(token, {token: log probability})`` for each step of an answer."""

    def number(text):
        return int(text.removeprefix("token_id:"))

    content = completion.raw["choices"][0]["logprobs"]["content"]
    return [(number(one["token"]), {number(t["token"]): t["logprob"] for t in one["top_logprobs"]}) for one in content]


def equals(completion, reference, adapters):
    made = steps(completion)
    rows = reference.logprobs([token for token, _ in made], adapters)
    for row, (token, top) in zip(rows, made, strict=True):
        assert token == row.argmax()
        assert top == pytest.approx({other: float(row[other]) for other in top}, abs=TOLERANCE)


@pytest.mark.parametrize("delivery", ["resolver", "load"])
def test_each_persons_answer_is_that_of_their_own_weights(build, reference, people, delivery):
    backend, (ana, bob) = build(delivery=delivery), people
    sums = [(ana,), (bob,), (), (ana, replace(bob, weight=-0.5))]
    answers = backend.generate([ask(*adapters) for adapters in sums])
    for adapters, answer in zip(sums, answers, strict=True):
        equals(answer, reference, adapters)
    first = [steps(answer)[0][1] for answer in answers]
    assert all(one != two for n, one in enumerate(first) for two in first[:n])


def test_nobody_meets_anothers_weights_in_a_batch(build, reference, people):
    backend, (ana, bob) = build(), people
    sums, text = [(ana,), (), (bob,), (), (ana,), (bob,)], "Red and blue."
    got = backend.logprobs([ask(*adapters) for adapters in sums], [text] * 6)
    want = [reference.score(text, adapters) for adapters in sums]
    assert got == pytest.approx(want, abs=TOLERANCE * 5)
    assert min(abs(want[0] - want[1]), abs(want[0] - want[2]), abs(want[1] - want[2])) > TOLERANCE * 20


def test_a_new_version_is_served_and_what_is_forgotten_is_gone(build, server, reference, people):
    backend, (ana, bob) = build(), people
    backend.generate([ask(ana, tokens=1), ask(bob, tokens=1)])
    newer = adapter(smollm_shapes(), 3, models.fingerprint(WEIGHTS), size=0.06)
    (answer,) = backend.generate([ask(newer)])
    equals(answer, reference, [newer])
    names = {one.id: backend._name([one]) for one in (ana, bob, newer)}
    assert {*names.values()} <= {*server.models()}
    backend.forget([ana.id, newer.id])
    assert [name for name in server.models() if NAME.fullmatch(name)] == [names[bob.id]]
    assert [path.name for path in server.files()] == [names[bob.id]]
    status, _ = server.ask("POST", "/v1/completions", {"model": names[ana.id], "prompt": "x", "max_tokens": 1})
    assert status == 404
    with pytest.raises(NotFound):
        backend.generate([ask(ana)])
    equals(backend.generate([ask(bob, tokens=2)])[0], reference, [bob])


def test_our_server_shows_the_configured_model_alone(server, people, tmp_path):
    table = {"base_url": server.url, "model": "tiny", "weights": WEIGHTS, "access": str(server.access), "max_rank": 8}
    paths = {"data": str(tmp_path / "data"), "keys": str(tmp_path / "keys")}
    settings = config.parse({"backend": "vllm", "backends": {"vllm": table}, "embedder": "none", "paths": paths})
    with Idiolect.build(settings) as house, TestClient(create_app(house), base_url="http://127.0.0.1:8484") as client:
        house.backend.generate([ask(people[0], tokens=1)])
        (name,) = [name for name in server.models() if name != "tiny"]
        assert [card["id"] for card in client.get("/v1/models").json()["data"]] == ["tiny"]
        body = {"messages": list(MESSAGES), "max_tokens": 2, "temperature": 0.0}
        answer = client.post("/v1/chat/completions", json={"model": "tiny", **body})
        assert (answer.status_code, answer.json()["model"]) == (200, "tiny")
        assert client.post("/v1/chat/completions", json={"model": name, **body}).status_code == 404
