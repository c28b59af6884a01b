"""Equality of values that hold arrays."""

from __future__ import annotations

import numpy as np


class Equal:
    """The equality of a dataclass with ``eq=False``, for fields that may be arrays.

    Arrays compare element by element and give no verdict; here they are equal with the same shape and elements.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        fields = self.__dataclass_fields__  # type: ignore[attr-defined]
        return all(_equal(getattr(self, name), getattr(other, name)) for name in fields if fields[name].compare)

    __hash__ = None  # type: ignore[assignment]  # mappings and arrays have none


def _equal(one: object, two: object) -> bool:
    if isinstance(one, np.ndarray) or isinstance(two, np.ndarray):
        return isinstance(one, np.ndarray) and isinstance(two, np.ndarray) and np.array_equal(one, two)
    return one is two or bool(one == two)
