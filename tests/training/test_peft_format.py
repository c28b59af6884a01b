"""Adapters in PEFT's format, there and back."""

from __future__ import annotations

import numpy as np
import pytest

from idiolect.errors import InputError
from idiolect.training import peft_format
from idiolect.training.factors import Factors, LowRank

pytest.importorskip("safetensors")


def adapter(ranks=(4, 4), bias=False):
    rng = np.random.default_rng(0)
    modules = {
        f"model.layers.{n}.self_attn.q_proj": Factors(
            rng.normal(size=(rank, 8)).astype(np.float32), rng.normal(size=(6, rank)).astype(np.float32),
            np.ones(6, np.float32) if bias else None,
        )
        for n, rank in enumerate(ranks)
    }  # fmt: skip
    return LowRank(modules, 2.0, "tiny@12")


@pytest.mark.parametrize("made", [adapter(), adapter((4, 2)), adapter(bias=True)], ids=["plain", "ranks", "bias"])
def test_a_blob_holds_the_whole_adapter(made):
    assert peft_format.load(peft_format.dump(made)) == made


def test_the_same_adapter_is_the_same_bytes():
    assert peft_format.dump(adapter()) == peft_format.dump(adapter())


def test_half_precision_is_near():
    made, read = adapter(), peft_format.load(peft_format.dump(adapter(), "float16"))
    for name, one in made.modules.items():
        np.testing.assert_allclose(read.modules[name].a, one.a, rtol=1e-3)


@pytest.mark.parametrize("made", [adapter(), adapter((4, 2))], ids=["plain", "ranks"])
def test_a_folder_is_read_back(made, tmp_path):
    folder = peft_format.save_folder(peft_format.dump(made), tmp_path / "a", "some/base")
    assert peft_format.load_folder(folder) == made
    with pytest.raises(InputError, match=r"adapter_config\.json"):
        peft_format.load_folder(tmp_path)


def test_what_is_no_adapter_is_refused():
    from safetensors.numpy import save

    with pytest.raises(InputError, match="no adapter"):
        peft_format.load(b"nonsense that is long enough")
    with pytest.raises(InputError, match="no factor"):
        peft_format.load(save({"base_model.model.x.weight": np.ones((2, 2), np.float32)}))
    with pytest.raises(InputError, match="belong together"):
        peft_format.load(save({"base_model.model.x.lora_A.weight": np.ones((2, 2), np.float32)}))


def test_peft_reads_what_we_write_and_we_what_it_writes(tmp_path):
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=20, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=32,
    )  # fmt: skip
    base = transformers.LlamaForCausalLM(config).eval()
    wanted = peft.LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    theirs = peft.get_peft_model(base, wanted).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    ids = torch.tensor([[3, 5, 7, 2]])
    with torch.no_grad():
        expected = theirs(ids).logits.numpy()
        plain = theirs.unload()
        read = peft_format.load_folder(tmp_path / "theirs")
        ours = peft_format.save_folder(peft_format.dump(read), tmp_path / "ours", "base")
        found = peft.PeftModel.from_pretrained(plain, ours).eval()(ids).logits.numpy()
    assert read.scaling == pytest.approx(5 / 3)
    np.testing.assert_allclose(found, expected, atol=1e-6)
