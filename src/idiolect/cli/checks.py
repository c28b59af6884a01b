"""What ``idiolect config check`` looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from idiolect import config
from idiolect.cli.output import size
from idiolect.cli.session import passphrase
from idiolect.errors import IdiolectError

if TYPE_CHECKING:
    from idiolect.config import Settings


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    about: str


def checks() -> Iterator[Check]:
    """Look at everything; what fails does not keep the rest from being looked at."""
    try:
        settings = config.load()
    except IdiolectError as error:
        yield Check("settings", False, str(error))
        return
    file = config.config_path()
    yield Check("settings", True, f"{file}" if file.exists() else f"defaults (no file {file})")
    for name, look in (("methods", _methods), ("backend", _backend), ("embedder", _embedder), ("store", _store)):
        yield _checked(name, look, settings)


def _checked(name: str, look: Callable[[Settings], str], settings: Settings) -> Check:
    try:
        return Check(name, True, look(settings))
    except (IdiolectError, OSError) as error:
        return Check(name, False, str(error))


def _methods(settings: Settings) -> str:
    from idiolect import registry

    return ", ".join(registry.make_method(spec)[0] for spec in settings.methods) or "none"


def _backend(settings: Settings) -> str:
    from idiolect import registry

    entry = registry.backends.get(settings.backend)
    backend = registry.build(entry, settings.backends.get(settings.backend, {}))
    return f"{entry.name}: {backend.fingerprint}"


def _embedder(settings: Settings) -> str:
    from idiolect.text.embedding import load_embedder

    embedder = load_embedder(settings.embedder)
    return "none: search by words alone" if embedder is None else embedder.fingerprint


def _store(settings: Settings) -> str:
    from idiolect.opening import open_store
    from idiolect.store.erase import sweep

    store = open_store(settings, passphrase, embed=False)
    try:
        store.rows.check()
        swept = sweep(store)
        done = f"; {swept} erasures were cut short and are now finished" if swept else ""
        return f"{settings.paths.data}: intact, {size(store.rows.size())}, the keyring opens{done}"
    finally:
        store.close()
