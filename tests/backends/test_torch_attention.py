"""Attention that trains quickly is attention."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.integrations.sdpa_attention import sdpa_attention_forward  # noqa: E402

from idiolect.backends import _torch_attention as ours  # noqa: E402

ROWS, HEADS, SHARED, TOKENS, WIDTH = 3, 6, 2, 7, 8
MODULE = SimpleNamespace(num_key_value_groups=HEADS // SHARED, is_causal=True)


def given(seen=TOKENS):
    torch.manual_seed(0)
    sizes = ((HEADS, TOKENS), (SHARED, seen), (SHARED, seen))
    return [torch.randn(ROWS, heads, tokens, WIDTH, requires_grad=True) for heads, tokens in sizes]


def both(mask, seen=TOKENS, **more):
    found = []
    for attend in (ours.attention, sdpa_attention_forward):
        parts = given(seen)
        out, _ = attend(MODULE, *parts, mask, **more)
        (out * torch.arange(out.numel()).view_as(out).sin()).sum().backward()
        found.append([out.detach(), *(part.grad for part in parts)])
    return zip(*found, strict=True)


def causal(seen=TOKENS):
    return torch.ones(1, 1, TOKENS, seen, dtype=torch.bool).tril(seen - TOKENS)


def padded():
    mask = causal().repeat(ROWS, 1, 1, 1)
    mask[1, :, :, 5:] = False
    return mask


@pytest.mark.parametrize("mask", [None, causal(), padded()], ids=["none", "causal", "padded"])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_values_and_gradients_are_those_of_the_fused_one(mask, scaling):
    for one, other in both(mask, scaling=scaling):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_tokens_that_were_read_before_are_seen():
    for one, other in both(causal(12), seen=12):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_what_sees_all_sees_all():
    for one, other in both(None, is_causal=False):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_long_rows_and_what_learns_nothing_go_through_the_fused_one(monkeypatch):
    fused = []

    def told(*args, **more):
        fused.append(1)
        return sdpa_attention_forward(*args, **more)

    monkeypatch.setattr("transformers.integrations.sdpa_attention.sdpa_attention_forward", told)
    ours.attention(MODULE, *given(), causal())
    assert not fused
    with torch.no_grad():
        ours.attention(MODULE, *given(), causal())
    assert len(fused) == 1
    monkeypatch.setattr(ours, "SHORT", TOKENS - 1)
    ours.attention(MODULE, *given(), causal())
    assert len(fused) == 2


def llama(dtype):
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).to(dtype).eval()


@pytest.mark.parametrize(("dtype", "name"), [(torch.bfloat16, ours.NAME), (torch.float32, "sdpa")])
def test_only_a_model_in_bfloat16_uses_it(dtype, name):
    model = llama(dtype)
    ours.train_quickly(model)
    assert model.config._attn_implementation == name


def test_a_model_answers_the_same_with_it():
    model, ids = llama(torch.bfloat16), torch.tensor([[3, 5, 7, 9], [2, 4, 0, 0]])
    mask = (ids > 0).long()
    with torch.no_grad():
        before = model(ids, attention_mask=mask).logits
        ours.train_quickly(model)
        assert torch.equal(model(ids, attention_mask=mask).logits, before)
