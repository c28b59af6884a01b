"""Attention that trains quickly in bfloat16 on a processor.

PyTorch's fused attention takes 2 to 13 times as long there as three matrix products and a softmax once it goes
backwards over rows of up to some 200 tokens (measured: ``benchmarks/LOG.md``); forwards, and in float32, it is the
better one.
"""

from __future__ import annotations

from typing import Any, Final

NAME: Final = "idiolect"
SHORT: Final = 192
"""Rows of more tokens than this go through the fused attention: it needs no memory for each pair of tokens."""


def train_quickly(model: Any) -> None:
    """Let a model use it, where its attention is PyTorch's fused one."""
    import torch

    fused = model.config.get_text_config()._attn_implementation == "sdpa"
    if not fused or model.dtype is not torch.bfloat16 or model.device.type != "cpu":
        return
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, dropout: float = 0.0,
    scaling: float | None = None, **more: Any,
) -> tuple[Any, None]:  # fmt: skip
    """Attend; ``query`` is [rows, heads, tokens, width], what comes back [rows, tokens, heads, width].

    ``key`` and ``value`` have as many heads or a whole part of them; ``attention_mask`` is true where a token may look.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    learns = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    known = attention_mask is None or (attention_mask.dtype == torch.bool and attention_mask.shape[1] == 1)
    odd = dropout or any(more.get(name) is not None for name in ("position_bias", "softcap", "s_aux", "cache"))
    if not learns or not known or odd or key.shape[2] > SHORT:
        fused, _ = sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **more)
        return fused, None
    rows, heads, tokens, width = query.shape
    shared, seen = key.shape[1], key.shape[2]
    causal = more.get("is_causal")
    if attention_mask is None and (getattr(module, "is_causal", True) if causal is None else causal):
        attention_mask = torch.ones(1, 1, tokens, seen, dtype=torch.bool, device=query.device).tril(seen - tokens)
    query = query * (width**-0.5 if scaling is None else scaling)
    scores = (query.reshape(rows, shared, -1, width) @ key.transpose(2, 3)).view(rows, shared, -1, tokens, seen)
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask[:, :, None], torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype)
    found = weights.view(rows, shared, -1, seen) @ value
    return found.view(rows, heads, tokens, width).transpose(1, 2).contiguous(), None
