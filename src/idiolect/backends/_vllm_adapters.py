"""What vLLM gets as an adapter: a name that tells nothing, and one change of weights that it can serve."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from idiolect.errors import InputError
from idiolect.training.factors import Factors, LowRank, cat, truncated
from idiolect.training.peft_format import dump, load
from idiolect.types import Adapter

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for ``--max-lora-rank``."""
_NOTHING = LowRank({"nothing.base_layer": Factors(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))})
"""No model has this module; the last part of its name is one that vLLM does not look up among the model's."""
_IN_A_LAYER = re.compile(r"\.\d+\.")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the vLLM server can serve: changes of one base model, up to a rank; higher ones are ``cut`` or refused."""

    base_model: str
    rank: int
    cut: bool


def name_of(key: bytes, adapters: Sequence[Adapter], limits: Limits) -> str:
    """Return the name of a weighted sum of adapters: a keyed hash of what it is made from, in whatever order.

    Other weights, another version, another limit of the rank: another name. Without the key nothing follows from it.
    """
    parts = sorted((one.id, one.body.digest, repr(float(one.weight))) for one in adapters)
    told = repr((parts, limits.rank, limits.cut)).encode()
    return "u-" + hmac.new(key, told, hashlib.sha256).hexdigest()[:32]


def combined(adapters: Sequence[Adapter], limits: Limits) -> bytes:
    """Return the weighted sum of adapters as one in PEFT's format: vLLM takes one for each prompt.

    Without any it is an adapter that changes nothing, whatever the model. Raises :class:`InputError` for what vLLM
    cannot serve: another base model, a bias, a module outside the layers, a rank above the limit.
    """
    if not adapters:
        return dump(_NOTHING)
    parts = [load(one.body.read()) for one in adapters]
    for part in parts:
        _check(part, limits.base_model)
    whole = cat(parts, [one.weight for one in adapters])
    if whole.rank > limits.rank:
        if not limits.cut:
            raise InputError(
                f"adapters of rank {whole.rank} in all cannot be served: max_rank is {limits.rank}. Raise it with "
                f"vLLM's --max-lora-rank ({', '.join(map(str, RANKS))}), or set cut = true to serve the nearest change "
                "of that rank"
            )
        whole = truncated(whole, limits.rank)
    return dump(whole)


def _check(part: LowRank, base_model: str) -> None:
    if part.base_model != base_model:
        raise InputError(
            f"an adapter of {part.base_model or 'an unnamed model'!r} cannot be served with {base_model!r}; set "
            "'weights' of the vllm backend to the model that it was trained with, if vLLM serves that one"
        )
    for name, one in part.modules.items():
        if one.bias is not None:
            raise InputError(f"vLLM serves no bias, and this adapter has one of {name!r}; train without")
        if _IN_A_LAYER.search(f".{name}.") is None:
            raise InputError(f"vLLM serves changes of the layers' linear modules only, and {name!r} is none of them")
