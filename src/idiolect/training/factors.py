"""Low-rank changes of a model's weights, and their algebra: sums, means and truncations that are exact.

A change of one module is ``scaling * B A`` with ``A`` ``[rank, in]`` and ``B`` ``[out, rank]`` (arXiv:2106.09685).
Averaging the factors of two adapters is not averaging the adapters: for independent ones it is off by 70 % of the norm.
So factors are concatenated, which is exact (the rank adds), and cut back by a singular value decomposition where a
smaller rank is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from idiolect.equality import Equal
from idiolect.errors import InputError
from idiolect.types import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Factors(Equal):
    """The change of one module: ``a`` ``[rank, in]``, ``b`` ``[out, rank]`` and a ``bias`` ``[out]`` or none."""

    a: Floats
    b: Floats
    bias: Floats | None = None

    @property
    def rank(self) -> int:
        """Inner dimension."""
        return len(self.a)

    def delta(self) -> Floats:
        """Return the whole matrix ``[out, in]``, without the adapter's scaling."""
        full: Floats = self.b @ self.a
        return full


@dataclass(frozen=True, slots=True, eq=False)
class LowRank(Equal):
    """An adapter: factors by the module's full name (``model.layers.0.self_attn.q_proj``), all times ``scaling``."""

    modules: Mapping[str, Factors]
    scaling: float = 1.0
    base_model: str = field(default="")
    """Fingerprint of the model whose weights it changes."""

    @property
    def rank(self) -> int:
        """The largest rank of a module."""
        return max((one.rank for one in self.modules.values()), default=0)

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return sum(
            one.a.size + one.b.size + (0 if one.bias is None else one.bias.size) for one in self.modules.values()
        )

    def delta(self, module: str) -> Floats:
        """Return the change of a module as a whole matrix ``[out, in]``."""
        full: Floats = np.float32(self.scaling) * self.modules[module].delta()
        return full


def cat(adapters: Sequence[LowRank], weights: Sequence[float]) -> LowRank:
    """Return ``sum_i weights_i * adapter_i``, exact: ranks add up. Scalings and weights go into ``B``.

    Modules that one of them does not change are changed by the others alone. Raises :class:`InputError` for adapters of
    different base models or shapes, and for none at all.
    """
    _check(adapters)
    names = dict.fromkeys(name for one in adapters for name in one.modules)
    return LowRank({name: _cat(name, adapters, weights) for name in names}, 1.0, adapters[0].base_model)


def mean(adapters: Sequence[LowRank], weights: Sequence[float] | None = None) -> LowRank:
    """Return the weighted mean of adapters, exact; without weights all count alike."""
    given = [1.0] * len(adapters) if weights is None else list(weights)
    total = sum(given)
    if total == 0:
        raise InputError("the weights of a mean of adapters add up to 0")
    return cat(adapters, [weight / total for weight in given])


def truncated(adapter: LowRank, rank: int) -> LowRank:
    """Return the nearest adapter of at most that rank in the Frobenius norm, module by module.

    By the singular value decomposition of ``B A``, from those of the small factors: no ``[out, in]`` matrix is made.
    """
    cut = {name: _truncated(one, rank, adapter.scaling) for name, one in adapter.modules.items()}
    return LowRank(cut, 1.0, adapter.base_model)


def norm(adapter: LowRank) -> float:
    """Return the Frobenius norm of the whole change, biases left out."""
    squares = (np.sum((one.b.T @ one.b).astype(np.float64) * (one.a @ one.a.T)) for one in adapter.modules.values())
    return abs(adapter.scaling) * math.sqrt(max(0.0, sum(squares)))


def inner(one: LowRank, two: LowRank) -> float:
    """Return the Frobenius inner product of two changes, over the modules that both have."""
    both = one.modules.keys() & two.modules.keys()
    products = (
        np.sum((one.modules[n].b.T @ two.modules[n].b).astype(np.float64) * (one.modules[n].a @ two.modules[n].a.T))
        for n in sorted(both)
    )
    return one.scaling * two.scaling * float(sum(products))


def _check(adapters: Sequence[LowRank]) -> None:
    if not adapters:
        raise InputError("there is no adapter to combine")
    bases = {one.base_model for one in adapters if one.base_model}
    if len(bases) > 1:
        raise InputError(f"adapters of different models cannot be combined: {', '.join(sorted(bases))}")


def _cat(name: str, adapters: Sequence[LowRank], weights: Sequence[float]) -> Factors:
    parts = [
        (one.modules[name], np.float32(weight * one.scaling))
        for one, weight in zip(adapters, weights, strict=True)
        if name in one.modules
    ]
    shapes = {(part.b.shape[0], part.a.shape[1]) for part, _ in parts}
    if len(shapes) > 1:
        raise InputError(f"adapters with different shapes of {name} cannot be combined: {sorted(shapes)}")
    biases = [scale * part.bias for part, scale in parts if part.bias is not None]
    return Factors(
        np.concatenate([part.a for part, _ in parts]),
        np.concatenate([scale * part.b for part, scale in parts], axis=1),
        np.sum(biases, axis=0, dtype=np.float32) if biases else None,
    )


def _truncated(one: Factors, rank: int, scaling: float) -> Factors:
    # B A = Qb (Rb Ra') Qa', and the middle is rank x rank
    qb, rb = np.linalg.qr(one.b.astype(np.float64))
    qa, ra = np.linalg.qr(one.a.T.astype(np.float64))
    u, s, vt = np.linalg.svd(rb @ ra.T)
    kept = min(rank, len(s))
    root = np.sqrt(s[:kept] * abs(scaling))
    b = (qb @ u[:, :kept]) * (root * np.sign(scaling))
    a = root[:, None] * (vt[:kept] @ qa.T)
    bias = None if one.bias is None else np.float32(scaling) * one.bias
    return Factors(a.astype(np.float32), b.astype(np.float32), bias)
