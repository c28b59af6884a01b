"""AdamW over one row of numbers at a time: its own rate, its own count of steps, its gradient cut by its own norm."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.adamw import adamw

BETAS, EPSILON = (0.9, 0.999), 1e-8


def step(
    value: Any, gradient: Any, moments: tuple[Any, Any], rate: float, count: int, clip: float, decay: float = 0.0
) -> None:
    """Make a step in place, ``count`` steps having been made before; ``clip`` is the longest gradient, 0 for any.

    All are ``[numbers]`` in float32; what the gradient holds afterwards is nobody's business. It is PyTorch's fused
    step, one pass over memory: single operations over all rows at once spend their time on fresh pages.
    """
    adamw(
        [value], [gradient], [moments[0]], [moments[1]], [], [torch.tensor(float(count), device=value.device)],
        fused=True, grad_scale=((gradient.norm() + 1e-6) / clip).clamp(min=1.0) if clip else None, amsgrad=False,
        maximize=False, lr=rate, beta1=BETAS[0], beta2=BETAS[1], eps=EPSILON, weight_decay=decay,
    )  # fmt: skip
