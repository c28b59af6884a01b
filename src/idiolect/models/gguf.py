"""GGUF files: read the table of tensors, and write Q4_1 weights anew as Q8_0.

Layout (ggml's docs/gguf.md): magic, version, counts, key-value pairs, tensor table, padding, data. All little-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from idiolect.errors import ModelError

F32, F16, Q4_1, Q8_0 = 0, 1, 3, 8
_FILE_TYPE_Q8_0 = 7
_BLOCK_BYTES = {F32: (1, 4), F16: (1, 2), Q4_1: (32, 20), Q8_0: (32, 34)}  # type -> (weights a block, bytes a block)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class Tensor:
    """One row of the tensor table; ``shape`` has the fastest dimension first, ``offset`` counts from the data."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of its data; :class:`ModelError` for a type this module does not know."""
        if self.type not in _BLOCK_BYTES:
            raise ModelError(f"tensor {self.name} has GGML type {self.type}, which cannot be rewritten here")
        weights, size = _BLOCK_BYTES[self.type]
        return math.prod(self.shape) // weights * size


@dataclass(frozen=True, slots=True)
class Header:
    """All that stands before the weights. ``pairs`` are the key-value bytes, ``data`` is where the weights begin."""

    meta: dict[str, Any]
    pairs: bytes
    file_type_at: int | None  # position of the value of general.file_type in `pairs`
    tensors: tuple[Tensor, ...]
    data: int
    count: int


def read_header(path: Path) -> Header:
    """Read metadata and tensor table; :class:`ModelError` where the file is not GGUF version 2 or 3."""
    with path.open("rb") as file:
        try:
            return _read_header(file)
        except (struct.error, KeyError, UnicodeDecodeError, OverflowError, MemoryError) as error:
            raise ModelError(f"{path} is a damaged GGUF file ({type(error).__name__})") from error


def _read_header(file: BinaryIO) -> Header:
    if file.read(4) != b"GGUF" or (version := _unpack(file, "I")) not in (2, 3):
        raise ModelError(f"{file.name} is not a GGUF file of version 2 or 3")
    del version
    tensor_count, pair_count = _unpack(file, "Q"), _unpack(file, "Q")
    start, meta, file_type_at = file.tell(), dict[str, Any](), None
    for _ in range(pair_count):
        key, kind = _string(file), _unpack(file, "I")
        if key == "general.file_type":
            file_type_at = file.tell() - start
        meta[key] = _value(file, kind)
    end = file.tell()
    file.seek(start)
    pairs = file.read(end - start)
    tensors = tuple(_tensor(file) for _ in range(tensor_count))
    alignment = int(meta.get("general.alignment", 32))
    return Header(meta, pairs, file_type_at, tensors, -(-file.tell() // alignment) * alignment, pair_count)


def _tensor(file: BinaryIO) -> Tensor:
    name = _string(file)
    shape = tuple(_unpack(file, "Q") for _ in range(_unpack(file, "I")))
    return Tensor(name, shape, _unpack(file, "I"), _unpack(file, "Q"))


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        element, count = _unpack(file, "I"), _unpack(file, "Q")
        return [_value(file, element) for _ in range(count)]
    return _unpack(file, _SCALARS[kind])


def _unpack(file: BinaryIO, code: str) -> Any:
    return struct.unpack("<" + code, file.read(struct.calcsize(code)))[0]


def _string(file: BinaryIO) -> str:
    return file.read(_unpack(file, "Q")).decode("utf-8", "replace")


def to_q8_0(source: Path, target: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Write ``source`` with its Q4_1 tensors as Q8_0; every other tensor is copied.

    The largest error per weight is half a step of the new scale, 1/254 of the largest weight of its block of 32.
    """
    header = read_header(source)
    alignment = int(header.meta.get("general.alignment", 32))
    table, offset = list[Tensor](), 0
    for tensor in header.tensors:
        kind = Q8_0 if tensor.type == Q4_1 else tensor.type
        table.append(Tensor(tensor.name, tensor.shape, kind, offset))
        offset += -(-table[-1].nbytes // alignment) * alignment
    with source.open("rb") as old, target.open("wb") as new:
        new.write(_head_bytes(header, table))
        for done, (before, after) in enumerate(zip(header.tensors, table, strict=True), 1):
            new.write(b"\0" * (-new.tell() % alignment))
            old.seek(header.data + before.offset)
            raw = old.read(before.nbytes)
            new.write(raw if before.type == after.type else _q8_0(_from_q4_1(raw)))
            if progress is not None:
                progress(done, len(table))
        new.write(b"\0" * (-new.tell() % alignment))


def _head_bytes(header: Header, table: list[Tensor]) -> bytes:
    pairs = bytearray(header.pairs)
    if header.file_type_at is not None:
        struct.pack_into("<I", pairs, header.file_type_at, _FILE_TYPE_Q8_0)
    out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(table), header.count) + pairs)
    for tensor in table:
        name = tensor.name.encode()
        out += struct.pack("<Q", len(name)) + name
        out += struct.pack(f"<I{len(tensor.shape)}QIQ", len(tensor.shape), *tensor.shape, tensor.type, tensor.offset)
    return bytes(out)


def _from_q4_1(raw: bytes) -> npt.NDArray[np.float32]:
    # A block holds scale d, minimum m and 32 quants q of 4 bits, the low halves first: weight = d * q + m. [blocks, 32]
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, 20)
    d, m = blocks[:, :4].copy().view(np.float16).astype(np.float32).T
    q = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1).astype(np.float32)
    weights: npt.NDArray[np.float32] = d[:, None] * q + m[:, None]
    return weights


def _q8_0(weights: npt.NDArray[np.float32]) -> bytes:
    # A block holds scale d and 32 quants of 8 bits: weight = d * q, with d = max|weight| / 127.
    d = np.abs(weights).max(axis=1) / np.float32(127)
    inverse = np.divide(1.0, d, out=np.zeros_like(d), where=d > 0)
    out = np.empty((len(weights), 34), np.uint8)
    out[:, :2] = d.astype(np.float16)[:, None].view(np.uint8)
    out[:, 2:] = np.rint(weights * inverse[:, None]).astype(np.int8).view(np.uint8)
    return out.tobytes()
