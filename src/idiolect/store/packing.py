"""Arrays to bytes and back, without pickle and without copying on the way back."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

_ALIGN = 8


def pack(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return a header (JSON: name, dtype, shape) and the arrays' bytes, each aligned to 8."""
    head = orjson.dumps([[name, array.dtype.str, array.shape] for name, array in arrays.items()])
    head += b" " * (-(4 + len(head)) % _ALIGN)
    parts = [struct.pack("<I", len(head)), head]
    for array in arrays.values():
        data = np.ascontiguousarray(array).tobytes()
        parts += [data, b"\0" * (-len(data) % _ALIGN)]
    return b"".join(parts)


def unpack(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return read-only views into ``data``."""
    (size,) = struct.unpack_from("<I", data)
    at = 4 + size
    out: dict[str, npt.NDArray[Any]] = {}
    for name, dtype, shape in orjson.loads(data[4:at]):
        array = np.frombuffer(data, dtype, math.prod(shape), at).reshape(shape)
        out[name] = array
        at += array.nbytes + -array.nbytes % _ALIGN
    return out
