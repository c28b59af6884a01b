"""Random two-layer models of several architectures in PyTorch, and the same weights as float32 GGUF files."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

VOCAB, HIDDEN, INNER, HEADS, LAYERS, CONTEXT = 48, 32, 64, 4, 2, 64
_COMMON = {"hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "initializer_range": 0.3}
_COMMON |= {"vocab_size": VOCAB, "num_attention_heads": HEADS, "max_position_embeddings": CONTEXT}


def make(architecture: str) -> Any:
    """Return a random model in float32; queries and keys have different numbers of heads where they can."""
    torch, hf = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    gpt2 = {"n_embd": HIDDEN, "n_layer": LAYERS, "n_head": HEADS, "n_positions": CONTEXT, "vocab_size": VOCAB}
    builders = {
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**_COMMON, num_key_value_heads=2)),
        "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**_COMMON, num_key_value_heads=2)),
        "gemma": lambda: hf.GemmaForCausalLM(
            hf.GemmaConfig(**_COMMON, num_key_value_heads=1, head_dim=16, pad_token_id=0)
        ),
        "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**gpt2, initializer_range=0.3)),
    }
    model = builders[architecture]().eval().requires_grad_(False)
    for one in model.parameters():
        if one.ndim == 1:  # biases and norms, which are constants in a new model
            one.add_(torch.randn_like(one), alpha=0.2)
    return model


def write_gguf(model: Any, architecture: str, path: Path) -> Path:
    """Write a model as llama.cpp's converter would, with words of three letters for tokens."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in _numbers(model.config).items():
        (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(f"{architecture}.{key}", value)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", *(f"{n:03}" for n in range(3, VOCAB))])
    writer.add_token_scores([0.0] * VOCAB)
    writer.add_token_types([2, 3, 3] + [1] * (VOCAB - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    arch = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, LAYERS)
    tied = model.config.tie_word_embeddings
    for name, tensor in model.state_dict().items():
        if name.endswith((".attn.bias", ".masked_bias")) or (tied and name.startswith("lm_head")):
            continue
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(known, _converted(name, tensor.numpy().astype(np.float32), model.config, architecture))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _numbers(config: Any) -> dict[str, Any]:
    get = functools.partial(getattr, config)
    width = get("head_dim", None) or HIDDEN // HEADS
    found = {
        "context_length": CONTEXT, "embedding_length": HIDDEN, "block_count": LAYERS, "vocab_size": VOCAB,
        "feed_forward_length": get("intermediate_size", 4 * HIDDEN), "attention.head_count": HEADS,
        "attention.head_count_kv": get("num_key_value_heads", HEADS), "attention.key_length": width,
        "attention.value_length": width, "rope.dimension_count": width,
    }  # fmt: skip
    if config.model_type == "gpt2":
        return {**found, "attention.layer_norm_epsilon": get("layer_norm_epsilon")}
    return {**found, "attention.layer_norm_rms_epsilon": get("rms_norm_eps"), "rope.freq_base": 10000.0}


def _converted(name: str, weight: Any, config: Any, architecture: str) -> Any:
    if architecture == "gemma" and name.endswith("norm.weight"):
        return weight + 1.0
    if architecture == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
        return np.ascontiguousarray(weight.T)
    if architecture == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
        heads = HEADS if "q_proj" in name else config.num_key_value_heads
        half = len(weight) // heads // 2
        order = [h * 2 * half + part * half + i for h in range(heads) for i in range(half) for part in (0, 1)]
        return np.ascontiguousarray(weight[order])
    return weight
