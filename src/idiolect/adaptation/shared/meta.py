"""An adapter that others learn fast from: the mean of what many people's few steps make of it (Reptile)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from idiolect.training.factors import Factors, LowRank, cat, truncated

_NOTHING = 1e-6
"""Directions that are so much smaller than the largest of their module are left free."""


def moved(initial: LowRank | None, trained: Sequence[LowRank], step: float, rank: int) -> LowRank:
    """Return ``initial + step * (mean of trained - initial)``, as changes of the weights, cut to a rank.

    Without an initial adapter that is no change. The mean is exact (:mod:`idiolect.training.factors`): the mean of the
    factors is another adapter, although all began at the same one.
    """
    parts = [*trained] if initial is None else [*trained, initial]
    weights = [step / len(trained)] * len(trained) + ([] if initial is None else [1 - step])
    whole = truncated(cat(parts, weights), rank)
    return LowRank({name: ready(one) for name, one in whole.modules.items()}, 1.0, whole.base_model)


def ready(one: Factors) -> Factors:
    """Return the same change with an ``A`` as large as training begins with, so that few steps change ``B`` enough.

    A singular value decomposition leaves both factors small alike. Rows of ``A`` get the norm that numbers drawn
    uniformly within ``1 / sqrt(in)`` have; directions that change nothing are left out, and begin as if anew.
    """
    sizes = np.linalg.norm(one.a, axis=1)
    kept = sizes > _NOTHING * max(float(sizes.max(initial=0.0)), _NOTHING)
    factor = (1 / math.sqrt(3)) / sizes[kept]
    return Factors(one.a[kept] * factor[:, None], one.b[:, kept] / factor, one.bias)
