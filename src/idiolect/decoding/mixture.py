"""One logit mixture for all contrastive decoding.

Context steering (arXiv:2405.01768, equation 3), CoSteer (arXiv:2507.04756), Amulet (arXiv:2502.19148) and contrastive
decoding all add weighted differences of log probabilities to a base: ``l = l_0 + sum_i w_i * clip(l_i - l_0)``. With
weights that sum to 1 and no clipping this is ``sum_i w_i * l_i``. They differ in whose branches these are and in the
weights; where a paper gives an iteration, its closed form is a weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from idiolect.types import Floats

CLIP = 10.0
"""Largest difference of log probabilities [nats] of one branch: beyond it a single odd token would decide the text."""


def mixture(log_probs: Floats, weights: Sequence[float], plausibility: float = 0.0) -> Floats:
    """Mix branches ``[branches, vocab] -> [vocab]``; the first is the base.

    ``plausibility`` masks (with minus infinity) every token to which the base gives less than that part of its best
    token's probability (arXiv:2210.15097, section 3.3). One branch comes back times its weight.
    """
    base: Floats = log_probs[0]
    if len(weights) == 1:
        mixed: Floats = base * np.float32(weights[0])
    else:
        mixed = base * np.float32(sum(weights))
        for weight, row in zip(weights[1:], log_probs[1:], strict=True):
            mixed += np.float32(weight) * np.clip(row - base, -CLIP, CLIP)
    if plausibility > 0:
        mixed = np.where(base >= base.max() + np.log(plausibility), mixed, np.float32(-np.inf))
    return mixed


def mixture_of_tensors(log_probs: Any, weights: Sequence[float], plausibility: float = 0.0) -> Any:
    """The same for PyTorch tensors, on their device and at many positions, ``[branches, ..., vocab] -> [..., vocab]``.

    No matrix product, so that a position's mixture does not depend on what stands beside it.
    """
    base = log_probs[0]
    mixed = base * sum(weights)
    for weight, row in zip(weights[1:], log_probs[1:], strict=True):
        mixed.add_((row - base).clamp_(-CLIP, CLIP), alpha=weight)
    if plausibility > 0:
        mixed.masked_fill_(base < base.amax(-1, keepdim=True) + np.log(plausibility), -np.inf)
    return mixed
