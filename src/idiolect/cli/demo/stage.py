"""The temporary store that a demo plays in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from idiolect import config
from idiolect.cli.models import pulled
from idiolect.cli.output import note

if TYPE_CHECKING:
    from idiolect.config import Settings
    from idiolect.pipeline import Idiolect

_MODEL = "smollm2-135m-instruct"
_EMBEDDER = "minilm"


@contextmanager
def stage(backend: str, model: str, *, fast: bool, offline: bool) -> Iterator[Idiolect]:
    """Open a store in a temporary folder; nothing but the backend's settings is taken from the user's own."""
    from idiolect.pipeline import Idiolect

    own = config.load().backends.get(backend, {})
    chosen = {**own, **({"model": model} if model else {})}
    if backend == "llamacpp":
        chosen.setdefault("model", _MODEL)
        _fetch(str(chosen["model"]), offline)
    if not fast:
        _fetch(_EMBEDDER, offline)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="idiolect-demo-")))
        yield stack.enter_context(Idiolect.build(_settings(folder, backend, chosen, "none" if fast else _EMBEDDER)))


def _fetch(name: str, offline: bool) -> None:
    """Get a model that is not here, or say how where that is not allowed."""
    from idiolect.models import require

    if offline:
        require(name)
    else:
        pulled(name)


def _settings(folder: Path, backend: str, settings: dict[str, Any], embedder: str) -> Settings:
    keys = folder / "keys"
    paths = config.Paths(str(folder / "data"), str(keys), f"file:{keys / 'master.key'}")
    return dataclasses.replace(
        config.Settings(), backend=backend, backends={backend: settings}, embedder=embedder, paths=paths, remember=False
    )


def erase_all(app: Idiolect) -> list[dict[str, Any]]:
    """Erase everybody and return the receipts."""
    return [app.erase(info.id).as_json() for info in list(app.store.everybody())]


def farewell(receipts: list[dict[str, Any]]) -> None:
    """Say how the data was kept, and that it is gone."""
    records = sum(receipt["removed"].get("records", 0) for receipt in receipts)
    note(
        f"\nKept in a temporary store, each person sealed with a key of their own. Now erased: {len(receipts)} people, "
        f"{records:,} records, keys destroyed; receipt {receipts[0]['signature'][:16]}..."
    )
