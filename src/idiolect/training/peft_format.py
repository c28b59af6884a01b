"""Adapters as PEFT keeps them: safetensors with PEFT's names, and ``adapter_config.json`` beside them.

In the store the configuration stands in the safetensors' own metadata, so that one blob is a whole adapter; a folder
made of it loads in PEFT and vLLM.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from idiolect.errors import InputError, MissingExtra
from idiolect.training.factors import Factors, LowRank

PREFIX = "base_model.model."
_CONFIG, _BASE = "adapter_config", "base_model"
_NAME = re.compile(r"^(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<part>A|B)\.(?P<what>weight|bias)$")


def dump(adapter: LowRank, dtype: str = "float32") -> bytes:
    """Return an adapter as one blob; numbers are rounded to ``dtype`` (``float32`` or ``float16``)."""
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise MissingExtra("writing adapters", "transformers") from error
    tensors: dict[str, Any] = {}
    for module, one in adapter.modules.items():
        tensors[f"{PREFIX}{module}.lora_A.weight"] = np.ascontiguousarray(one.a, dtype)
        tensors[f"{PREFIX}{module}.lora_B.weight"] = np.ascontiguousarray(one.b, dtype)
        if one.bias is not None:
            tensors[f"{PREFIX}{module}.lora_B.bias"] = np.ascontiguousarray(one.bias, dtype)
    config = orjson.dumps(config_of(adapter)).decode()
    return _ordered(save(tensors, metadata={"format": "pt", _BASE: adapter.base_model, _CONFIG: config}))


def load(data: bytes) -> LowRank:
    """Inverse of :func:`dump`, and of what PEFT saved with its configuration; :class:`InputError` for anything else."""
    try:
        from safetensors.numpy import load as load_tensors
    except ImportError as error:
        raise MissingExtra("reading adapters", "transformers") from error
    try:
        head = _metadata(data)
        tensors = load_tensors(data)
    except Exception as error:  # the library raises its own kind for whatever is no safetensors
        raise InputError(f"these bytes are no adapter in safetensors form ({error})") from error
    return read(tensors, orjson.loads(head.get(_CONFIG, "{}")), head.get(_BASE, ""))


def read(tensors: Mapping[str, Any], config: Mapping[str, Any], base_model: str = "") -> LowRank:
    """Return the adapter that PEFT's tensors and configuration describe.

    Raises :class:`InputError` where a tensor is not LoRA's, or modules are scaled differently.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        match = _NAME.match(name)
        if match is None:
            raise InputError(f"{name!r} is no factor of a LoRA adapter; only such adapters can be read")
        key = match["part"] if match["what"] == "weight" else "bias"
        found.setdefault(match["module"], {})[key] = np.asarray(tensor, np.float32)
    modules = {}
    for module, parts in found.items():
        if not {"A", "B"} <= parts.keys() or len(parts["A"]) != parts["B"].shape[1]:
            raise InputError(f"the factors of {module!r} do not belong together")
        modules[module] = Factors(parts["A"], parts["B"], parts.get("bias"))
    return LowRank(modules, _scaling(config, modules), base_model)


def config_of(adapter: LowRank, base_name: str = "") -> dict[str, Any]:
    """Return PEFT's configuration; ``base_name`` is what the loading program calls the base model."""
    ranks = {module: one.rank for module, one in adapter.modules.items()}
    rank = adapter.rank
    odd = {module: value for module, value in ranks.items() if value != rank}
    return {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base_name, "inference_mode": True,
        "r": rank, "lora_alpha": adapter.scaling * rank, "target_modules": sorted(adapter.modules), "bias": "none",
        "lora_bias": any(one.bias is not None for one in adapter.modules.values()), "lora_dropout": 0.0,
        "fan_in_fan_out": False, "use_rslora": False, "use_dora": False, "modules_to_save": None,
        "rank_pattern": odd, "alpha_pattern": {module: adapter.scaling * value for module, value in odd.items()},
    }  # fmt: skip


def rebased(data: bytes, base_model: str) -> bytes:
    """Return a blob of :func:`dump` with the same weights as a change of another model."""
    return _headed(data, {**_metadata(data), _BASE: base_model})


def config_in(data: bytes) -> dict[str, Any] | None:
    """Return the configuration that :func:`dump` put into a blob, ``None`` where it is no such blob.

    The weights are not read, and no library is needed.
    """
    size = int.from_bytes(data[:8], "little")
    if not 0 < size <= len(data) - 8:
        return None
    try:
        config = orjson.loads(_metadata(data)[_CONFIG])
    except (orjson.JSONDecodeError, KeyError, AttributeError, TypeError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def save_folder(data: bytes, folder: Path, base_name: str) -> Path:
    """Write a blob as a PEFT folder, and return it."""
    adapter = load(data)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(data)
    config = orjson.dumps(config_of(adapter, base_name), option=orjson.OPT_INDENT_2)
    (folder / "adapter_config.json").write_bytes(config)
    return folder


def load_folder(folder: Path, base_model: str = "") -> LowRank:
    """Read a PEFT folder, whoever wrote it."""
    from safetensors.numpy import load as load_tensors

    config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    if not config.is_file() or not weights.is_file():
        raise InputError(f"{folder} is no PEFT adapter: it needs adapter_config.json and adapter_model.safetensors")
    data = weights.read_bytes()
    named = base_model or _metadata(data).get(_BASE, "")
    return read(load_tensors(data), orjson.loads(config.read_bytes()), named)


def _scaling(config: Mapping[str, Any], modules: Mapping[str, Factors]) -> float:
    if not modules:
        return 1.0
    root = bool(config.get("use_rslora"))
    alphas, alpha = dict(config.get("alpha_pattern") or {}), float(config.get("lora_alpha", 0.0))
    scalings = set()
    for module, one in modules.items():
        own = next((float(a) for name, a in alphas.items() if module == name or module.endswith(f".{name}")), alpha)
        scalings.add(round((own or one.rank) / (one.rank**0.5 if root else one.rank), 9))
    if len(scalings) > 1:
        raise InputError(f"modules of the adapter are scaled differently ({sorted(scalings)}); that cannot be read")
    return scalings.pop()


def _ordered(data: bytes) -> bytes:
    # The library writes the metadata in an order that differs from process to process; what is alike must be alike.
    return _headed(data, _metadata(data))


def _headed(data: bytes, metadata: Mapping[str, str]) -> bytes:
    size = int.from_bytes(data[:8], "little")
    head = orjson.loads(data[8 : 8 + size]) | {"__metadata__": dict(sorted(metadata.items()))}
    written = orjson.dumps(head)
    written += b" " * (-len(written) % 8)
    return len(written).to_bytes(8, "little") + written + data[8 + size :]


def _metadata(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:8], "little")
    return dict(orjson.loads(data[8 : 8 + size]).get("__metadata__") or {})
