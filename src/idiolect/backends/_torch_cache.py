"""Keys and values of a batch whose rows come and go, kept in place. Import it late: it loads PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

_ROOM = 256
"""How many tokens are reserved at most: growing by one token copies nothing while there is room."""
_DEAD = 0.25
"""Columns that no row has any more are taken out once they are this part of all."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values in a corner of larger tensors ``[rows, heads, tokens, dim]``.

    transformers' own layer copies all it holds for every new token, a third to a half of the time of a step on a CPU.
    """

    def __init__(self, keys: Any, values: Any) -> None:
        """Begin without a row, in the form of these states ``[any, heads, any, dim]``."""
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._all = [states.new_zeros(0, states.shape[1], 0, states.shape[3]) for states in (keys, values)]
        self.hold(0, 0)

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Append states ``[rows, heads, new, dim]`` and return all."""
        rows, _, new, _ = key_states.shape
        seen = self.keys.shape[-2]
        if seen + new > self._all[0].shape[-2]:
            self.reserve(rows, seen + new + _ROOM)
        for states, more in zip(self._all, (key_states, value_states), strict=True):
            states[:rows, :, seen : seen + new] = more
        self.hold(rows, seen + new)
        return self.keys, self.values

    def hold(self, rows: int, seen: int) -> None:
        """Say how many rows and columns are in use."""
        self.keys, self.values = (states[:rows, :, :seen] for states in self._all)

    def reserve(self, rows: int, room: int) -> None:
        """Make room for so many rows and columns."""
        self._all = [_wider(states, rows, room) for states in self._all]
        self.hold(*self.keys.shape[::2])

    def write(self, first: int, edge: int, keys: Any, values: Any, rows: Sequence[int]) -> None:
        """Put states ``[rows, heads, new, dim]`` into the ``rows`` after the ``first`` ones, ending at ``edge``."""
        at = [first + row for row in rows]
        for states, more in zip(self._all, (keys, values), strict=True):
            states[at, :, edge - more.shape[-2] : edge] = more

    def move(self, source: int, target: int) -> None:
        """Copy a row over another."""
        for states in (self.keys, self.values):
            states[target] = states[source]

    def keep(self, columns: Any, room: int) -> None:
        """Take out all other columns."""
        kept = [states[:, :, columns] for states in self._all]
        rows = self.keys.shape[0]
        self._all = [_wider(states, rows, room) for states in kept]
        self.hold(rows, len(columns))


class RowCache:
    """The cache of a running batch, for models in which every token attends to all before it.

    A token's column says nothing of its position, which is the number of its row's own tokens before it. So rows share
    a right edge: a row that joins ends there, whatever its length; one that is longer moves the edge and leaves a gap
    in the others, which ``mask`` hides. The last row takes the place of one that leaves.
    """

    def __init__(self) -> None:
        """Begin without a row."""
        self.past = DynamicCache()
        self.rows, self._edge = 0, 0
        self._mask = torch.zeros(0, 1, 0, 1, dtype=torch.long)  # with the axes of a layer's states

    @property
    def mask(self) -> Any:
        """Which columns are a row's own, ``[rows, columns]``."""
        return self._mask[: self.rows, 0, : self._edge, 0]

    def join(self, caches: Sequence[Any], groups: Sequence[Sequence[int]], lengths: Sequence[int], more: int) -> None:
        """Add rows that were read in groups, padded on the left; ``groups`` says which rows each cache holds.

        ``lengths`` are those of the rows; ``more`` tokens are expected to follow.
        """
        first, count = self.rows, self.rows + len(lengths)
        edge = max(self._edge, *lengths)
        if not self.past.layers:
            self.past.layers = [RoomyLayer(layer.keys, layer.values) for layer in caches[0].layers]
            self._mask = self._mask.to(caches[0].layers[0].keys.device)
        self._reserve(count, edge, min(more, _ROOM))
        for at, layer in enumerate(self.past.layers):
            for cache, rows in zip(caches, groups, strict=True):
                part = cache.layers[at]
                layer.write(first, edge, part.keys, part.values, rows)
                cache.layers[at] = None  # free it: all layers twice would be the peak
            layer.hold(count, edge)
        self._mask[first:count, :, :edge] = 0
        self._mask[:count, :, self._edge : edge] = 0
        for row, length in enumerate(lengths, first):
            self._mask[row, :, edge - length : edge] = 1
        self.rows, self._edge = count, edge

    def extend(self) -> Any:
        """Give every row one more token, and return the mask with it."""
        if self._edge == self._mask.shape[2]:
            self._mask = _wider(self._mask, self.rows, self._edge + _ROOM)
        self._mask[: self.rows, :, self._edge] = 1
        self._edge += 1
        return self.mask

    def leave(self, row: int) -> None:
        """Take out a row; the last one gets its number."""
        self.rows -= 1
        for layer in self.past.layers:
            if row < self.rows:
                layer.move(self.rows, row)
            layer.hold(self.rows, self._edge)
        self._mask[row] = self._mask[self.rows]

    def compact(self, more: int) -> None:
        """Take out the columns that no row has any more, where they are many."""
        columns = self.mask.any(dim=0).nonzero()[:, 0]
        if len(columns) > (1 - _DEAD) * self._edge:
            return
        room = len(columns) + min(more, _ROOM)
        for layer in self.past.layers:
            layer.keep(columns, room)
        self._mask = _wider(self._mask[:, :, columns], self.rows, room)
        self._edge = len(columns)

    def _reserve(self, rows: int, edge: int, more: int) -> None:
        held, _, room, _ = self._mask.shape
        if rows <= held and edge <= room:
            return
        wanted, columns = (held if rows <= held else max(rows, 2 * held)), max(room, edge + more)
        for layer in self.past.layers:
            layer.reserve(wanted, columns)
        self._mask = _wider(self._mask, wanted, columns)


def _wider(states: Any, rows: int, room: int) -> Any:
    held, heads, seen, dim = states.shape
    out = states.new_zeros(max(rows, held), heads, max(room, seen), dim)  # masked, but never multiplied as NaN
    out[:held, :, :seen] = states
    return out
