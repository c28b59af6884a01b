"""A transformer neural process over choices (Group Preference Optimization, arXiv:2310.11523)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from idiolect.alignment.shared._torch_rewards import Choices

HEADS = 4


class Attending(nn.Module):  # type: ignore[misc]
    """One layer in which every point attends to the points of the context and to nothing else."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.pair, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, points: Any, context: int, mask: Any) -> Any:
        """Return points ``[people, points, width]``, the first ``context`` of which are attended to under ``mask``."""
        normal = self.before(points)
        query, (key, value) = self.query(normal), self.pair(normal[:, :context]).chunk(2, dim=2)
        query, key, value = (
            part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in (query, key, value)
        )  # [people, heads, points, width / heads]
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
        points = points + self.out(seen.transpose(1, 2).flatten(2))
        return points + self.narrow(functional.gelu(self.wide(self.between(points))))


class GroupPreference(nn.Module):  # type: ignore[misc]
    """Rewards of options given a person's choices: a point for each option, chosen (1), not (-1) or asked about (0).

    There are no positions, so the order of the context means nothing. One learnt point stands in every context: with
    nothing else in it, it is everybody.
    """

    def __init__(self, dim: int, width: int, layers: int) -> None:
        super().__init__()
        self.enter = nn.Linear(dim + 1, width)
        self.everybody = nn.Parameter(torch.zeros(1, 1, width))
        self.layers = nn.ModuleList(Attending(width) for _ in range(layers))
        self.last, self.leave = nn.LayerNorm(width), nn.Linear(width, 1)

    def remembered(self, choices: Choices) -> Any:
        """Return the context: its points ``[people, points, dim + 1]`` and which of them there are."""
        sign = choices.taken.float() * 2.0 - 1.0
        return torch.cat([choices.x, sign[..., None]], dim=3).flatten(1, 2), choices.there.flatten(1)

    def packed(self, kept: Any) -> Any:
        """Return the first person's points ``[points, dim + 1]`` without padding."""
        points, mask = kept
        return points[0][mask[0]]

    def unpacked(self, points: Any) -> Any:
        """Return the context that :meth:`packed` gave the points of."""
        return points[None], torch.ones((1, len(points)), dtype=torch.bool)

    def penalty(self, kept: Any, done: float) -> Any:
        """Return nothing: the loss is the likelihood alone."""
        return 0.0

    def forward(self, kept: Any, x: Any, training: bool = False) -> Any:
        """Return the rewards ``[people, choices, options]`` of ``x [people, choices, options, dim]``."""
        context, mask = kept
        asked = functional.pad(x.flatten(1, 2), (0, 1))
        count = context.shape[1] + 1
        everybody = self.everybody.expand(len(x), 1, -1)
        points = torch.cat([everybody, self.enter(context), self.enter(asked)], dim=1)
        mask = functional.pad(mask, (1, 0), value=True)
        for layer in self.layers:
            points = layer(points, count, mask)
        return self.leave(self.last(points[:, count:]))[..., 0].unflatten(1, x.shape[1:3])
