"""Which modules of a PyTorch decoder take a low-rank change, under the names that PEFT gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idiolect.errors import InputError


@dataclass(frozen=True, slots=True)
class Site:
    """A linear module: its full ``name`` in the model, its decoder ``layer`` from 0, and the sizes of its matrix.

    ``transposed`` is true where the weight is kept as ``[in, out]`` (GPT-2's ``Conv1D``).
    """

    name: str
    layer: int
    module: Any
    inputs: int
    outputs: int
    transposed: bool

    @property
    def last_name(self) -> str:
        """The last part of the name, as recipes give it."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Place:
    """A site as those see it who do not hold the model; ``norm`` is the Frobenius norm of its matrix."""

    name: str
    layer: int
    inputs: int
    outputs: int
    norm: float

    @property
    def kind(self) -> str:
        """What sites of one function and shape have in common."""
        return f"{self.name.rpartition('.')[2]} {self.inputs} {self.outputs}"


def sites(model: Any, layers: Sequence[Any]) -> dict[str, Site]:
    """Return all linear modules of the decoder layers by full name, in the order in which the model has them."""
    from torch import nn

    names = {id(module): name for name, module in model.named_modules()}
    found = {}
    for number, layer in enumerate(layers):
        for module in layer.modules():
            weight: Any = getattr(module, "weight", None)
            if isinstance(module, nn.Linear):
                site = Site(names[id(module)], number, module, weight.shape[1], weight.shape[0], False)
            elif type(module).__name__ == "Conv1D" and weight is not None and weight.ndim == 2:
                site = Site(names[id(module)], number, module, weight.shape[0], weight.shape[1], True)
            else:
                continue
            found[site.name] = site
    return found


def chosen(found: Mapping[str, Site], modules: Sequence[str], layers: int, total: int) -> dict[str, Site]:
    """Return the sites with these last names (all without any) in the last ``layers`` of ``total`` (0: in all).

    Raises :class:`InputError` for a name that no module has.
    """
    known = {site.last_name for site in found.values()}
    unknown = sorted(set(modules) - known)
    if unknown:
        raise InputError(f"the model has no linear module {unknown[0]!r}; it has {', '.join(sorted(known))}")
    first = max(0, total - layers) if layers else 0
    return {
        name: site for name, site in found.items() if site.layer >= first and (not modules or site.last_name in modules)
    }


def places(found: Mapping[str, Site]) -> list[Place]:
    """Return sites without their modules."""
    return [
        Place(site.name, site.layer, site.inputs, site.outputs, float(site.module.weight.float().norm()))
        for site in found.values()
    ]
