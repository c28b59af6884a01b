"""People's vectors in training, the passes that they are trained by, and the bias that a finished one stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from idiolect.trainable import Recipe
from idiolect.training import _torch_adam as adam
from idiolect.training import peft_format
from idiolect.training._torch_loss import rows_loss
from idiolect.training._torch_lowrank import Change, beneath_of, product, replaced
from idiolect.training._torch_rows import head_of, inputs_of
from idiolect.training._torch_trunk import Decoder
from idiolect.training.factors import Factors, LowRank
from idiolect.training.modules import Site, sites
from idiolect.training.rows import TokenRow
from idiolect.types import Body

Person = tuple[str, list[TokenRow], list[TokenRow]]
"""A key, the rows to learn and those that are held out."""


class Table:
    """People's vectors ``[places, width]``, and Adam over them: each row has its own moments and count of steps."""

    def __init__(self, places: int, width: int, device: Any) -> None:
        self.values = torch.zeros(places, width, device=device, requires_grad=True)
        self._first, self._second = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self.steps = [0] * places

    def reset(self, place: int) -> None:
        """Begin anew at zero in a place."""
        for table in (self.values.data, self._first, self._second):
            table[place] = 0
        self.steps[place] = 0

    def state(self, places: Sequence[int]) -> Any:
        """Return vectors and moments of some places ``[3, places, width]``."""
        tables = (self.values.data, self._first, self._second)
        return torch.stack([table[list(places)] for table in tables])

    def bring_back(self, places: Sequence[int], state: Any, steps: Sequence[int]) -> None:
        """Go on in some places from what :meth:`state` returned after so many steps of each."""
        for table, part in zip((self.values.data, self._first, self._second), state, strict=True):
            table[list(places)] = part
        for place, count in zip(places, steps, strict=True):
            self.steps[place] = count

    def step(self, places: Sequence[int], rates: Sequence[float], clip: float) -> None:
        """Make a step in some places, each at its own rate, its gradient cut to the norm ``clip`` (0: as it is)."""
        assert self.values.grad is not None, "a step comes after a backward pass"
        for place, rate in zip(places, rates, strict=True):
            moments = self._first[place], self._second[place]
            adam.step(self.values.data[place], self.values.grad[place], moments, rate, self.steps[place], clip)
            self.steps[place] += 1
        self.values.grad = None


class Passes:
    """A frozen model with an adapter ``under`` in its weights, and the loss of rows through it."""

    def __init__(self, model: Any, layers: Sequence[Any], tokens: int, under: LowRank | None) -> None:
        self.found, self.tokens = sites(model, layers), tokens
        self.device = next(model.parameters()).device
        self._decoder, self._head, self._embed = Decoder(model, layers, 0), head_of(model), model.get_input_embeddings()
        self._vocabulary = int(model.get_output_embeddings().weight.shape[0])
        self._beneath = {} if under is None else {name: beneath_of(self.found[name], under) for name in under.modules}

    def loss(
        self, rows: Sequence[TokenRow], weights: Sequence[float], added: Mapping[str, Callable[[Any], Any]]
    ) -> tuple[Any, Any]:
        """Return the loss of rows and of each token; ``added`` is what modules add to their outputs, by their input."""
        forwards = {name: self._forward(self.found[name], added.get(name)) for name in {**self._beneath, **added}}
        with replaced(self.found, forwards):
            states = self._decoder.whole(inputs_of(rows, self._embed, self.device))
        return rows_loss(states, rows, weights, self._head, self._vocabulary)

    def _forward(self, site: Site, more: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
        own = (site.module.weight, site.module.bias)
        change = Change(*self._beneath.get(site.name, own), site.transposed)
        return lambda x: product(x, change) if more is None else product(x, change) + more(x)


def bias_of(projection: LowRank, vector: Any, shared: LowRank) -> LowRank:
    """Return a person's part as an adapter: ``s B P e`` as the bias, beside factors of rank 1 that are zero.

    PEFT loads no adapter of rank 0. ``shared`` tells how wide the modules' inputs are.
    """
    modules = {}
    for name, one in projection.modules.items():
        zero_a, zero_b = np.zeros((1, shared.modules[name].a.shape[1])), np.zeros((len(one.b), 1))
        bias = projection.scaling * (one.b @ (one.a @ vector))
        modules[name] = Factors(zero_a.astype(np.float32), zero_b.astype(np.float32), bias.astype(np.float32))
    return LowRank(modules, 1.0, projection.base_model)


def over(held: Sequence[float], patience: int) -> bool:
    """Whether the held-out loss has not fallen for ``patience`` passes; never with a patience of 0."""
    return bool(patience and held) and len(held) - 1 - min(range(len(held)), key=held.__getitem__) >= patience


def body_of(adapter: LowRank, recipe: Recipe) -> Body:
    """Return an adapter as it is kept."""
    return Body.of(peft_format.dump(adapter, recipe.dtype))
