from pathlib import Path

import numpy as np
import pytest

import tiny_gguf
from idiolect.errors import InputError
from idiolect.training import gguf_format
from idiolect.training.factors import Factors, LowRank

pytest.importorskip("gguf")

TOKENS = [5, 9, 30, 7, 41, 12, 3]
ARCHITECTURES = ("llama", "qwen2", "gemma", "gpt2")


def base(architecture="llama", heads=2, kv_heads=1, **shapes):
    return gguf_format.Base(architecture, 2, heads, kv_heads, shapes)


def blocks(**shapes):
    return {f"blk.1.{name}.weight": shape for name, shape in shapes.items()}


def factors(inputs, outputs, rank, seed=0, bias=None):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(rank, inputs)), rng.normal(size=(outputs, rank))
    return Factors(a.astype(np.float32), b.astype(np.float32), bias)


def read(path):
    from gguf import GGUFReader

    reader = GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    return fields, {tensor.name: tensor.data for tensor in reader.tensors}


def changed(tensors, fields, name):
    """What llama.cpp adds to a weight at scale 1, by its own formula."""
    a, b = tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]
    return fields["adapter.lora.alpha"] / len(a) * b @ a


class TestTheFile:
    def test_it_says_what_it_is_and_adds_the_scaled_change(self, tmp_path):
        modules = {
            "model.layers.1.self_attn.v_proj": factors(8, 4, 2),
            "model.layers.1.mlp.down_proj": factors(12, 8, 3, seed=1),
        }
        adapter = LowRank(modules, 2.5)
        path = tmp_path / "a.gguf"
        gguf_format.write(adapter, base(**blocks(attn_v=(8, 4), ffn_down=(12, 8))), path)
        fields, tensors = read(path)
        said = [fields[key] for key in ("general.architecture", "general.type", "adapter.type")]
        assert said == ["llama", "adapter", "lora"]
        assert sorted(tensors) == [
            f"blk.1.{name}.weight.lora_{part}" for name in ("attn_v", "ffn_down") for part in "ab"
        ]
        assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float32)}
        for module, name in zip(modules, ("attn_v", "ffn_down"), strict=True):
            delta = changed(tensors, fields, f"blk.1.{name}.weight")
            assert delta == pytest.approx(adapter.delta(module), rel=1e-5, abs=1e-5)

    def test_rows_of_queries_and_keys_stand_in_pairs_for_llama(self, tmp_path):
        # two query heads of four rows, one key head: row i of a head stood beside row i + 2
        q = np.arange(8, dtype=np.float32)[:, None]
        k = np.arange(4, dtype=np.float32)[:, None]
        one = np.ones((1, 3), np.float32)
        adapter = LowRank({
            "model.layers.1.self_attn.q_proj": Factors(one, q),
            "model.layers.1.self_attn.k_proj": Factors(one, k),
            "model.layers.1.self_attn.v_proj": Factors(one, k),
        })  # fmt: skip
        shapes = blocks(attn_q=(3, 8), attn_k=(3, 4), attn_v=(3, 4))
        for architecture, rows in (("llama", [0, 2, 1, 3, 4, 6, 5, 7]), ("qwen2", list(range(8)))):
            gguf_format.write(adapter, base(architecture, **shapes), tmp_path / "a.gguf")
            _, tensors = read(tmp_path / "a.gguf")
            assert tensors["blk.1.attn_q.weight.lora_b"][:, 0].tolist() == rows
            assert tensors["blk.1.attn_k.weight.lora_b"][:, 0].tolist() == rows[:4]
            assert tensors["blk.1.attn_v.weight.lora_b"][:, 0].tolist() == [0, 1, 2, 3]

    def test_a_scaling_of_nothing_changes_nothing(self, tmp_path):
        adapter = LowRank({"model.layers.1.self_attn.v_proj": factors(8, 4, 2)}, 0.0)
        gguf_format.write(adapter, base(**blocks(attn_v=(8, 4))), tmp_path / "a.gguf")
        fields, tensors = read(tmp_path / "a.gguf")
        assert fields["adapter.lora.alpha"] > 0  # llama.cpp takes 0 for "not scaled"
        assert not changed(tensors, fields, "blk.1.attn_v.weight").any()


class TestRefusals:
    @pytest.mark.parametrize(
        ("module", "one", "message"),
        [
            ("model.layers.1.self_attn.v_proj", factors(8, 4, 2, bias=np.ones(4, np.float32)), "bias of 'model.layers"),
            ("model.layers.1.self_attn.vee", factors(8, 4, 2), "'model.layers.1.self_attn.vee', of which the base"),
            ("lm_head", factors(8, 4, 2), "'lm_head', of which the base model has no weight of its own"),
            ("model.layers.1.self_attn.v_proj", factors(16, 4, 2), "from 16 to 4 numbers, the base model's .* 8 to 4"),
            ("model.layers.1.self_attn.v_proj", factors(8, 4, 0), "changes no module"),
        ],
    )
    def test_what_the_file_cannot_say(self, module, one, message, tmp_path):
        with pytest.raises(InputError, match=message):
            gguf_format.write(LowRank({module: one}), base(**blocks(attn_v=(8, 4))), tmp_path / "a.gguf")
        assert not (tmp_path / "a.gguf").exists()

    def test_an_architecture_whose_conversion_is_not_known(self, tmp_path):
        from gguf import GGUFWriter

        writer = GGUFWriter(tmp_path / "b.gguf", "falcon")
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(InputError, match=r"architecture 'falcon'\. Known: .*llama"):
            gguf_format.save(LowRank({}), tmp_path / "b.gguf", tmp_path / "a.gguf")


class Served:
    """llama.cpp itself on a small file, asked for the next token's log probabilities."""

    def __init__(self, base: Path, *adapters: Path):
        xllamacpp = pytest.importorskip("xllamacpp")
        params = xllamacpp.CommonParams()
        params.model.path, params.n_ctx, params.n_parallel = str(base), tiny_gguf.CONTEXT, 1
        params.warmup, params.verbosity, params.cpuparams.n_threads = False, -1, 1
        params.hostnames, params.port = ["127.0.0.1"], 0
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), 1.0) for path in adapters]
        self._server = xllamacpp.Server(params)

    def logprobs(self):
        asked = {"prompt": TOKENS, "max_tokens": 1, "temperature": 0.0, "logprobs": tiny_gguf.VOCAB}
        answer = self._server.handle_completions(asked)
        rows = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        return np.array([row["logprob"] for row in sorted(rows, key=lambda row: row["id"])])


def exact(model):
    import torch

    return torch.log_softmax(model(torch.tensor([TOKENS])).logits[0, -1], -1).numpy()


def for_all_modules(model):
    """Random changes of every linear module of the layers, of several ranks, each 0.15 of its weight's norm."""
    from idiolect.training.modules import sites

    layers = model.transformer.h if hasattr(model, "transformer") else model.model.layers
    modules = {}
    for number, site in enumerate(sites(model, layers).values()):
        one = factors(site.inputs, site.outputs, 1 + number % 3, seed=number)
        size = 0.3 * float(site.module.weight.norm()) / np.linalg.norm(one.delta())
        modules[site.name] = Factors(one.a, np.float32(size) * one.b)
    return LowRank(modules, 0.5)


def put_in(model, adapter):
    import torch

    for name in adapter.modules:
        weight, delta = model.get_submodule(name).weight, torch.from_numpy(adapter.delta(name))
        weight.add_(delta.T if type(model.get_submodule(name)).__name__ == "Conv1D" else delta)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_llama_cpp_computes_what_the_changed_weights_compute(architecture, tmp_path, monkeypatch):
    pytest.importorskip("xllamacpp")
    model = tiny_gguf.make(architecture)
    gguf = tiny_gguf.write_gguf(model, architecture, tmp_path / "base.gguf")
    before = exact(model)
    assert Served(gguf).logprobs() == pytest.approx(before, abs=0.02)
    adapter = for_all_modules(model)
    put_in(model, adapter)
    after = exact(model)
    assert np.abs(after - before).max() > 0.5
    gguf_format.save(adapter, gguf, tmp_path / "adapter.gguf")
    assert Served(gguf, tmp_path / "adapter.gguf").logprobs() == pytest.approx(after, abs=0.02)
    # the other order of rows is far off, so that the assertion above can fail
    if architecture == "llama":
        monkeypatch.setattr(gguf_format, "_PAIRED", frozenset())
        monkeypatch.setattr(gguf_format, "_AS_IS", frozenset(ARCHITECTURES))
        gguf_format.save(adapter, gguf, tmp_path / "wrong.gguf")
        assert np.abs(Served(gguf, tmp_path / "wrong.gguf").logprobs() - after).max() > 0.1
