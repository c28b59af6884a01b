"""What is compared: methods from the registry, and the controls that stand beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from idiolect import registry
from idiolect.bench.people import Order
from idiolect.config import MethodSpec
from idiolect.errors import ConfigError, UnknownName
from idiolect.prompting.assembly import Named

Kind = Literal["method", "control", "predictor"]


@dataclass(frozen=True)
class Arm:
    """One row of the table: methods folded in order, and how they see the person."""

    name: str
    specs: tuple[MethodSpec, ...] = ()
    kind: Kind = "method"
    order: Order = "default"
    other: bool = False
    """Whether another person's history stands in the place of the own one."""

    def methods(self) -> tuple[Named, ...]:
        """Make the methods."""
        return tuple(registry.make_method(spec) for spec in self.specs)

    @property
    def sees(self) -> str:
        """Whose records the arm reads, in a word."""
        return "nobody" if not self.specs else "other" if self.other else "own"


CONTROLS = (
    Arm("none", kind="control"),
    Arm("other", ("retrieval",), "control", other=True),
    Arm("random", ("retrieval",), "control", "random"),
    Arm("recent", ("retrieval",), "control", "recent"),
)
"""Run in every task: no personalization, another person's history, random and most recent records."""
RANKINGS = (
    Arm("bm25", ("retrieval",), "method", "bm25"),
    Arm("dense", ("retrieval",), "method", "dense"),
)
"""The same method with the textbook's searches."""
_VIEWS: dict[str, dict[str, Any]] = {
    "other": {"other": True}, "random": {"order": "random"}, "recent": {"order": "recent"},
    "bm25": {"order": "bm25"}, "dense": {"order": "dense"},
}  # fmt: skip


def arms(names: str, default: Sequence[MethodSpec]) -> tuple[Arm, ...]:
    """Return the controls and the arms that a comma-separated list names.

    ``NAME``, ``NAME:setting=value:setting=value``, several joined with ``+``, and ``@other``, ``@random``, ``@recent``,
    ``@bm25`` or ``@dense`` for another view of the person. ``default`` is what the settings serve.
    """
    found = {arm.name: arm for arm in CONTROLS}
    ready = {arm.name: arm for arm in (*CONTROLS, *RANKINGS)}
    for name in dict.fromkeys(part.strip() for part in registry.split(names, ",") if part.strip()):
        found[name] = ready.get(name) or _arm(name, default)
    return tuple(found.values())


def _arm(name: str, default: Sequence[MethodSpec]) -> Arm:
    folded, at, view = name.partition("@")
    if at and view not in _VIEWS:
        raise ConfigError(str(UnknownName("view of a person", view, _VIEWS)))
    specs = tuple(
        spec
        for part in registry.split(folded, "+")
        for spec in (default if part == "default" else [registry.read_spec(part)])
    )
    arm = Arm(name, specs, **_VIEWS.get(view, {}))
    arm.methods()
    return arm
