"""Token rows as tensors, and the head that reads what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from idiolect.training.rows import TokenRow


def padded(rows: Sequence[TokenRow], device: Any) -> tuple[Any, Any]:
    """Return ids ``[rows, longest]``, padded on the right, and their mask, none where all are alike in length."""
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = torch.tensor(row.ids)
    if all(len(row) == width for row in rows):
        return ids.to(device), None
    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(width)[None] < lengths[:, None]).long()
    return ids.to(device), mask.to(device)


def head_of(model: Any) -> Callable[[Any], Any]:
    """Return the head as the model applies it: some families bound or scale the logits."""
    head, config = model.get_output_embeddings(), model.config.get_text_config()
    cap, scale = getattr(config, "final_logit_softcapping", None), getattr(config, "logits_scaling", None)

    def apply(states: Any) -> Any:
        logits = head(states)
        if scale:
            logits = logits / scale
        return torch.tanh(logits / cap) * cap if cap else logits

    return apply
