"""The factors of all people in training, one row a person, and AdamW over them: no row knows of another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from idiolect.training import _torch_adam as adam
from idiolect.training.factors import Factors, LowRank, truncated
from idiolect.training.modules import Site
from idiolect.types import Floats


@dataclass(frozen=True, slots=True)
class _Part:
    # where a module's factors stand in a row
    start: int
    rank: int
    inputs: int
    outputs: int

    @property
    def middle(self) -> int:
        return self.start + self.rank * self.inputs

    @property
    def end(self) -> int:
        return self.middle + self.outputs * self.rank


class Stack:
    """Factors ``[places, numbers]`` in float32 with gradients and moments of the same shape."""

    def __init__(self, sites: Mapping[str, Site], rank: int, places: int, device: Any, seed: int) -> None:
        self.parts: dict[str, _Part] = {}
        end = 0
        for name, site in sites.items():
            self.parts[name] = _Part(end, rank, site.inputs, site.outputs)
            end = self.parts[name].end
        self.values, self.gradients, self._first, self._second = (
            torch.zeros(places, end, device=device) for _ in range(4)
        )
        self._start = self._initial(seed)
        self._origins: Any = None

    def factors(self, name: str) -> tuple[Any, Any, Any, Any]:
        """Return a module's ``a`` ``[places, rank, in]``, ``b`` ``[places, rank, out]`` and their gradients."""
        part = self.parts[name]
        return tuple(
            table[:, start:stop].view(len(table), *shape)
            for table in (self.values, self.gradients)
            for start, stop, shape in (
                (part.start, part.middle, (part.rank, part.inputs)),
                (part.middle, part.end, (part.rank, part.outputs)),
            )
        )

    def reset(self, place: int, start: LowRank | None, scaling: float, anchored: bool) -> None:
        """Begin anew in a place: no change of the model, or the one to go on from; nothing is left of who was there."""
        self.values[place] = self._start if start is None else self._read(start, scaling)
        for table in (self.gradients, self._first, self._second):
            table[place] = 0
        if anchored:
            if self._origins is None:
                self._origins = torch.zeros_like(self.values)
            self._origins[place] = self.values[place]

    def step(
        self, places: Sequence[int], rates: Sequence[float], counts: Sequence[int], clip: float, decay: float,
        proximal: float,
    ) -> None:  # fmt: skip
        """Make one step of AdamW in some places, each with its own rate and its own number ``counts`` of steps so far.

        The gradient of a place is cut to the norm ``clip`` (0: as it is) and is 0 afterwards.
        """
        for place, rate, count in zip(places, rates, counts, strict=True):
            value, gradient = self.values[place], self.gradients[place]
            if proximal:
                gradient.add_(value, alpha=proximal).sub_(self._origins[place], alpha=proximal)
            adam.step(value, gradient, (self._first[place], self._second[place]), rate, count, clip, decay)
            gradient.zero_()

    def copy(self, place: int) -> Any:
        """Return a copy of a place's factors."""
        return self.values[place].clone()

    def state(self, place: int) -> Floats:
        """Return factors and moments of a place, ``[3, numbers]``."""
        rows = torch.stack([table[place] for table in (self.values, self._first, self._second)])
        out: Floats = rows.cpu().numpy()
        return out

    def bring_back(self, place: int, state: Floats) -> None:
        """Inverse of :meth:`state`."""
        for table, row in zip((self.values, self._first, self._second), state, strict=True):
            table[place] = torch.from_numpy(np.array(row)).to(table.device)

    def adapter(self, row: Any, scaling: float, base_model: str) -> LowRank:
        """Return the adapter that a row of numbers ``[numbers]`` stands for."""
        numbers = row.cpu().numpy()
        found = {}
        for name, part in self.parts.items():
            a = numbers[part.start : part.middle].reshape(part.rank, part.inputs)
            b = numbers[part.middle : part.end].reshape(part.rank, part.outputs)
            found[name] = Factors(a, np.ascontiguousarray(b.T))
        return LowRank(found, scaling, base_model)

    def _initial(self, seed: int) -> Any:
        # A uniform within 1 / sqrt(in), as PEFT draws it; B zero, so that training starts from the model as it is.
        rng = np.random.default_rng(seed)
        row = np.zeros(self.values.shape[1], np.float32)
        for part in self.parts.values():
            bound = 1 / math.sqrt(part.inputs)
            row[part.start : part.middle] = rng.uniform(-bound, bound, part.middle - part.start)
        return torch.from_numpy(row).to(self.values.device)

    def _read(self, start: LowRank, scaling: float) -> Any:
        # What the other adapter does not change begins as if anew; a larger rank is cut, a smaller one filled up.
        row = self._start.clone()
        rank = next(iter(self.parts.values())).rank
        cut = truncated(start, rank) if start.rank > rank else start
        for name, part in self.parts.items():
            if name not in cut.modules:
                continue
            one = cut.modules[name]
            a = row[part.start : part.middle].view(part.rank, part.inputs)
            b = row[part.middle : part.end].view(part.rank, part.outputs)
            a[: one.rank] = torch.from_numpy(one.a)
            b[: one.rank] = torch.from_numpy((one.b * np.float32(cut.scaling / scaling)).T)
        return row
