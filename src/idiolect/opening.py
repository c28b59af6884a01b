"""Opening what the settings name: the store with its embedder, and the helper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from idiolect import registry
from idiolect.config import Settings
from idiolect.store.keys import MasterKey
from idiolect.store.store import Store
from idiolect.text.embedding import load_embedder
from idiolect.types import Backend


def helper_of(settings: Settings, **more: Any) -> Backend | None:
    """Make the helper that the settings name, with ``more`` settings where its backend knows them."""
    if not settings.helper:
        return None
    table = dict(settings.backends.get(settings.helper, {}))
    entry = registry.backends.get(str(table.pop("backend", settings.helper)))
    known = {f.name for f in fields(cast("Any", entry.make))}
    return registry.build(entry, {**{key: value for key, value in more.items() if key in known}, **table})


def open_store(settings: Settings, ask: Callable[[str], str] | None = None, *, embed: bool = True) -> Store:
    """Open the store that the settings name."""
    paths = settings.paths
    embedder = load_embedder(settings.embedder) if embed else None
    return Store.open(Path(paths.data), Path(paths.keys), MasterKey(paths.master_key, ask), embedder)
