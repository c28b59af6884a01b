"""Losses of texts under factors that something else made, and their gradients by these factors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from idiolect.errors import InputError
from idiolect.training._torch_loss import head_loss
from idiolect.training._torch_lowrank import Batch, Change, changed
from idiolect.training._torch_rows import head_of, padded
from idiolect.training.factors import Factors
from idiolect.training.modules import Site, sites
from idiolect.training.rows import TokenRow, passes
from idiolect.types import Floats

Owned = tuple[int, int, TokenRow]
"""The place of an example among those asked for, its owner, and the example."""


class FactorPass:
    """A frozen model with factors ``a`` ``[people, rank, in]`` and ``b`` ``[people, out, rank]`` at some modules."""

    def __init__(self, model: Any, layers: Sequence[Any], factors: Mapping[str, Factors], scaling: float) -> None:
        """Take the factors by module; :class:`InputError` where they do not fit the model."""
        self._model, self._head = model, head_of(model)
        self._vocabulary = int(model.get_output_embeddings().weight.shape[0])
        self._device, self._scaling = next(model.parameters()).device, scaling
        found = sites(model, layers)
        unknown = sorted(factors.keys() - found.keys())
        if unknown:
            raise InputError(f"the model has no linear module {unknown[0]!r}; the factors were made for another one")
        self._sites = {name: found[name] for name in factors}
        self._changes = {name: self._change(self._sites[name], one) for name, one in factors.items()}
        self._anchor = torch.zeros(1, device=self._device, requires_grad=True)

    def losses(self, rows: Sequence[TokenRow], owners: Sequence[int], tokens: int, gradients: bool) -> Floats:
        """Return each row's mean loss ``[rows]`` [nats a token], in passes of about ``tokens`` tokens.

        With ``gradients`` those of the weighted sum of the losses are added up.
        """
        out = np.zeros(len(rows), np.float32)
        asked = [(place, owner, row) for place, (owner, row) in enumerate(zip(owners, rows, strict=True))]
        for part in passes(asked, [len(row) for row in rows], tokens):
            part = sorted(part, key=lambda one: one[1])
            with torch.set_grad_enabled(gradients):
                total, losses = self._loss(part)
            if gradients:
                total.backward()
            for (place, _, row), own in zip(part, losses.split([row.learnt for _, _, row in part]), strict=True):
                out[place] = float(own.sum()) / row.learnt
        return out

    def gradients(self) -> Iterator[tuple[str, Factors]]:
        """Yield the gradients by module, in the shape of the factors."""
        for name, one in self._changes.items():
            yield name, Factors(one.grad_a.cpu().numpy(), one.grad_b.transpose(1, 2).cpu().numpy())

    def _change(self, site: Site, given: Factors) -> Change:
        if given.a.shape[2] != site.inputs or given.b.shape[1] != site.outputs:
            raise InputError(f"factors {given.a.shape}, {given.b.shape} do not fit {site.name!r}")
        a, b = (
            torch.from_numpy(np.ascontiguousarray(part)).to(self._device)
            for part in (given.a, given.b.transpose(0, 2, 1))
        )
        zeros = (torch.zeros_like(part, dtype=torch.float32) for part in (a, b))
        return Change(site.module.weight, site.module.bias, site.transposed, a, b, *zeros)

    def _loss(self, part: Sequence[Owned]) -> tuple[Any, Any]:
        rows = [row for _, _, row in part]
        ids, mask = padded(rows, self._device)
        batch = Batch(tuple(owner for _, owner, _ in part), self._anchor, self._scaling)
        with changed(self._sites, self._changes, batch):
            states = self._model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        seen = torch.cat([state[row.start - 1 : len(row) - 1] for state, row in zip(states, rows, strict=True)])
        targets = torch.tensor([token for row in rows for token in row.ids[row.start :]], device=self._device)
        weights = torch.tensor([row.weight / row.learnt for row in rows for _ in range(row.learnt)])
        return head_loss(seen, self._head, targets, weights.to(self._device), self._vocabulary)
