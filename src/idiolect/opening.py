"""Opening what the settings name: the store with its embedder, and the helper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol, cast

from idiolect import registry
from idiolect.config import Settings
from idiolect.store.keys import MasterKey
from idiolect.store.store import Store
from idiolect.text.embedding import load_embedder
from idiolect.types import Backend, Keeps


class Keeper(Keeps, Backend, Protocol):
    """A backend that hands adapters to another program."""


def helper_of(settings: Settings, **more: Any) -> Backend | None:
    """Make the helper that the settings name, with ``more`` settings where its backend knows them."""
    if not settings.helper:
        return None
    table = dict(settings.backends.get(settings.helper, {}))
    entry = registry.backends.get(str(table.pop("backend", settings.helper)))
    known = {f.name for f in fields(cast("Any", entry.make))}
    return registry.build(entry, {**{key: value for key, value in more.items() if key in known}, **table})


def keeper_of(settings: Settings, **more: Any) -> Keeper | None:
    """Make the backend that the settings name where it hands adapters to another program, with ``more`` settings."""
    entry = registry.backends.get(settings.backend)
    if not issubclass(cast("type", entry.make), Keeps):
        return None
    table = {**settings.backends.get(settings.backend, {}), **more}
    return cast("Keeper", registry.build(entry, table))


def open_store(settings: Settings, ask: Callable[[str], str] | None = None, *, embed: bool = True) -> Store:
    """Open the store that the settings name."""
    paths = settings.paths
    embedder = load_embedder(settings.embedder) if embed else None
    return Store.open(Path(paths.data), Path(paths.keys), MasterKey(paths.master_key, ask), embedder)
