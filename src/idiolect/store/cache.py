"""Which users' indexes are held in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict

from idiolect.store.index import UserIndex
from idiolect.store.rows import UserRow

SHORT = 4096
"""Records up to which a user's vectors are held in memory as floats."""


class IndexCache:
    """The most recently used users' indexes, up to a number of bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[int, UserIndex] = OrderedDict()
        self._sizes: dict[int, int] = {}
        self._total = 0
        self._lock = threading.Lock()

    def get(self, uid: int, row: UserRow, dim: int) -> UserIndex:
        """Return the user's index; a new, empty one where the held one is of another epoch."""
        with self._lock:
            index, short = self._held.get(uid), row.items <= SHORT
            if index is None or (index.epoch, index.dim, index.short) != (row.epoch, dim, short):
                index = self._held[uid] = UserIndex(row.epoch, dim, short=short)
            self._held.move_to_end(uid)
            return index

    def grew(self, uid: int, index: UserIndex) -> None:
        """Count a user's index anew and let go of the least recently used; the last one stays whatever its size."""
        with self._lock:
            if self._held.get(uid) is not index:
                return
            self._count(uid, index.nbytes)
            while self._total > self._limit and len(self._held) > 1:
                self._count(self._held.popitem(last=False)[0], 0)

    def _count(self, uid: int, size: int) -> None:
        self._total += size - self._sizes.pop(uid, 0)
        if size:
            self._sizes[uid] = size

    def drop(self, uid: int) -> None:
        """Forget one user."""
        with self._lock:
            self._held.pop(uid, None)
            self._count(uid, 0)
