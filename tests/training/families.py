"""Tiny random models of several families, on the words of tests/tiny.py."""

from __future__ import annotations

from pathlib import Path

from tiny import WORDS, write_model


def write_family(path: Path, family: str) -> Path:
    """Write a two-layer model of a family into a folder, with the tokenizer of the tiny Llama."""
    import torch
    import transformers

    write_model(path)
    if family == "llama":
        return path
    common = {
        "vocab_size": len(WORDS), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "eos_token_id": 0,
        "bos_token_id": None, "pad_token_id": None, "initializer_range": 0.4,
    }  # fmt: skip
    configs = {
        "qwen3": lambda: transformers.Qwen3Config(**common, head_dim=8),
        "gemma2": lambda: transformers.Gemma2Config(**common, head_dim=8, query_pre_attn_scalar=8, sliding_window=8),
        "gpt2": lambda: transformers.GPT2Config(
            vocab_size=len(WORDS), n_embd=32, n_layer=2, n_head=4, n_positions=64, eos_token_id=0, bos_token_id=0,
            initializer_range=0.4, attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0,
        ),
    }  # fmt: skip
    for old in path.glob("*.safetensors"):
        old.unlink()
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(configs[family]()).save_pretrained(path)
    return path
