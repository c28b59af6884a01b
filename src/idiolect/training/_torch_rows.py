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
        ids[n, row.before : len(row)] = torch.tensor(row.ids)
    if all(len(row) == width for row in rows):
        return ids.to(device), None
    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(width)[None] < lengths[:, None]).long()
    return ids.to(device), mask.to(device)


def inputs_of(rows: Sequence[TokenRow], embed: Callable[[Any], Any], device: Any) -> dict[str, Any]:
    """Return what a decoder is given for rows ``[rows, longest]``, padded on the right: a mask only where they are.

    Rows with soft prompts are read as embeddings ``[rows, longest, hidden]``.
    """
    ids, mask = padded(rows, device)
    given: dict[str, Any] = {"input_ids": ids}
    if any(row.soft is not None for row in rows):
        with torch.no_grad():
            embedded = embed(ids)
        for n, row in enumerate(rows):
            if row.soft is not None:
                embedded[n, : row.before] = torch.from_numpy(row.soft).to(embedded)
        given = {"inputs_embeds": embedded}
    return given if mask is None else {**given, "attention_mask": mask}


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
