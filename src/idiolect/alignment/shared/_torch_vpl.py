"""A variational encoder of a person's choices and a reward given what it says (arXiv:2408.10075)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from idiolect.alignment.shared._torch_rewards import Choices

DRAWS = 16
"""A person's rewards are the mean over so many draws of what is known of them, the same draws each time."""


class Variational(nn.Module):  # type: ignore[misc]
    """Rewards of options given a person's choices, through a normal variable ``z [width]``.

    Each pair (chosen, other) of the context enters a network, the pairs attend to each other, and their mean gives the
    mean and the log variance of ``z``, both clipped to [-1, 1]. A draw of ``z`` is scaled to the norm ``sqrt(width)``,
    in training and afterwards. One learnt pair stands in every context.
    """

    def __init__(self, dim: int, width: int, kl: float) -> None:
        super().__init__()
        self.kl, self.width = kl, width
        self.pair = nn.Sequential(nn.Linear(2 * dim, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.nobody = nn.Parameter(torch.zeros(1, 1, width))
        self.query, self.both = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.moments = nn.Linear(width, 2 * width)
        self.reward = nn.Sequential(nn.Linear(dim + width, 2 * width), nn.GELU(), nn.Linear(2 * width, 1))

    def remembered(self, choices: Choices) -> Any:
        """Return mean and log variance of each person's ``z``, ``[people, 2, width]``."""
        chosen = (choices.x * choices.taken[..., None]).sum(2, keepdim=True).expand_as(choices.x)
        there = functional.pad((choices.there & ~choices.taken).flatten(1), (1, 0), value=True)
        pairs = self.pair(torch.cat([chosen, choices.x], dim=3).flatten(1, 2))
        pairs = torch.cat([self.nobody.expand(len(pairs), 1, -1), pairs], dim=1)
        key, value = self.both(pairs).chunk(2, dim=2)
        seen = functional.scaled_dot_product_attention(self.query(pairs), key, value, attn_mask=there[:, None])
        weight = there[..., None].float()
        mean = ((pairs + seen) * weight).sum(1) / weight.sum(1)
        return self.moments(mean).unflatten(1, (2, self.width)).clamp(-1.0, 1.0)

    def packed(self, kept: Any) -> Any:
        """Return the first person's mean and log variance ``[2, width]``."""
        return kept[0]

    def unpacked(self, moments: Any) -> Any:
        """Return what :meth:`packed` gave the moments of."""
        return moments[None]

    def penalty(self, kept: Any, done: float) -> Any:
        """Return the divergence from the standard normal, annealed in over the first half of training."""
        mean, log = kept.unbind(1)
        divergence = 0.5 * (log.exp() + mean**2 - 1.0 - log).sum(1).mean()
        return self.kl * 0.5 * (1.0 - math.cos(math.pi * min(1.0, 2.0 * done))) * divergence

    def drawn(self, kept: Any, noise: Any) -> Any:
        """Return draws of ``z [..., width]`` on the norm ``sqrt(width)``."""
        mean, log = kept.unbind(1)
        z = mean + (0.5 * log).exp() * noise
        return z * (math.sqrt(self.width) / z.norm(dim=-1, keepdim=True).clamp_min(1e-6))

    def forward(self, kept: Any, x: Any, training: bool = False) -> Any:
        """Return the rewards ``[people, choices, options]`` of ``x [people, choices, options, dim]``.

        In training under one draw of ``z``, else the mean over :data:`DRAWS`.
        """
        if training:
            return self._rewards(x, self.drawn(kept, torch.randn(len(x), self.width)))
        noise = torch.randn(DRAWS, self.width, generator=torch.Generator().manual_seed(0))
        return sum(self._rewards(x, self.drawn(kept, one)) for one in noise) / DRAWS

    def _rewards(self, x: Any, z: Any) -> Any:
        known = z[:, None, None].expand(*x.shape[:3], -1)
        return self.reward(torch.cat([x, known], dim=3))[..., 0]
