"""A decoder read in two parts: the frozen trunk once for each text, the changed layers above it at every step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

_AGREE = 1e-3
"""Relative difference up to which the parts count as the whole."""


class Decoder:
    """The decoder of a causal language model without its head; ``first`` is the lowest changed layer.

    What it is given are keyword arguments of the model's own: ids or embeddings, and a mask or none.
    """

    def __init__(self, model: Any, layers: Sequence[Any], first: int) -> None:
        self._model, self._layers, self.first = model.base_model, layers, first
        self._tuples = False

    def whole(self, given: Mapping[str, Any]) -> Any:
        """Return the states ``[rows, positions, hidden]`` that the head reads."""
        return self._model(**given, use_cache=False).last_hidden_state

    def lower(self, given: Mapping[str, Any]) -> Any:
        """Return what the lowest changed layer reads, ``[rows, positions, hidden]``, without gradients."""
        seen: list[Any] = []
        with torch.no_grad(), _skipped(self._layers[self.first :], lambda states: self._end(states, seen)):
            self.whole(given)
        return seen[0]

    def upper(self, given: Mapping[str, Any], states: Any) -> Any:
        """Return what :meth:`whole` returns, where the trunk's output is known."""
        with _skipped(self._layers[: self.first], lambda _: self._shape(states)):
            return self.whole(given)

    def splits(self, given: Mapping[str, Any]) -> bool:
        """Whether the two parts give what the whole gives: some families pass more than states between layers."""
        if not 0 < self.first < len(self._layers):
            return False
        with torch.no_grad():
            whole = self.whole(given)
            for self._tuples in (False, True):
                try:
                    parts = self.upper(given, self.lower(given))
                except (TypeError, AttributeError, ValueError, IndexError, RuntimeError):
                    continue  # layers of this family hand on another shape
                if float((parts - whole).norm()) <= _AGREE * float(whole.norm()):
                    return True
        return False

    def _end(self, states: Any, seen: list[Any]) -> Any:
        if not seen:
            seen.append(states)
        return self._shape(states)

    def _shape(self, states: Any) -> Any:
        return (states,) if self._tuples else states


@contextmanager
def _skipped(layers: Sequence[Any], instead: Callable[[Any], Any]) -> Iterator[None]:
    """Let layers hand on what ``instead`` makes of their input, in the passes of this thread."""
    owner = threading.get_ident()

    def forward_of(own: Callable[..., Any]) -> Callable[..., Any]:
        def forward(hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != owner:
                return own(hidden_states, *args, **kwargs)
            return instead(hidden_states)

        return forward

    patched = []
    try:
        for layer in layers:
            layer.forward = forward_of(layer.forward)
            patched.append(layer)
        yield
    finally:
        for layer in patched:
            del layer.forward
