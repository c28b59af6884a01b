"""Adapters as llama.cpp reads them: a GGUF file with the factors under llama.cpp's names for the tensors they change.

A file holds ``general.type = adapter``, ``adapter.type = lora``, the base model's ``general.architecture`` and, for
each changed tensor, ``<name>.lora_a`` ``[rank, in]`` and ``<name>.lora_b`` ``[out, rank]``; llama.cpp adds
``adapter.lora.alpha / rank * lora_b lora_a``. Where the conversion of the base model moved rows of a weight, the same
rows of ``lora_b`` move.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from idiolect.errors import InputError, MissingExtra
from idiolect.models.gguf import read_header
from idiolect.training.factors import Factors, LowRank
from idiolect.types import Floats

_PAIRED = frozenset({"arcee", "granite", "llama", "minicpm", "olmo", "smollm3"})
"""Architectures whose query and key rows llama.cpp keeps in rotary pairs; Hugging Face keeps the halves apart."""
_AS_IS = frozenset(
    {
        "cohere2", "command-r", "gemma", "gemma2", "gemma3", "gpt2", "olmo2", "phi2", "phi3", "qwen2", "qwen3",
        "starcoder2",
    }
)  # fmt: skip
"""Architectures whose conversion moves no rows; GPT-2's ``[in, out]`` weights are turned, as PEFT's factors are."""


@dataclass(frozen=True, slots=True)
class Base:
    """What an adapter's file depends on: ``shapes`` are ``(in, out)`` of each tensor by llama.cpp's name."""

    architecture: str
    blocks: int
    heads: int
    kv_heads: int
    shapes: Mapping[str, tuple[int, ...]]


def base_of(gguf: Path) -> Base:
    """Read what must be known of a base model; :class:`InputError` for an architecture that is not known here."""
    header = read_header(gguf)
    architecture = str(header.meta.get("general.architecture", ""))
    if architecture not in _PAIRED | _AS_IS:
        known = ", ".join(sorted(_PAIRED | _AS_IS))
        raise InputError(f"adapters cannot be written for the architecture {architecture!r}. Known: {known}")
    blocks, heads = (int(header.meta[f"{architecture}.{key}"]) for key in ("block_count", "attention.head_count"))
    kv_heads = int(header.meta.get(f"{architecture}.attention.head_count_kv", heads))
    return Base(architecture, blocks, heads, kv_heads, {tensor.name: tensor.shape for tensor in header.tensors})


def save(adapter: LowRank, base_gguf: Path, path: Path) -> None:
    """Write an adapter for the base model in the file ``base_gguf``; raises like :func:`base_of` and :func:`write`."""
    write(adapter, base_of(base_gguf), path)


def write(adapter: LowRank, base: Base, path: Path) -> None:
    """Write an adapter for a base model, in float32.

    Raises :class:`InputError` for a bias, which such a file cannot hold, for a module that the base model does not have
    or has with another shape, and for an adapter that changes nothing.
    """
    try:
        from gguf import GGUFType, GGUFWriter
    except ImportError as error:
        raise MissingExtra("adapters in llama.cpp", "local") from error

    tensors = _tensors(adapter, base)
    writer = GGUFWriter(path, base.architecture)
    writer.add_type(GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(adapter.rank))
    for name, tensor in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(tensor, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(adapter: LowRank, base: Base) -> dict[str, Floats]:
    names, rank = _names(base.architecture, base.blocks), adapter.rank
    out: dict[str, Floats] = {}
    for module, one in adapter.modules.items():
        name = f"{names.get(module, module)}.weight"
        _check(module, one, base.shapes.get(name))
        if one.rank:
            # alpha is the largest rank for all; the adapter's own scaling, and a smaller rank's, go into the factor
            scale = np.float32(adapter.scaling * one.rank / rank)
            out[f"{name}.lora_a"] = one.a
            out[f"{name}.lora_b"] = scale * _rows(module, one.b, base)
    if not out:
        raise InputError("the adapter changes no module, so there is nothing to load")
    return out


def _check(module: str, one: Factors, shape: tuple[int, ...] | None) -> None:
    if one.bias is not None:
        raise InputError(f"the adapter changes the bias of {module!r}, which llama.cpp cannot do; train without biases")
    if shape is None:
        raise InputError(f"the adapter changes {module!r}, of which the base model has no weight of its own")
    given = one.a.shape[1], one.b.shape[0]
    if shape != given:
        raise InputError(
            f"the adapter's change of {module!r} goes from {given[0]} to {given[1]} numbers, the base model's weight "
            f"from {' to '.join(map(str, shape))}; it was made for another model"
        )


def _rows(module: str, b: Floats, base: Base) -> Floats:
    """Return the rows of ``B [out, rank]`` in the order in which llama.cpp keeps those of the weight."""
    heads = {"q_proj": base.heads, "k_proj": base.kv_heads}.get(module.rpartition(".")[2])
    if base.architecture not in _PAIRED or heads is None:
        return b
    # Hugging Face turns row i of a head with row i + half, llama.cpp turns neighbours.
    return b.reshape(heads, 2, -1, b.shape[1]).swapaxes(1, 2).reshape(b.shape)


@functools.lru_cache(maxsize=4)
def _names(architecture: str, blocks: int) -> Mapping[str, str]:
    """Return llama.cpp's name for each module, without ``.weight``."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    arch = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == architecture)
    return {module: name for module, (_, name) in get_tensor_name_map(arch, blocks).mapping.items()}
