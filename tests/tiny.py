"""A random two-layer Llama that reads a few words, and questions for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from idiolect.types import Call, Sampling

WORDS = "<end> <unk> <user> <bot> the a cat dog tea red blue is in on likes and not ana bob café sings here now".split()
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'bad' %}{{ raise_exception('no such role') }}{% endif %}"
    "<user> {{ m.content }} {% endfor %}{% if add_generation_prompt %}<bot>{% endif %}"
)


def ask(text: str, **fields) -> Call:
    return Call(({"role": "user", "content": text},), **fields)


def greedy(tokens: int = 8, **more) -> Sampling:
    return Sampling(temperature=0.0, max_tokens=tokens, seed=1, **more)


CALLS = [
    ask("the cat"),
    ask("ana likes tea and the red dog is in the café now here"),
    ask("blue"),
    ask("bob sings on a"),
]
TEXTS = ["is here", "not the blue tea on and on", "cat", "red red red"]


def write_model(path: Path) -> Path:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: n for n, w in enumerate(WORDS)}, "<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(path)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, eos_token_id=0, bos_token_id=None, initializer_range=0.4,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    return path
