"""What a training makes better: the likelihood of texts, or that of what was chosen over what was not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch.nn import functional

from idiolect.trainable import Recipe
from idiolect.training._torch_loss import each_token
from idiolect.training.rows import Learnable, TokenPair, TokenRow


class Objective(Protocol):
    """A loss over what is read; shares say how much each example counts in its person's mean."""

    def loss(self, losses: Any, examples: Sequence[Learnable], shares: Sequence[float]) -> tuple[Any, list[Noted]]:
        """Return the sum of the examples' shares, which can be differentiated, and what is noted of each.

        ``losses`` ``[tokens]`` are those of the learnt tokens of all rows of the examples, one's after the other's.
        """


Noted = tuple[int, float, float]
"""The place of an example, a loss [nats] of it, and how much that counts."""


class Likelihood:
    """The mean cross-entropy of a person's tokens."""

    def loss(self, losses: Any, examples: Sequence[Learnable], shares: Sequence[float]) -> tuple[Any, list[Noted]]:
        """Return the weighted sum of token losses; each token is noted."""
        rows = cast("Sequence[TokenRow]", examples)
        total = (losses * each_token(rows, shares, losses.device)).sum()
        whose = [(n, share) for n, (row, share) in enumerate(zip(rows, shares, strict=True)) for _ in range(row.learnt)]
        return total, [(n, loss, share) for (n, share), loss in zip(whose, losses.tolist(), strict=True)]


class Preference:
    """DPO (arXiv:2305.18290 equation 7), and with margins of other objectives MODPO (arXiv:2310.03708 equation 9)."""

    def __init__(self, beta: float, weight: float) -> None:
        self._beta, self._weight = beta, weight

    def loss(self, losses: Any, examples: Sequence[Learnable], shares: Sequence[float]) -> tuple[Any, list[Noted]]:
        """Return the weighted sum of ``-log sigmoid(z)``; each comparison is noted."""
        pairs = cast("Sequence[TokenPair]", examples)
        known = {"device": losses.device, "dtype": losses.dtype}
        gained = log_ratios(losses, pairs) - torch.tensor([pair.reference for pair in pairs], **known)
        margins = torch.tensor([pair.margin for pair in pairs], **known)
        each = functional.softplus(-(self._beta * gained - margins) / self._weight)  # -log sigmoid, without overflow
        noted = [(n, loss, share) for n, (loss, share) in enumerate(zip(each.tolist(), shares, strict=True))]
        return (each * torch.tensor(shares, **known)).sum(), noted


def log_ratios(losses: Any, pairs: Sequence[TokenPair]) -> Any:
    """Return ``log pi(chosen) - log pi(rejected)`` [nats] of each pair ``[pairs]``, from the losses of its tokens."""
    each = losses.split([row.learnt for pair in pairs for row in pair.rows])
    sums = torch.stack([one.sum() for one in each]).view(-1, 2)
    return sums[:, 1] - sums[:, 0]


def objective_of(recipe: Recipe) -> Objective:
    """Return what a recipe makes better."""
    return Likelihood() if recipe.objective == "likelihood" else Preference(recipe.beta, recipe.weights[0])
