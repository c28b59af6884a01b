"""Adding vectors to the residual stream of a PyTorch model, and reading it, through hooks that are always removed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from idiolect.errors import InputError
from idiolect.types import Floats, Steer


def vectors(rows: Sequence[Sequence[Steer]], layers: int, hidden: int) -> dict[int, Floats]:
    """Return what is added after each layer, ``{layer: [rows, hidden]}``; layers that get nothing are not named.

    Several vectors for one layer add up. Raises :class:`InputError` for a layer that the model does not have or a
    vector of another width.
    """
    out: dict[int, Floats] = {}
    for row, steering in enumerate(rows):
        for steer in steering:
            if not 0 <= steer.layer < layers:
                raise InputError(f"there is no layer {steer.layer} to steer; the model has layers 0 to {layers - 1}")
            if steer.vector.shape != (hidden,):
                raise InputError(f"a steering vector of shape {steer.vector.shape} does not fit a width of {hidden}")
            if steer.strength:  # a sum with zeros would turn -0.0 into 0.0
                sums = out.setdefault(steer.layer, np.zeros((len(rows), hidden), np.float32))
                sums[row] += np.float32(steer.strength) * steer.vector
    return out


@contextmanager
def steered(layers: Sequence[Any], additions: Mapping[int, Any]) -> Iterator[None]:
    """Add tensors ``[rows, n, hidden]`` to the last ``n`` positions of their layers' outputs.

    Only the passes of the thread that entered are steered. The hooks are gone when the block is left, however it is.
    """

    def adding(addition: Any) -> Callable[[Any], Any]:
        def change(hidden: Any) -> Any:
            changed = hidden.clone()
            changed[:, hidden.shape[1] - addition.shape[1] :] += addition
            return changed

        return change

    with ExitStack() as stack:
        for layer, addition in additions.items():
            if addition.shape[1]:
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
