"""Linear modules of a frozen PyTorch model, each row of a batch with the low-rank change of its own person.

The gradient goes to activations and factors alone: a frozen matrix takes part in two products, forward and backward,
where ordinary training needs three.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from idiolect.training.modules import Site


@dataclass(slots=True)
class Change:
    """What one module gets: ``weight`` in the place of its own (other adapters merged in), or factors, or both.

    ``a`` ``[places, rank, in]`` and ``b`` ``[places, out, rank]`` are the factors of all people in training, ``grad_a``
    and ``grad_b`` where their gradients are added up, in float32.
    """

    weight: Any
    bias: Any
    transposed: bool
    a: Any = None
    b: Any = None
    grad_a: Any = None
    grad_b: Any = None


@dataclass(slots=True)
class Batch:
    """Whose rows a pass reads: ``places`` ``[rows]``, equal ones side by side."""

    places: tuple[int, ...]
    anchor: Any
    """A tensor that needs a gradient: without one, autograd would take the lowest changed module for a constant."""
    scaling: float = 1.0

    @property
    def runs(self) -> tuple[tuple[int, ...], int]:
        """Return the distinct places and how many rows each has; 0 where they have unlike numbers."""
        distinct = tuple(dict.fromkeys(self.places))
        each = len(self.places) // len(distinct)
        alike = all(self.places[n * each : (n + 1) * each] == (place,) * each for n, place in enumerate(distinct))
        return (distinct, each) if alike and each * len(distinct) == len(self.places) else (self.places, 0)


class _Changed(torch.autograd.Function):  # type: ignore[misc]
    # y = x W' + scaling * (x A') B' for x [rows, positions, in], rows of one person side by side
    @staticmethod
    def forward(ctx: Any, x: Any, change: Change, batch: Batch, _anchor: Any) -> Any:
        y = _plain(x, change)
        groups, each = batch.runs
        index = torch.tensor(groups, device=x.device)
        a, b = (_pick(part, index, x.dtype) for part in (change.a, change.b))
        wide = x.reshape(len(groups), -1, x.shape[-1])  # [groups, rows of one * positions, in]
        down = torch.bmm(wide, a.transpose(1, 2))  # [groups, ..., rank]
        y.view(len(groups), -1, y.shape[-1]).baddbmm_(down, b.transpose(1, 2), alpha=batch.scaling)
        ctx.save_for_backward(x, down)
        ctx.change, ctx.scaling, ctx.index, ctx.unlike = change, batch.scaling, index, each == 0
        return y

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        x, down = ctx.saved_tensors
        change, index = ctx.change, ctx.index
        a, b = (_pick(part, index, dy.dtype) for part in (change.a, change.b))
        wide = x.reshape(len(index), -1, x.shape[-1])
        towards = dy.reshape(len(index), -1, dy.shape[-1])
        d_down = torch.bmm(towards, b) * ctx.scaling  # [groups, ..., rank]
        change.grad_a.index_add_(0, index, torch.bmm(d_down.transpose(1, 2), wide).float())
        change.grad_b.index_add_(0, index, torch.bmm(towards.transpose(1, 2), down).float(), alpha=ctx.scaling)
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        dx = dy.matmul(change.weight.t() if change.transposed else change.weight)
        dx.view(len(index), -1, dx.shape[-1]).baddbmm_(d_down, a)
        return dx, None, None, None


@contextmanager
def changed(sites: Mapping[str, Site], changes: Mapping[str, Change], batch: Batch) -> Iterator[None]:
    """Give modules their changes for the passes of this thread; other threads' passes see the model as it is."""

    def forward_of(change: Change) -> Callable[[Any], Any]:
        if change.a is None:
            return lambda x: _plain(x, change)
        return lambda x: _Changed.apply(x, change, batch, batch.anchor)

    with replaced(sites, {name: forward_of(change) for name, change in changes.items()}):
        yield


@contextmanager
def replaced(sites: Mapping[str, Site], forwards: Mapping[str, Callable[[Any], Any]]) -> Iterator[None]:
    """Let modules do something else in the passes of this thread, and be as they were in those of others."""
    owner, patched = threading.get_ident(), []

    def forward_of(other: Callable[[Any], Any], own: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: other(x) if threading.get_ident() == owner else own(x)

    try:
        for name, other in forwards.items():
            module = sites[name].module
            module.forward = forward_of(other, module.forward)
            patched.append(module)
        yield
    finally:
        for module in patched:
            del module.forward


def merged(site: Site, deltas: Sequence[Any]) -> Any:
    """Return a module's weight with whole changes ``[out, in]`` added, in the weight's own form and precision."""
    weight = site.module.weight
    total = sum(torch.from_numpy(delta).to(weight.device) for delta in deltas)
    return (weight.float() + (total.t() if site.transposed else total)).to(weight.dtype)


def _plain(x: Any, change: Change) -> Any:
    if not change.transposed:
        return functional.linear(x, change.weight, change.bias)
    flat = x.reshape(-1, x.shape[-1])
    made = flat @ change.weight if change.bias is None else torch.addmm(change.bias, flat, change.weight)
    return made.view(*x.shape[:-1], -1)


def _pick(part: Any, index: Any, dtype: Any) -> Any:
    return part.index_select(0, index).to(dtype)
