"""Idiolect: make any large language model personal for each of its users.

>>> from idiolect import Idiolect                      # doctest: +SKIP
>>> app = Idiolect.open()                              # doctest: +SKIP
>>> app.ask("What should I cook tonight?", user="ana") # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from idiolect.pipeline import Idiolect
    from idiolect.registry import method
    from idiolect.types import Artifact, Block, Call, Context, Hit, Item, Record, Turn, Used, User

__all__ = [
    "Artifact",
    "Block",
    "Call",
    "Context",
    "Hit",
    "Idiolect",
    "Item",
    "Record",
    "Turn",
    "Used",
    "User",
    "__version__",
    "method",
]

_HOME = {"Idiolect": "idiolect.pipeline", "method": "idiolect.registry"}


def __getattr__(name: str) -> Any:
    # Names are looked up on first use, so that importing the package stays quick and free of side effects.
    if name not in __all__:
        raise AttributeError(f"module 'idiolect' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME.get(name, "idiolect.types")), name)
