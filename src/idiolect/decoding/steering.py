"""Steering the residual stream of a PyTorch model, and reading it, through hooks that are always removed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from idiolect.errors import InputError
from idiolect.types import Floats, Steer


@dataclass(frozen=True)
class Addition:
    """What the last ``n`` positions of a layer's output get: tensors, each of them absent where no row has any.

    ``constant [rows, n, hidden]`` is added as it is. Of ``directions [rows, k, hidden]`` each is added as often as its
    product with the output says, times ``strengths [rows, n, k]``.
    """

    constant: Any = None
    directions: Any = None
    strengths: Any = None

    @property
    def positions(self) -> int:
        """How many positions get something."""
        given = self.strengths if self.constant is None else self.constant
        return int(given.shape[1])

    def of(self, rows: Any) -> Addition:
        """Return what some rows get, by an index ``[some]``."""
        return Addition(*(None if part is None else part[rows] for part in self._parts))

    def over(self, here: Any) -> Addition:
        """Return what is for one position at the positions where ``here [rows, n, 1]`` is true, nothing at others."""
        constant, directions, strengths = self._parts
        return Addition(
            None if constant is None else constant * here, directions, None if strengths is None else strengths * here
        )

    def to(self, states: Any) -> Any:
        """Return the states ``[rows, n, hidden]`` with what they get; products are taken in float32."""
        changed = states
        if self.constant is not None:
            changed = changed + self.constant
        if self.directions is not None:
            shares = (states.float() @ self.directions.mT) * self.strengths  # [rows, n, k]
            changed = changed + (shares @ self.directions).to(states.dtype)
        return changed

    @property
    def _parts(self) -> tuple[Any, Any, Any]:
        return self.constant, self.directions, self.strengths


def vectors(rows: Sequence[Sequence[Steer]], layers: int, hidden: int) -> dict[int, Floats]:
    """Return what is added after each layer, ``{layer: [rows, hidden]}``; layers that get nothing are not named.

    Several vectors for one layer add up. Raises :class:`InputError` for a layer that the model does not have or a
    vector of another width.
    """
    out: dict[int, Floats] = {}
    for row, steer in _acting(rows, layers, hidden, along=False):  # a sum with zeros would turn -0.0 into 0.0
        sums = out.setdefault(steer.layer, np.zeros((len(rows), hidden), np.float32))
        sums[row] += np.float32(steer.strength) * steer.vector
    return out


def directions(rows: Sequence[Sequence[Steer]], layers: int, hidden: int) -> dict[int, tuple[Floats, Floats]]:
    """Return the vectors along which layers are stretched, and by how much: ``[rows, k, hidden]`` and ``[rows, k]``.

    ``k`` is the most that one row has at that layer; others have zeros. Raises as :func:`vectors` does.
    """
    found: dict[int, list[list[Steer]]] = {}
    for row, steer in _acting(rows, layers, hidden, along=True):
        found.setdefault(steer.layer, [[] for _ in rows])[row].append(steer)
    out: dict[int, tuple[Floats, Floats]] = {}
    for layer, each in found.items():
        most = max(map(len, each))
        stacked, strengths = np.zeros((len(rows), most, hidden), np.float32), np.zeros((len(rows), most), np.float32)
        for row, steering in enumerate(each):
            for place, steer in enumerate(steering):
                stacked[row, place], strengths[row, place] = steer.vector, steer.strength
        out[layer] = stacked, strengths
    return out


def _acting(rows: Sequence[Sequence[Steer]], layers: int, hidden: int, *, along: bool) -> Iterator[tuple[int, Steer]]:
    for row, steering in enumerate(rows):
        for steer in steering:
            if not 0 <= steer.layer < layers:
                raise InputError(f"there is no layer {steer.layer} to steer; the model has layers 0 to {layers - 1}")
            if steer.vector.shape != (hidden,):
                raise InputError(f"a steering vector of shape {steer.vector.shape} does not fit a width of {hidden}")
            if steer.strength and steer.along == along:
                yield row, steer


@contextmanager
def steered(layers: Sequence[Any], additions: Mapping[int, Addition]) -> Iterator[None]:
    """Change the last positions of layers' outputs.

    Only the passes of the thread that entered are steered. The hooks are gone when the block is left, however it is.
    """

    def adding(addition: Addition) -> Callable[[Any], Any]:
        def change(hidden: Any) -> Any:
            changed, start = hidden.clone(), hidden.shape[1] - addition.positions
            changed[:, start:] = addition.to(hidden[:, start:])
            return changed

        return change

    with ExitStack() as stack:
        for layer, addition in additions.items():
            if addition.positions:
                stack.enter_context(_hook(layers[layer], adding(addition)))
        yield


@contextmanager
def watched(layers: Sequence[Any], layer: int) -> Iterator[list[Any]]:
    """Collect the outputs ``[rows, positions, hidden]`` of a layer, one for each pass of this thread.

    Entered inside :func:`steered`, it sees what was added.
    """
    seen: list[Any] = []
    with _hook(layers[layer], seen.append):
        yield seen


@contextmanager
def _hook(module: Any, change: Callable[[Any], Any]) -> Iterator[None]:
    owner = threading.get_ident()

    def hook(_module: Any, _inputs: Any, output: Any) -> Any:
        if threading.get_ident() != owner:  # another thread's pass through the same weights
            return None
        if not isinstance(output, tuple):
            return change(output)
        changed = change(output[0])
        return None if changed is None else (changed, *output[1:])

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
