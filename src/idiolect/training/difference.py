"""How far a person's vectors lie from those of others (DEP, arXiv:2507.20849, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from idiolect.types import Floats

TEMPERATURE = 0.1
"""Of the weights over peers. The released code normalises distances to a sum of 1 first: then all weigh the same."""


def difference(own: Floats, others: Floats, distances: Floats, temperature: float = TEMPERATURE) -> Floats:
    """Return ``sum_r softmax(distances / temperature)_r * (own - others_r)`` ``[dim]``.

    ``others`` are peers' vectors ``[peers, dim]`` of the same thing, ``distances`` ``[peers]`` those of the peers
    themselves: whoever is unlike the person says more about what is their own. Without peers it is zero.
    """
    if len(others) == 0:
        return np.zeros_like(own)
    wide = np.exp((distances - distances.max()) / temperature)
    weights = (wide / wide.sum()).astype(own.dtype)
    out: Floats = own - weights @ others
    return out


def differences(
    own: Floats, others: Sequence[Floats], distances: Sequence[Floats], temperature: float = TEMPERATURE
) -> Floats:
    """Return :func:`difference` for each of a person's vectors ``[n, dim]`` and its own peers."""
    out = np.zeros_like(own)
    for row, (vector, peers, apart) in enumerate(zip(own, others, distances, strict=True)):
        out[row] = difference(vector, peers, apart, temperature)
    return out
