"""One thread for what may happen after an answer."""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable

from idiolect.errors import Stopped

log = logging.getLogger("idiolect")


class Worker:
    """One background thread for what may happen after an answer; ``drain`` waits until nothing is left."""

    def __init__(self, name: str = "idiolect-worker") -> None:
        self._name = name
        self._jobs: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.failures: Counter[str] = Counter()

    def submit(self, job: Callable[[], object]) -> None:
        """Run ``job`` later; an error it raises is counted and logged without user text."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Stopped:
                log.info("a background job was told to end before it was done")
            except Exception as error:  # noqa: BLE001 - one failed job must not end the thread; it is counted and told
                self.failures[type(error).__name__] += 1
                log.error("background job failed: %s", type(error).__name__)

    def drain(self) -> None:
        """Wait for all jobs submitted so far; those that come in the meantime are not waited for."""
        done = threading.Event()
        with self._lock:
            if self._thread is None:
                return
            self._jobs.put(done.set)
        done.wait()

    @property
    def waiting(self) -> int:
        """How many jobs wait, about."""
        return self._jobs.qsize()

    def close(self) -> None:
        """Finish what is submitted and stop."""
        with self._lock:
            if self._thread is not None:
                self._jobs.put(None)
                self._thread.join()
                self._thread = None
