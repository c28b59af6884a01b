"""The loop over a real model: a random Llama of two layers."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from idiolect.training.soft_prompts import Training, fit
from idiolect.training.user_encoder import FEATURES, Person, UserEncoder
from idiolect.types import Call

torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")

WORDS = "<end> <unk> <user> <bot> tea milk or please what shall i drink a cup of".split()
TEMPLATE = "{% for m in messages %}<user> {{ m.content }} {% endfor %}{% if add_generation_prompt %}<bot>{% endif %}"
ASK = Call(({"role": "user", "content": "what shall i drink tea or milk"},))
ANSWERS = ("tea", "milk")
DIM = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    import tokenizers

    from idiolect.backends.transformers import TransformersBackend

    path = tmp_path_factory.mktemp("tiny")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: n for n, w in enumerate(WORDS)}, "<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", unk_token="<unk>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(path)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, eos_token_id=0, bos_token_id=None, initializer_range=0.2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    backend = TransformersBackend(str(path), dtype="float32", threads=1)
    yield backend
    backend.close()


def person(seed):
    rng = np.random.default_rng(seed)
    items = np.zeros((6, DIM + FEATURES), np.float32)
    items[:, :DIM] = rng.normal(size=DIM) + 0.3 * rng.normal(size=(6, DIM))
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    return Person(items, items[:, :DIM] - 0.1)


def weights_of(model):
    digest = hashlib.sha256()
    for name, value in sorted(model._loaded().model.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def scores(model, made, who):
    call = replace(ASK, soft_prompt=made.encode(who, np.ones(DIM, np.float32)))
    return dict(zip(ANSWERS, model.logprobs([call, call], ANSWERS), strict=True))


@pytest.mark.parametrize("head", ["mean", "attention", "difference", "resampler", "compressed"])
def test_two_people_with_opposite_answers_are_told_apart_within_200_steps(model, head):
    before, people = weights_of(model), [person(1), person(2)]
    start = UserEncoder.new(head, DIM, 4, model.hidden, model.embedding_norm)
    made = fit(
        model, start, people, [(0, ASK, "tea"), (1, ASK, "milk")], Training(steps=200, rate=1e-2),
        queries=[np.ones(DIM, np.float32)] * 2,
    )  # fmt: skip
    tea, milk = scores(model, made.encoder, people[0]), scores(model, made.encoder, people[1])
    assert tea["tea"] > tea["milk"] + 1
    assert milk["milk"] > milk["tea"] + 1
    assert tea["tea"] > milk["tea"] + 1  # another person's history serves worse
    assert weights_of(model) == before
    assert all(value.grad is None for value in model._loaded().model.parameters())


def test_the_norm_is_that_of_an_embedding_row(model):
    rows = model._loaded().model.get_input_embeddings().weight.detach().numpy()
    made = UserEncoder.new("mean", DIM, 4, model.hidden, model.embedding_norm).encode(person(1))
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), np.linalg.norm(rows, axis=1).mean(), rtol=1e-2)


def test_gradients_through_model_and_encoder_equal_finite_differences(model):
    encoder, who = UserEncoder.new("mean", DIM, 4, model.hidden, model.embedding_norm), person(1)
    call = replace(ASK, soft_prompt=encoder.encode(who))
    towards = model.soft_gradients([call], ["tea please"], [1.0])[1][0]
    gradient = encoder.forward(who)[1](towards)["bias"]
    direction, step = np.random.default_rng(0).normal(size=gradient.shape).astype(np.float32), 1e-2

    def at(by):
        moved = encoder.with_weights({**encoder.weights, "bias": encoder.weights["bias"] + by * direction})
        return model.logprobs([replace(ASK, soft_prompt=moved.encode(who))], ["tea please"])[0]

    assert (at(step) - at(-step)) / (2 * step) == pytest.approx(float((gradient * direction).sum()), rel=2e-2)


def test_what_shares_a_batch_has_no_influence(model):
    encoder = UserEncoder.new("mean", DIM, 4, model.hidden, model.embedding_norm)
    long = Call(({"role": "user", "content": "what shall i drink please a cup of tea or a cup of milk"},))
    calls = [replace(ask, soft_prompt=encoder.encode(person(n))) for n, ask in enumerate((ASK, long, ASK))]
    texts = ["tea", "milk please", "a cup of tea"]
    together = model.soft_gradients(calls, texts, [1.0] * 3)
    for n, call in enumerate(calls):
        score, towards = model.soft_gradients([call], [texts[n]], [1.0])
        np.testing.assert_allclose(together[0][n], score[0], atol=1e-5)
        np.testing.assert_allclose(together[1][n], towards[0], atol=1e-5)
