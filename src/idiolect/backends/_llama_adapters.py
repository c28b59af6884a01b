"""Which adapters a llama.cpp server holds: it takes them when it is made, so another one means another server."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from idiolect.errors import IdiolectError, InputError
from idiolect.training import gguf_format, peft_format
from idiolect.types import Adapter


class Engine(Protocol):
    """What holds the adapters."""

    def close(self) -> None:
        """Release model, adapters and what was computed."""


E = TypeVar("E", bound=Engine)

Key = tuple[str, str]
"""An artifact's id, and the digest of its weights."""


@dataclass(frozen=True, slots=True)
class Lease(Generic[E]):
    """An engine that stays as it is while one request uses it, and what the request says of its adapters."""

    engine: E
    lora: list[dict[str, float]]


class Residents(Generic[E]):
    """One engine, made when it is first needed and made anew for adapters that it does not hold.

    ``make`` builds it with the adapters in these files, ``write`` puts an adapter into a file. At most ``keep``
    adapters are held, more only where one request needs more; those least recently used go first. A change waits until
    the requests that are running have ended, and new ones wait for the change, so there is never more than one engine.
    """

    def __init__(self, make: Callable[[list[Path]], E], write: Callable[[Adapter, Path], None], keep: int) -> None:
        self._make, self._write, self._keep = make, write, keep
        self._state = threading.Condition()
        self._engine: E | None = None
        self._held: dict[Key, Adapter] = {}  # the most recently used last
        self._loaded: dict[Key, int] = {}  # the number by which the engine knows each
        self._wanted: list[Mapping[Key, Adapter]] = []  # by requests that wait
        self._running = 0
        self._changing = False

    @property
    def engine(self) -> E | None:
        """The engine, where there is one; it may be replaced at any time."""
        return self._engine

    @property
    def loaded(self) -> list[Key]:
        """Which adapters it holds."""
        return list(self._loaded)

    @contextlib.contextmanager
    def lease(self, adapters: Sequence[Adapter] = ()) -> Iterator[Lease[E]]:
        """Use an engine that holds these adapters. The work inside must end by itself: a change waits for it.

        Raises what ``write`` raises for an adapter that cannot be loaded.
        """
        lease = self._begin(adapters)
        try:
            yield lease
        finally:
            with self._state:
                self._running -= 1
                self._state.notify_all()

    def forget(self, ids: Collection[str]) -> int:
        """Drop the adapters of these artifacts from memory, with all that was computed under them; return how many."""
        self._begin_change()
        with self._change():
            gone = [key for key in self._held if key[0] in ids]
            if gone:
                self._release()
            for key in gone:
                del self._held[key]
        return len(gone)

    def close(self) -> None:
        """Wait for running work, and release engine and adapters."""
        self._begin_change()
        with self._change():
            self._release()
            self._held = {}

    def _begin(self, adapters: Sequence[Adapter]) -> Lease[E]:
        wanted = {(one.id, one.body.digest): one for one in adapters if one.weight}
        with self._state:
            self._wanted.append(wanted)
            self._state.wait_for(lambda: not self._changing)
            self._wanted.remove(wanted)
            if self._engine is not None and wanted.keys() <= self._loaded.keys():
                return self._lent(self._engine, wanted, adapters)
            self._changing = True
        with self._change():
            engine = self._reload(wanted)
            with self._state:
                return self._lent(engine, wanted, adapters)

    def _begin_change(self) -> None:
        with self._state:
            self._state.wait_for(lambda: not self._changing)
            self._changing = True

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        try:
            yield
        finally:
            with self._state:
                self._changing = False
                self._state.notify_all()

    def _lent(self, engine: E, wanted: Mapping[Key, Adapter], adapters: Sequence[Adapter]) -> Lease[E]:
        for key, one in wanted.items():
            self._held.pop(key, None)
            self._held[key] = one
        scales = dict.fromkeys(self._loaded, 0.0)
        for one in adapters:
            if one.weight:
                scales[one.id, one.body.digest] += one.weight
        self._running += 1
        return Lease(engine, [{"id": self._loaded[key], "scale": scale} for key, scale in scales.items()])

    def _release(self) -> None:
        with self._state:
            self._state.wait_for(lambda: not self._running)
        if self._engine is not None:
            self._engine.close()
        self._engine, self._loaded = None, {}

    def _reload(self, wanted: Mapping[Key, Adapter]) -> E:
        chosen = self._chosen(wanted)
        with contextlib.ExitStack() as stack:
            files: dict[Key, Path] = {}
            for key, one in chosen.items():
                path = stack.enter_context(_private_file())
                try:
                    self._write(one, path)
                except IdiolectError:  # not this request's: whoever needs it will be told
                    if key in wanted:
                        raise
                else:
                    files[key] = path
            self._release()  # before the new one is there: two would need twice the memory
            self._held = {}
            engine = self._engine = self._make(list(files.values()))
        self._loaded = {key: number for number, key in enumerate(files)}
        self._held = {key: chosen[key] for key in files}
        return engine

    def _chosen(self, wanted: Mapping[Key, Adapter]) -> dict[Key, Adapter]:
        """Return what the next engine holds: what is wanted, what waiting requests want, and what was used last."""
        chosen = dict(wanted)
        with self._state:
            waiting = [item for other in self._wanted for item in other.items()]
        for key, one in [*waiting, *reversed(self._held.items())]:
            if len(chosen) < self._keep:
                chosen.setdefault(key, one)
        return dict(reversed(chosen.items()))


def write(adapter: Adapter, base: gguf_format.Base, fingerprint: str, path: Path) -> None:
    """Write an adapter for llama.cpp; :class:`InputError` for one that was made for another model."""
    change = peft_format.load(adapter.body.read())
    if change.base_model and change.base_model != fingerprint:
        raise InputError(
            f"adapter {adapter.id} was made for the model {change.base_model}, not for {fingerprint}. "
            "Fit it anew, or choose that model."
        )
    gguf_format.write(change, base, path)


@contextlib.contextmanager
def _private_file() -> Iterator[Path]:
    """Give a file that nobody else can read, gone afterwards; on Linux it is never on a disk."""
    if sys.platform == "linux" and os.path.isdir("/proc/self/fd"):
        number = os.memfd_create("adapter")
        try:
            yield Path(f"/proc/self/fd/{number}")
        finally:
            os.close(number)
    else:
        with tempfile.TemporaryDirectory(prefix="idiolect-") as folder:  # made for its owner alone
            yield Path(folder, "adapter.gguf")
