"""ONNX files whose 8-bit weights are multiplied as floats: rewritten so that the multiplication is in 8 bits too.

Only the few protobuf fields that this needs are understood (onnx.proto: ``ModelProto``, ``GraphProto``, ``NodeProto``,
``TensorProto``); everything else is copied byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from idiolect.errors import ModelError

_GRAPH, _OPSET = 7, 8  # of ModelProto
_NODE, _INITIALIZER = 1, 5  # of GraphProto
_INPUT, _OUTPUT, _NAME, _OP, _DOMAIN = 1, 2, 3, 4, 7  # of NodeProto
_DIMS, _TENSOR_NAME, _RAW = 1, 8, 9  # of TensorProto
_CONTRIB = b"com.microsoft"

Field = tuple[int, int, int | bytes]
"""``(number, wire type, value)``; wire type 0 is a number, all others are bytes."""


def to_dynamic_int8(source: Path, target: Path) -> int:
    """Write ``source`` with each float product of an 8-bit weight as one dynamically quantised product.

    Such a weight stands in the graph as ``MatMul(x, Mul(Cast(q), scale))``. It loses its last bit: sums of two
    products of 8 bits overflow on processors without VNNI, those of 8 and 7 bits do not. Returns the number of
    products rewritten; :class:`ModelError` where there is none.
    """
    try:
        model = list(_fields(source.read_bytes()))
        graph = next(bytes(value) for number, _, value in model if number == _GRAPH and isinstance(value, bytes))
        new_graph, count = _rewritten(list(_fields(graph)))
    except (IndexError, StopIteration, KeyError, ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"{source} is not an ONNX file that can be rewritten ({type(error).__name__})") from error
    if not count:
        raise ModelError(f"{source} has no 8-bit weight that is multiplied as floats")
    kept: list[Field] = [(n, wire, new_graph if n == _GRAPH else value) for n, wire, value in model]
    kept.append((_OPSET, 2, _bytes([(1, 2, _CONTRIB), (2, 0, 1)])))
    target.write_bytes(_bytes(kept))
    return count


def _rewritten(graph: list[Field]) -> tuple[bytes, int]:
    nodes = {at: list(_fields(_blob(value))) for at, (number, _, value) in enumerate(graph) if number == _NODE}
    maker = {_all(node, _OUTPUT)[0]: node for node in nodes.values()}
    weights = dict[bytes, bytes]()  # name of the 8-bit weight -> name of its scale
    replaced, unused = dict[int, bytes](), set[bytes]()
    for at, node in nodes.items():
        scaled = maker.get(_all(node, _INPUT)[-1]) if _one(node, _OP) == b"MatMul" else None
        if scaled is None or _one(scaled, _OP) != b"Mul":
            continue
        cast_name, scale = _all(scaled, _INPUT)
        cast = maker.get(cast_name)
        if cast is None or _one(cast, _OP) != b"Cast":
            continue
        (weight,) = _all(cast, _INPUT)
        weights[weight] = scale
        unused |= {cast_name, _all(scaled, _OUTPUT)[0]}
        replaced[at] = _product(node, weight, scale)
    return _bytes(_swapped(graph, nodes, replaced, unused, weights)), len(replaced)


def _swapped(
    graph: list[Field],
    nodes: dict[int, list[Field]],
    replaced: dict[int, bytes],
    unused: set[bytes],
    weights: dict[bytes, bytes],
) -> Iterator[Field]:
    scales = set(weights.values())
    for at, (number, wire, value) in enumerate(graph):
        if at in replaced:
            yield number, wire, replaced[at]
        elif at in nodes and _all(nodes[at], _OUTPUT)[0] in unused:
            continue
        elif number == _INITIALIZER:
            tensor = list(_fields(_blob(value)))
            name = _one(tensor, _TENSOR_NAME)
            if name in weights:
                tensor = _with_raw(tensor, np.rint(np.frombuffer(_one(tensor, _RAW), np.int8) / 2).astype(np.int8))
            elif name in scales:
                tensor = _with_raw(tensor, np.frombuffer(_one(tensor, _RAW), "<f4") * np.float32(2))
                size = len(_one(tensor, _RAW)) // 4
                tensor = [(_DIMS, 0, size), *(field for field in tensor if field[0] != _DIMS)]  # [columns]
            yield number, wire, _bytes(tensor)
        else:
            yield number, wire, value


def _product(node: list[Field], weight: bytes, scale: bytes) -> bytes:
    texts = [(_INPUT, _all(node, _INPUT)[0]), (_INPUT, weight), (_INPUT, scale), (_OUTPUT, _all(node, _OUTPUT)[0])]
    texts += [(_NAME, _one(node, _NAME)), (_OP, b"DynamicQuantizeMatMul"), (_DOMAIN, _CONTRIB)]
    return _bytes((number, 2, text) for number, text in texts)


def _with_raw(tensor: list[Field], data: npt.NDArray[Any]) -> list[Field]:
    return [(number, wire, data.tobytes() if number == _RAW else value) for number, wire, value in tensor]


def _fields(data: bytes) -> Iterator[Field]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}[wire]
        if at + size > len(data):
            raise ValueError("a field ends after the file")
        yield number, wire, data[at : at + size]
        at += size


def _bytes(fields: Iterable[Field]) -> bytes:
    out = bytearray()
    for number, wire, value in fields:
        out += _number(number << 3 | wire)
        if isinstance(value, int):
            out += _number(value)
        else:
            out += (_number(len(value)) if wire == 2 else b"") + value
    return bytes(out)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _blob(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
    return value


def _all(fields: list[Field], number: int) -> list[bytes]:
    return [_blob(value) for n, _, value in fields if n == number]


def _one(fields: list[Field], number: int) -> bytes:
    return next(iter(_all(fields, number)), b"")
