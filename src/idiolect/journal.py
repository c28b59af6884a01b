"""Writing down what must not be lost: many entries in one commit, each told when it is durable."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from idiolect.worker import Worker

T = TypeVar("T")
PAUSE = 0.1


class Journal(Generic[T]):
    """Entries are written in the order in which they came; those that come while a commit is under way share the next.

    ``write`` gets a batch and returns once it is durable.
    """

    def __init__(self, write: Callable[[Sequence[T]], object]) -> None:
        self._write = write
        self._waiting: deque[tuple[T, Future[None]]] = deque()
        self._hurry = threading.Event()
        self.worker = Worker("idiolect-journal")

    def put(self, entry: T) -> Future[None]:
        """Write an entry now; the future is done when it is durable, and raises what kept it from being written."""
        done: Future[None] = Future()
        self._waiting.append((entry, done))
        self._hurry.set()
        self.worker.submit(self._flush)
        return done

    def put_later(self, entry: T) -> None:
        """Write an entry within :data:`PAUSE` seconds, together with what comes until then."""
        self._waiting.append((entry, Future()))
        self.worker.submit(self._flush_later)

    def _flush_later(self) -> None:
        if self._waiting:
            self._hurry.wait(PAUSE)
            self._flush()

    def _flush(self) -> None:
        self._hurry.clear()
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not batch:
            return
        try:
            self._write([entry for entry, _ in batch])
        except BaseException as error:
            for _, done in batch:
                done.set_exception(error)
            raise
        for _, done in batch:
            done.set_result(None)

    def drain(self) -> None:
        """Wait until all that came so far is written."""
        self._hurry.set()
        self.worker.drain()

    def close(self) -> None:
        """Write what waits and stop."""
        self._hurry.set()
        self.worker.close()
