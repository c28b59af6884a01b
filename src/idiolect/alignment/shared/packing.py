"""Arrays as bytes and back, the same bytes each time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

Array = npt.NDArray[Any]
_TYPES = {"float16", "float32", "float64", "uint8", "int32", "uint32", "uint64"}


def pack(head: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Write arrays, little-endian, behind a line of JSON that also holds ``head``."""
    for name, array in arrays.items():
        assert array.dtype.name in _TYPES, f"{name}: {array.dtype}"
    told = [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()]
    line = orjson.dumps({"head": head, "arrays": told}, option=orjson.OPT_SORT_KEYS)
    parts = (np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays.values())
    return line + b"\n" + b"".join(parts)


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return what :func:`pack` wrote."""
    at = data.index(b"\n") + 1
    told = orjson.loads(data[:at])
    arrays = dict[str, Array]()
    for name, kind, shape in told["arrays"]:
        dtype = np.dtype(kind).newbyteorder("<")
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(data, dtype, count, at).reshape(shape).astype(kind)
        at += count * dtype.itemsize
    return told["head"], arrays
