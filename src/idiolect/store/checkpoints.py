"""Unfinished work of long trainings: sealed files beside the database, one a person and job.

They are no cells: a training replaces them again and again, and every replaced cell would be overwritten and logged.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from idiolect.errors import StoreCorrupt
from idiolect.store.keys import DataKey
from idiolect.types import EVERYONE

if TYPE_CHECKING:
    from idiolect.store.store import Store

log = logging.getLogger("idiolect")

KEPT_SECONDS = 30 * 86400.0
"""What has not been saved for so long belongs to a training that nobody goes on with."""
PART = "\x1f"
"""Parts a person's id from what a method adds to tell several jobs of one person apart."""


@dataclass
class StoredCheckpoints:
    """:class:`idiolect.trainable.Checkpoints` over a store, of one kind of training.

    ``training`` says what is trained how (method, settings, model), and is asked once there is something to keep or to
    look for: another training finds nothing. A job's key is the person's id, or that, :data:`PART` and anything else.
    """

    store: Store
    training: Callable[[], str]
    _swept: bool = field(default=False, init=False)

    def load(self, key: str) -> bytes | None:
        """Return what was saved last under a job's key.

        ``None`` where there is nothing, the person was erased, or the file does not verify: work begins anew then.
        """
        own = self._owner(key)[1]
        if own is None:
            return None
        path = self._path(own, key)
        try:
            return own.box.open(path.read_bytes(), _place(path))
        except FileNotFoundError:
            return None
        except StoreCorrupt:
            log.warning("the checkpoint %s does not verify; its work begins anew", path.name)
            return None

    def save(self, key: str, data: bytes) -> None:
        """Keep unfinished work in the place of what was there; durable on return.

        Nothing is kept of somebody who was erased meanwhile.
        """
        user, own = self._owner(key)
        if own is None or not self.store.exists(user, own.uid):
            return
        path = self._path(own, key)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._swept:
            sweep(path.parent, time.time() - KEPT_SECONDS)
            self._swept = True
        _replace(path, own.box.seal(data, _place(path)))

    def drop(self, key: str) -> None:
        """Remove it."""
        own = self._owner(key)[1]
        if own is not None:
            _remove(folder_of(self.store), self._path(own, key).name)

    def _owner(self, key: str) -> tuple[str, DataKey | None]:
        """Return the person a job belongs to, with the key; a person's id may hold the mark itself."""
        user = key if PART not in key or self.store.key(key) else key.partition(PART)[0]
        return user, self.store.keyring.ensure([user])[0] if user == EVERYONE else self.store.key(user)

    def _path(self, own: DataKey, key: str) -> Path:
        return folder_of(self.store) / f"{_prefix(own)}-{own.mac(f'job {self.training()}{PART}{key}').hex()}"


def folder_of(store: Store) -> Path:
    """Return where the files lie."""
    return store.folder / "checkpoints"


def forget(store: Store, key: DataKey) -> int:
    """Remove all unfinished work of a person; return how many files."""
    return _remove(folder_of(store), _prefix(key))


def forget_all(store: Store) -> int:
    """Remove all unfinished work, whosever; return how many files."""
    return _remove(folder_of(store), "")


def sweep(folder: Path, before: float) -> int:
    """Remove what was last saved before a time [s since the epoch]; return how many files."""
    return sum(_unlink(path) for path in _files(folder, "", before))


def _prefix(key: DataKey) -> str:
    return key.mac("checkpoints").hex()


def _place(path: Path) -> bytes:
    return b"checkpoint|" + path.name.encode()


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that at any moment either the old content is there or the new one."""
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        _unlink(Path(name))
        raise
    if os.name == "posix":  # the new name, too, must outlive a power cut
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(folder: Path, prefix: str) -> int:
    return sum(_unlink(path) for path in _files(folder, prefix))


def _files(folder: Path, prefix: str, before: float = float("inf")) -> list[Path]:
    found = []
    with contextlib.suppress(FileNotFoundError):  # there was never any, or another process removes the same ones
        for entry in os.scandir(folder):
            if entry.name.startswith(prefix) and (before == float("inf") or entry.stat().st_mtime < before):
                found.append(Path(entry.path))
    return found


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:  # another process was first
        return False
    return True
