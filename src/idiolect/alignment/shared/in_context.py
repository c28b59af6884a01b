"""Reward models that are told a person's choices instead of being fitted to them; PyTorch, loaded on first use."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np

from idiolect.alignment.shared.packing import Array
from idiolect.alignment.shared.posterior import Doubles
from idiolect.alignment.shared.rewarding import Arrays, Check, Taken
from idiolect.errors import MissingExtra


def loaded() -> Any:
    """Return PyTorch and the models; :class:`MissingExtra` where it is not installed."""
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the backend does: threads that wait must not spin
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("learning from choices in context", "transformers") from error
    from idiolect.alignment.shared import _torch_gpo, _torch_rewards, _torch_vpl

    return SimpleNamespace(torch=torch, gpo=_torch_gpo, vpl=_torch_vpl, rewards=_torch_rewards)


@dataclass(frozen=True)
class Form:
    """Which model, and how large: ``kind`` is ``gpo`` or ``vpl``."""

    kind: str
    dim: int
    width: int
    layers: int = 0
    kl: float = 0.0
    """Weight of the divergence from the prior."""

    def made(self) -> Any:
        """Return the model with random weights."""
        lib = loaded()
        if self.kind == "gpo":
            return lib.gpo.GroupPreference(self.dim, self.width, self.layers)
        return lib.vpl.Variational(self.dim, self.width, self.kl)


@dataclass(frozen=True, eq=False)
class InContext:
    """A trained model; options are multiplied by ``scale``, of a person the newest ``context`` choices are told."""

    form: Form
    weights: Arrays
    scale: float
    context: int

    def known(self, taken: Taken) -> Array:
        """Return what the model keeps of a person: their points (``gpo``), mean and log variance (``vpl``)."""
        lib, newest = loaded(), slice(-self.context, None)
        table = lib.rewards.Table.of([Taken(taken.options[newest], taken.chosen[newest])], self.scale)
        with lib.torch.no_grad():
            kept = self._model.remembered(table.at(table.rows))
        return np.asarray(self._model.packed(kept).numpy(), np.float32)

    def rewards(self, options: Doubles, known: Array | None) -> Doubles:
        """Return the rewards ``[options]``; a stranger's are those under an empty context."""
        torch = loaded().torch
        x = torch.from_numpy(np.asarray(options * self.scale, np.float32))[None, None]
        with torch.no_grad():
            kept = self._empty if known is None else self._model.unpacked(torch.from_numpy(known))
            return np.asarray(self._model(kept, x)[0, 0].numpy(), np.float64)

    @cached_property
    def _model(self) -> Any:
        torch = loaded().torch
        with torch.random.fork_rng(devices=[]):
            model = self.form.made()
        model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in self.weights.items()})
        return model.eval()

    @property
    def _empty(self) -> Any:
        lib = loaded()
        nothing = lib.torch.zeros((1, 1, 2), dtype=lib.torch.bool)
        return self._model.remembered(
            lib.rewards.Choices(lib.torch.zeros((1, 1, 2, self.form.dim)), nothing, nothing)
        )  # fmt: skip

    def arrays(self) -> dict[str, Array]:
        """Return what is kept."""
        form = self.form
        sizes = np.array([form.dim, form.width, form.layers, self.context], np.int32)
        found = {f"w.{name}": array.astype(np.float32) for name, array in self.weights.items()}
        return {**found, "sizes": sizes, "numbers": np.array([self.scale, form.kl])}

    @staticmethod
    def read(kind: str, arrays: Arrays) -> InContext:
        """Return what :meth:`arrays` gave."""
        dim, width, layers, context = (int(one) for one in arrays["sizes"])
        scale, kl = (float(one) for one in arrays["numbers"])
        weights = {name[2:]: array for name, array in arrays.items() if name.startswith("w.")}
        return InContext(Form(kind, dim, width, layers, kl), weights, scale, context)


def learn_in_context(
    people: Sequence[Taken], form: Form, passes: int, rate: float, context: int, check: Check
) -> InContext:
    """Train a model over people's choices; the same choices give the same model."""
    lib = loaded()
    rows = np.concatenate([options for own in people for options in own.options])
    scale = 1.0 / max(float(np.sqrt((rows**2).mean())), 1e-9)
    how = lib.rewards.Training(passes, rate, context)
    with lib.torch.random.fork_rng(devices=[]):
        lib.torch.manual_seed(0)
        weights = lib.rewards.train(form.made(), people, scale, how, check)
    return InContext(form, weights, scale, context)
