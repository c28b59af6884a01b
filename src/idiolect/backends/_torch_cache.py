"""Keys and values of a batch that grows token by token, kept in place. Import it late: it loads PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers.cache_utils import DynamicLayer

_ROOM = 256
"""How many tokens are reserved at most: growing by one token copies nothing while there is room."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values at the beginning of larger tensors.

    transformers' own layer copies all it holds for every new token, a third to a half of the time of a step on a CPU.
    """

    def __init__(self, keys: Any, values: Any, seen: int) -> None:
        """Take tensors ``[rows, heads, room, dim]`` of which ``seen`` positions are filled."""
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._hold(keys, values, seen)

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Append states ``[rows, heads, new, dim]`` and return all."""
        seen, new = self.keys.shape[-2], key_states.shape[-2]
        if seen + new > self._all_keys.shape[-2]:
            room = seen + new + _ROOM
            self._hold(_wider(self.keys, room), _wider(self.values, room), seen)
        self._all_keys[:, :, seen : seen + new] = key_states
        self._all_values[:, :, seen : seen + new] = value_states
        self._hold(self._all_keys, self._all_values, seen + new)
        return self.keys, self.values

    def batch_select_indices(self, indices: Any) -> None:
        """Keep these rows."""
        self._hold(self._all_keys[indices], self._all_values[indices], self.keys.shape[-2])

    def _hold(self, keys: Any, values: Any, seen: int) -> None:
        self._all_keys, self._all_values = keys, values
        self.keys, self.values = keys[:, :, :seen], values[:, :, :seen]


def merge(caches: Sequence[Any], groups: Sequence[Sequence[int]], more: int) -> Any:
    """Return one cache for rows that were read in groups, the shorter groups padded on the left.

    ``groups`` says which rows of the batch each cache holds; ``more`` tokens are expected. A single cache of another
    kind (sliding windows, states) comes back as it is.
    """
    into = caches[0]
    if any(type(layer) is not DynamicLayer for layer in getattr(into, "layers", (None,))):
        assert len(caches) == 1, "only caches of full attention can be merged"
        return into
    width = max(cache.get_seq_length() for cache in caches)
    room = width + min(more, _ROOM)
    for at in range(len(into.layers)):
        parts = [cache.layers[at] for cache in caches]
        keys, values = ([getattr(part, name) for part in parts] for name in ("keys", "values"))
        into.layers[at] = RoomyLayer(_joined(keys, groups, width, room), _joined(values, groups, width, room), width)
        for cache in caches[1:]:
            cache.layers[at] = None  # free it: all layers twice would be the peak
    return into


def _joined(parts: Sequence[Any], groups: Sequence[Sequence[int]], width: int, room: int) -> Any:
    _, heads, _, dim = parts[0].shape
    out = parts[0].new_zeros(sum(map(len, groups)), heads, room, dim)  # zeros: masked, but never multiplied as NaN
    for part, rows in zip(parts, groups, strict=True):
        out[list(rows), :, width - part.shape[-2] : width] = part
    return out


def _wider(states: Any, room: int) -> Any:
    rows, heads, seen, dim = states.shape
    out = states.new_zeros(rows, heads, room, dim)
    out[:, :, :seen] = states
    return out
