"""Telling a backend that holds weights in memory which of them were deleted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from idiolect.errors import IdiolectError

log = logging.getLogger("idiolect")

STILL_THERE = (
    "If it runs, it may still have weights of what was deleted; no answer uses them any more. Restart it, which then "
    "has none, or the server that hands it adapters, which with its first adapter takes away all that it did not bring."
)
"""What to know, and to do, where a program that keeps adapters was not told."""


@dataclass
class LettingGo:
    """Calls ``forget(artifact_ids)`` of the backend; without one there is nothing to do.

    A deletion is done whatever the backend says: what it could not be told it is told with the next. Failures are
    counted.
    """

    forget: Callable[[list[str]], object] | None
    counters: Counter[str]
    _lingering: set[str] = field(default_factory=set, init=False)

    def __call__(self, artifact_ids: Iterable[str]) -> None:
        """Tell the backend what was deleted."""
        self._lingering.update(artifact_ids)
        told = sorted(self._lingering)
        if self.forget is None or not told:
            return
        try:
            self.forget(told)
        except IdiolectError as error:
            name = type(error).__name__
            self.counters[f"forget.{name}"] += 1
            log.error("the backend may still hold the weights of %d deleted artifacts: %s", len(told), name)
        else:
            self._lingering.difference_update(told)
