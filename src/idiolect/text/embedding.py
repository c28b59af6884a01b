"""Texts to unit vectors: MiniLM through ONNX, or static word vectors.

A text without any token (empty, or white space alone) gets the zero vector: it is similar to nothing, itself included.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from idiolect import models
from idiolect.errors import ConfigError, MissingExtra, ModelError
from idiolect.types import Embedder, Floats

MAX_TOKENS = 256
"""Longer texts are cut; what MiniLM was trained with."""
_REMEMBERED = 512
_NAMES = {"minilm": "minilm", "static": "wordllama"}


def load_embedder(name: str = "minilm", *, threads: int = 1) -> Embedder | None:
    """Return the embedder ``minilm``, ``static`` or at a path, or ``None`` for ``none``.

    A path is an ONNX or a safetensors file, or a folder with a ``model.onnx``; ``tokenizer.json`` stands beside it.
    The weights are read on first use. Raises :class:`ModelError` where they are not on this machine and
    :class:`MissingExtra` where the packages are not.
    """
    if name == "none":
        return None
    if name not in _NAMES and not ("/" in name or "\\" in name or Path(name).exists()):
        raise ConfigError(f"no embedder named {name!r}; choose minilm, static, none or give a path")
    path = models.require(_NAMES.get(name, name))
    if path.is_dir():
        path = path / "model.onnx"
    if path.suffix == ".safetensors":
        return StaticEmbedder(path, label=name)
    return OnnxEmbedder(path, label=name, threads=threads)


class _Cached:
    # Single texts are queries, and come again: their vectors are remembered by a hash of the text, never by the text.
    def __init__(self, path: Path, label: str) -> None:
        self.path = path
        self._label = path.parent.name if label == str(path) else label
        self._lock = threading.Lock()
        self._seen: OrderedDict[bytes, Floats] = OrderedDict()
        self._fingerprint = ""

    @property
    def fingerprint(self) -> str:
        """Name and content hash of the weights."""
        if not self._fingerprint:
            self._fingerprint = f"{self._label}@{models.digest(self.path)[:12]}"
        return self._fingerprint

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return ``[len(texts), dim]`` unit vectors; thread-safe."""
        if len(texts) != 1:
            return self._embed(texts)
        key = hashlib.blake2b(texts[0].encode("utf-8", "replace"), digest_size=16).digest()
        with self._lock:
            known = self._seen.get(key)
            if known is not None:
                self._seen.move_to_end(key)
                return known.copy()
        made = self._embed(texts)
        with self._lock:
            self._seen[key] = made.copy()
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        return made

    def _embed(self, texts: Sequence[str]) -> Floats:
        raise NotImplementedError


class OnnxEmbedder(_Cached):
    """A BERT-like encoder: mean of the last hidden states over the tokens, then unit length."""

    def __init__(self, path: Path, *, label: str = "", threads: int = 1) -> None:
        super().__init__(path, label or str(path))
        _need("onnxruntime", "tokenizers")
        self._threads = threads
        self._loaded: tuple[Any, Any, list[str], int] | None = None

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._load()[3]

    def _load(self) -> tuple[Any, Any, list[str], int]:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._open()
            return self._loaded

    def _open(self) -> tuple[Any, Any, list[str], int]:
        onnxruntime = _onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = self._threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = False  # the arena keeps the memory of the largest batch for good
        options.log_severity_level = 3
        tokenizer = _tokenizer(self.path)
        tokenizer.enable_truncation(MAX_TOKENS)
        tokenizer.no_padding()
        try:
            session = onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors have no common base
            raise ModelError(
                f"{self.path} cannot be loaded ({type(error).__name__}). Is it a whole ONNX file?"
            ) from error
        shape = session.get_outputs()[0].shape
        if len(shape) != 3 or not isinstance(shape[2], int):
            raise ModelError(f"{self.path} gives {shape}, not hidden states [batch, tokens, dim]")
        return session, tokenizer, [given.name for given in session.get_inputs()], shape[2]

    def _embed(self, texts: Sequence[str]) -> Floats:
        # One text a pass. A batch would quantise each text by what stands beside it, giving the same text other
        # vectors (cosines down to 0.975), and on one thread it is slower: long texts leave the cache.
        session, tokenizer, names, dim = self._load()
        vectors = np.zeros((len(texts), dim), np.float32)
        said = [n for n, text in enumerate(texts) if text.strip()]
        for n, encoded in zip(said, tokenizer.encode_batch_fast([texts[n] for n in said]), strict=True):
            ids = np.array([encoded.ids], np.int64)  # [1, tokens]
            given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            hidden = session.run(None, {name: given[name] for name in names})[0]  # [1, tokens, dim]
            vectors[n] = hidden[0].mean(axis=0)
        return _unit(vectors)


class StaticEmbedder(_Cached):
    """The mean of static token vectors, then unit length; numpy alone once the tokens are known."""

    def __init__(self, path: Path, *, label: str = "") -> None:
        super().__init__(path, label or str(path))
        _need("tokenizers")
        self._loaded: tuple[Floats, Any] | None = None

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._load()[0].shape[1])

    def _load(self) -> tuple[Floats, Any]:
        with self._lock:
            if self._loaded is None:
                tokenizer = _tokenizer(self.path)
                tokenizer.no_truncation()
                tokenizer.no_padding()
                self._loaded = read_vectors(self.path), tokenizer
            return self._loaded

    def _embed(self, texts: Sequence[str]) -> Floats:
        table, tokenizer = self._load()
        vectors = np.zeros((len(texts), table.shape[1]), np.float32)
        for row, encoded in enumerate(tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)):
            if encoded.ids and texts[row].strip():
                vectors[row] = table[encoded.ids].mean(axis=0, dtype=np.float32)
        return _unit(vectors)


def read_vectors(path: Path) -> Floats:
    """Return the one matrix ``[vocabulary, dim]`` of a safetensors file, as it is stored (float16 or float32)."""
    with path.open("rb") as file:
        try:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size)) if size < 1 << 24 else {}
            (entry,) = (value for name, value in header.items() if name != "__metadata__")
            kind = {"F16": "<f2", "F32": "<f4"}[entry["dtype"]]
            rows, columns = entry["shape"]
            start = 8 + size + entry["data_offsets"][0]
            return np.memmap(path, kind, "r", start, (rows, columns))
        except (struct.error, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is not a safetensors file with one matrix of vectors") from error


def _onnxruntime() -> Any:
    """Import onnxruntime with its reporting to the vendor off.

    Official builds since 1.29 write a device id and upload events unless this variable is set before the import.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return unit


def _tokenizer(weights: Path) -> Any:
    import tokenizers

    path = weights.with_name("tokenizer.json")
    if not path.is_file():
        raise ModelError(f"there is no tokenizer.json beside {weights}")
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelError(f"{path} is not a tokenizer ({type(error).__name__})") from error


def _need(*packages: str) -> None:
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtra("embedding texts on this machine", "local")
