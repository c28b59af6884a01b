"""Linear modules of a frozen PyTorch model, each row of a batch with the low-rank change of its own person.

The gradient goes to activations and factors alone: a frozen matrix takes part in two products, forward and backward,
where ordinary training needs three.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.nn import functional

from idiolect.training.factors import LowRank
from idiolect.training.modules import Site


@dataclass(slots=True)
class Change:
    """What one module gets: ``weight`` in the place of its own (other adapters merged in), or factors, or both.

    ``a`` ``[places, rank, in]`` and ``b`` ``[places, rank, out]`` are the factors of all people in training, ``grad_a``
    and ``grad_b`` where their gradients are added up, in float32. ``b`` lies the other way round than in the formula:
    every product with it, and its gradient, then runs along memory, two to four times as fast on a CPU.
    """

    weight: Any
    bias: Any
    transposed: bool
    a: Any = None
    b: Any = None
    grad_a: Any = None
    grad_b: Any = None


@dataclass
class Batch:
    """Whose rows a pass reads: ``places`` ``[rows]``, equal ones side by side."""

    places: tuple[int, ...]
    anchor: Any
    """A tensor that needs a gradient: without one, autograd would take the lowest changed module for a constant."""
    scaling: float = 1.0

    @cached_property
    def groups(self) -> tuple[int, ...]:
        """The places one by one where all have the same number of rows, which are then one product; else each row's."""
        distinct = tuple(dict.fromkeys(self.places))
        each = len(self.places) // len(distinct)
        alike = self.places == tuple(place for place in distinct for _ in range(each))
        return distinct if alike else self.places


class _Changed(torch.autograd.Function):  # type: ignore[misc]
    # y = x W' + scaling * (x A') B' for x [rows, positions, in], rows of one person side by side
    @staticmethod
    def forward(ctx: Any, x: Any, change: Change, batch: Batch, _anchor: Any) -> Any:
        y = product(x, change)
        a, b = (_pick(part, batch.groups, x.dtype) for part in (change.a, change.b))
        wide = x.reshape(len(a), -1, x.shape[-1])  # [groups, rows of one * positions, in]
        down = torch.bmm(wide, a.transpose(1, 2))  # [groups, ..., rank]
        y.view(len(a), -1, y.shape[-1]).baddbmm_(down, b, alpha=batch.scaling)
        ctx.save_for_backward(x, down)
        ctx.change, ctx.batch = change, batch
        return y

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        x, down = ctx.saved_tensors
        change, batch = ctx.change, ctx.batch
        a, b = (_pick(part, batch.groups, dy.dtype) for part in (change.a, change.b))
        wide, towards = x.reshape(len(a), -1, x.shape[-1]), dy.reshape(len(a), -1, dy.shape[-1])
        d_down = torch.bmm(towards, b.transpose(1, 2)).mul_(batch.scaling)  # [groups, ..., rank]
        index = torch.tensor(batch.groups, device=dy.device)
        change.grad_a.index_add_(0, index, torch.bmm(d_down.transpose(1, 2), wide).float())
        change.grad_b.index_add_(0, index, torch.bmm(down.transpose(1, 2), towards).float(), alpha=batch.scaling)
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        dx = dy.matmul(change.weight.t() if change.transposed else change.weight)
        dx.view(len(a), -1, dx.shape[-1]).baddbmm_(d_down, a)
        return dx, None, None, None


@contextmanager
def changed(sites: Mapping[str, Site], changes: Mapping[str, Change], batch: Batch) -> Iterator[None]:
    """Give modules their changes for the passes of this thread; other threads' passes see the model as it is."""

    def forward_of(change: Change) -> Callable[[Any], Any]:
        if change.a is None:
            return lambda x: product(x, change)
        return lambda x: _Changed.apply(x, change, batch, batch.anchor)

    with replaced({name: (sites[name], forward_of(change)) for name, change in changes.items()}):
        yield


@contextmanager
def replaced(forwards: Mapping[str, tuple[Site, Callable[[Any], Any]]]) -> Iterator[None]:
    """Give modules other forwards for the passes of this thread."""
    owner, patched = threading.get_ident(), []

    def only_here(own: Callable[[Any], Any], other: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: other(x) if threading.get_ident() == owner else own(x)

    try:
        for site, forward in forwards.values():
            site.module.forward = only_here(site.module.forward, forward)
            patched.append(site.module)
        yield
    finally:
        for module in patched:
            del module.forward


def beneath_of(site: Site, under: LowRank) -> tuple[Any, Any]:
    """Return a module's weight and bias with an adapter merged in, in the weight's own form and precision."""
    weight, bias, own = site.module.weight, site.module.bias, under.modules[site.name].bias
    delta = torch.from_numpy(under.delta(site.name)).to(weight.device)
    changed = (weight.float() + (delta.t() if site.transposed else delta)).to(weight.dtype)
    if own is None:
        return changed, bias
    more = torch.from_numpy(under.scaling * own).to(weight)
    return changed, more if bias is None else bias + more


def product(x: Any, change: Change) -> Any:
    """Return what a module makes of ``x`` ``[..., in]`` without factors, ``[..., out]``."""
    if not change.transposed:
        return functional.linear(x, change.weight, change.bias)
    flat = x.reshape(-1, x.shape[-1])
    made = flat @ change.weight if change.bias is None else torch.addmm(change.bias, flat, change.weight)
    return made.view(*x.shape[:-1], -1)


def _pick(part: Any, places: Sequence[int], dtype: Any) -> Any:
    first, count = places[0], len(places)
    if tuple(places) == tuple(range(first, first + count)):
        return part[first : first + count].to(dtype)  # a view
    return part[list(places)].to(dtype)
