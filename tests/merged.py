"""A model whose weights are changed in place by adapters: the plainest way to serve them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from idiolect.backends.transformers import TransformersBackend
from idiolect.training import peft_format
from idiolect.training.modules import sites
from idiolect.types import Adapter, Call


@contextmanager
def merged(backend: TransformersBackend, adapters: Sequence[Adapter]) -> Iterator[None]:
    """Add adapters to the weights and biases of the backend's model, and take them away again."""
    import torch

    engine = backend._loaded()
    found, before = sites(engine.model, engine.layers), dict[str, tuple[Any, Any]]()
    for adapter in adapters:
        change = peft_format.load(adapter.body.read())
        for name, one in change.modules.items():
            module = found[name].module
            before.setdefault(name, (module.weight.data, module.bias))
            module.weight.data = module.weight.data + adapter.weight * torch.from_numpy(change.delta(name))
            if one.bias is not None:
                own = 0.0 if module.bias is None else module.bias.data
                more = adapter.weight * change.scaling * torch.from_numpy(one.bias)
                module.bias = torch.nn.Parameter(own + more, requires_grad=False)
    try:
        yield
    finally:
        for name, (weight, bias) in before.items():
            found[name].module.weight.data, found[name].module.bias = weight, bias


def logprobs(backend: TransformersBackend, call: Call, texts: Sequence[str]) -> list[float]:
    """Score texts after a call with its adapters in the weights."""
    with merged(backend, call.adapters):
        return backend.logprobs([replace(call, adapters=())] * len(texts), texts)
