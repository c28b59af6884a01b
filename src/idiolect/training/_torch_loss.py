"""Cross-entropy over a frozen head, at supervised positions alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from idiolect.training.rows import TokenRow

_LOGITS = 7 << 20
"""The most logits at once, 28 MiB in float32: from 32 MiB on glibc asks the system for new pages each time."""


class _HeadLoss(torch.autograd.Function):  # type: ignore[misc]
    # The gradient by the states is made beside the loss, so that no [tokens, vocabulary] tensor outlives its chunk: a
    # token's loss hangs on its own state alone, and what the loss counts for scales its slope afterwards.
    @staticmethod
    def forward(ctx: Any, states: Any, head: Callable[[Any], Any], targets: Any, size: int) -> Any:
        losses, slopes = [], []
        for part, wanted in zip(states.split(size), targets.split(size), strict=True):
            with torch.enable_grad():
                leaf = part.detach().requires_grad_(ctx.needs_input_grad[0])
                loss = functional.cross_entropy(head(leaf).float(), wanted, reduction="none")
                if ctx.needs_input_grad[0]:
                    slopes.append(torch.autograd.grad(loss.sum(), leaf)[0])
            losses.append(loss.detach())
        ctx.slopes = torch.cat(slopes) if slopes else None
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, scale: Any) -> Any:
        return ctx.slopes * scale[:, None].to(ctx.slopes.dtype), None, None, None


def token_losses(states: Any, head: Callable[[Any], Any], targets: Any, vocabulary: int) -> Any:
    """Return each token's loss ``[tokens]`` [nats], which can be differentiated by the states.

    ``states`` ``[tokens, hidden]`` are what the head reads, ``targets`` ``[tokens]``.
    """
    return _HeadLoss.apply(states, head, targets, max(1, _LOGITS // vocabulary))


def head_loss(states: Any, head: Callable[[Any], Any], targets: Any, weights: Any, vocabulary: int) -> tuple[Any, Any]:
    """Return the weighted sum of the losses [nats], which can be differentiated, and each token's loss ``[tokens]``.

    ``states`` ``[tokens, hidden]`` are what the head reads, ``targets`` and ``weights`` ``[tokens]``.
    """
    losses = token_losses(states, head, targets, vocabulary)
    return (losses * weights).sum(), losses.detach()


def learnt_losses(states: Any, rows: Sequence[TokenRow], head: Callable[[Any], Any], vocabulary: int) -> Any:
    """Return what :func:`token_losses` returns over the learnt tokens of rows, one row's after the other's.

    ``states`` ``[rows, positions, hidden]``.
    """
    seen = torch.cat([states[n, row.before + row.start - 1 : len(row) - 1] for n, row in enumerate(rows)])
    targets = torch.tensor([token for row in rows for token in row.ids[row.start :]], device=states.device)
    return token_losses(seen, head, targets, vocabulary)


def each_token(rows: Sequence[TokenRow], weights: Sequence[float], device: Any) -> Any:
    """Return the weights of rows as those of their learnt tokens ``[tokens]``."""
    return torch.tensor([w for row, w in zip(rows, weights, strict=True) for _ in range(row.learnt)], device=device)


def rows_loss(
    states: Any, rows: Sequence[TokenRow], weights: Sequence[float], head: Callable[[Any], Any], vocabulary: int
) -> tuple[Any, Any]:
    """Return what :func:`head_loss` returns over the learnt tokens of rows, one row's after the other's.

    ``states`` ``[rows, positions, hidden]``; ``weights`` are those of a token, one for each row.
    """
    losses = learnt_losses(states, rows, head, vocabulary)
    return (losses * each_token(rows, weights, states.device)).sum(), losses.detach()
