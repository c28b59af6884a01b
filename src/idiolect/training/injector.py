"""Soft tokens at the scale of the language model's own embeddings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from idiolect.types import Floats

_LEAST = 1e-6


def scaled(raw: Floats, norm: float) -> tuple[Floats, Callable[[Floats], Floats]]:
    """Give every row of ``raw`` ``[tokens, hidden]`` the norm ``norm``; also return the way back for gradients.

    Published code multiplies with a constant of one model (arXiv:2409.11901); here it is the model's own mean norm of
    an embedding row, and exact for each token.
    """
    length = np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), _LEAST)
    unit = raw / length

    def pull(gradient: Floats) -> Floats:
        along = (gradient * unit).sum(axis=1, keepdims=True)
        out: Floats = norm / length * (gradient - along * unit)
        return out

    return norm * unit, pull
