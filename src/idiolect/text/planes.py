"""Unit vectors in two integer planes: a coarse one to scan, a fine one to settle what the coarse one leaves open.

A row ``v`` is held as ``scale * (hi + lo / 65535)`` with ``scale = max|v| / 127``, ``hi`` int8, ``lo`` int16: 24 bits
a component, so that scores agree with float32 arithmetic to its own rounding. Scanning reads ``hi`` alone (one byte a
component); ``error`` bounds what that leaves out, ``|q.v - scale * q.hi| <= error`` for a unit ``q`` (Cauchy-Schwarz),
so the true best ``k`` are certain to be among the rows whose upper bound reaches the k-th best lower bound.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_BLOCK = 1024  # rows converted to float32 at a time: 1.5 MB at 384 dimensions, stays in the second-level cache

_local = threading.local()


def _scratch(dim: int) -> Floats:
    """Return this thread's own ``[_BLOCK, dim]``: fresh memory for each block costs more page faults than the scan."""
    held: Floats | None = getattr(_local, "scratch", None)
    if held is None or held.shape[1] != dim:
        held = _local.scratch = np.empty((_BLOCK, dim), np.float32)
    return held


@dataclass(frozen=True, slots=True)
class Planes:
    """Vectors ``[n, dim]`` as integers; a row without a vector has ``scale`` 0."""

    hi: npt.NDArray[np.int8]  # [n, dim]
    lo: npt.NDArray[np.int16]  # [n, dim]
    scale: Floats  # [n]
    error: Floats  # [n]

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.scale)

    @staticmethod
    def encode(vectors: Floats) -> Planes:
        """Quantise ``[n, dim]`` float vectors; all-zero rows count as missing."""
        peak = np.abs(vectors).max(axis=1, initial=0.0)
        scale = (peak / 127).astype(np.float32)
        scaled = vectors / np.where(scale > 0, scale, 1)[:, None]
        hi = np.rint(scaled)
        rest = scaled - hi  # in [-.5, .5]
        lo = np.rint(rest * 65535).clip(-32767, 32767)
        error = scale * np.linalg.norm(rest, axis=1).astype(np.float32) * np.float32(1.0001)
        return Planes(hi.astype(np.int8), lo.astype(np.int16), scale, error)

    @staticmethod
    def missing(n: int, dim: int) -> Planes:
        """Return ``n`` rows without a vector."""
        zeros = np.zeros(n, np.float32)
        return Planes(np.zeros((n, dim), np.int8), np.zeros((n, dim), np.int16), zeros, zeros)

    @staticmethod
    def concat(parts: list[Planes]) -> Planes:
        """Stack rows."""
        if len(parts) == 1:
            return parts[0]
        return Planes(*(np.concatenate([getattr(p, f) for p in parts]) for f in ("hi", "lo", "scale", "error")))

    def part(self, start: int, stop: int) -> Planes:
        """Return the rows ``start:stop``."""
        return Planes(self.hi[start:stop], self.lo[start:stop], self.scale[start:stop], self.error[start:stop])

    def decode(self) -> Floats:
        """Return the float32 vectors ``[n, dim]``."""
        out = self.hi.astype(np.float32)
        out *= 65535
        out += self.lo.astype(np.float32)  # whole numbers below 2^23: nothing is rounded so far
        out /= 65535
        out *= self.scale[:, None]
        return out

    def take(self, rows: npt.NDArray[np.intp]) -> Floats:
        """Return the float32 vectors of some rows, ``[len(rows), dim]``."""
        return Planes(self.hi[rows], self.lo[rows], self.scale[rows], self.error[rows]).decode()

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Which rows have a vector."""
        return self.scale > 0

    def scan(self, query: Floats) -> Floats:
        """Return ``scale * (hi . query)`` for every row, float32 ``[n]``."""
        out = np.empty(self.n, np.float32)
        scratch = _scratch(self.hi.shape[1])
        for start in range(0, self.n, _BLOCK):
            part = self.hi[start : start + _BLOCK]
            block = scratch[: len(part)]
            np.copyto(block, part)
            np.dot(block, query, out=out[start : start + _BLOCK])
        out *= self.scale
        return out

    def exact(self, query: Floats, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """Return the full-precision scores of some rows, float64 ``[len(rows)]``."""
        whole = self.hi[rows].astype(np.float64)
        whole *= 65535
        whole += self.lo[rows]
        return whole @ query.astype(np.float64) * (self.scale[rows] / 65535.0)


@dataclass(frozen=True, slots=True)
class Matrix:
    """The same vectors as float32 ``[n, dim]``: a third more memory, and for a short history several times as fast."""

    rows: Floats
    present: npt.NDArray[np.bool_]
    error: None = None

    def part(self, start: int, stop: int) -> Matrix:
        """Return the rows ``start:stop``."""
        return Matrix(self.rows[start:stop], self.present[start:stop])

    def take(self, rows: npt.NDArray[np.intp]) -> Floats:
        """Return the vectors of some rows, ``[len(rows), dim]``."""
        taken: Floats = self.rows[rows]
        return taken

    def scan(self, query: Floats) -> Floats:
        """Return the score of every row, float32 ``[n]``."""
        return self.rows @ query

    def exact(self, query: Floats, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """Return the full-precision scores of some rows, float64 ``[len(rows)]``."""
        return self.rows[rows].astype(np.float64) @ query.astype(np.float64)
