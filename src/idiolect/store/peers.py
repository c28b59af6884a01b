"""Other people out of the store, within their consent and the operator's policy.

Consent and existence are looked up at every answer, so that a withdrawal or an erasure counts from that moment on. What
makes an answer quick (who shares, mean vectors, where an item's records lie) is kept for :data:`REFRESH` seconds and
holds no text; somebody who begins to share is seen that much later.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from idiolect.errors import NotFound
from idiolect.peers import Near, Statistics
from idiolect.store.sharing import shares, sharing
from idiolect.store.store import Store
from idiolect.store.view import StoredUser, view
from idiolect.types import Floats, Record, User

REFRESH = 300.0


@dataclass(frozen=True)
class Policy:
    """What the operator allows."""

    texts: bool = False
    """Whether other people's records may enter a prompt at all."""
    least: int = 5
    """Counts and statistics need at least so many people."""


@dataclass
class StorePeers:
    """:class:`idiolect.peers.Peers` over a store; ``people`` fixes who is looked at, without it all who share are."""

    store: Store
    policy: Policy = Policy()
    people: Callable[[], Iterable[str]] | None = None
    clock: Callable[[], float] = time.monotonic
    _names: list[str] = field(default_factory=list)
    _items: dict[str, list[tuple[str, str]]] | None = None
    _vectors: dict[tuple[str, float], Floats | None] = field(default_factory=dict)
    _measured: dict[tuple[str, str, float], Floats | None] = field(default_factory=dict)
    _since: float = -np.inf

    def about(self, item: str, user: User) -> list[Record]:
        """Return others' records about an item, oldest first; empty without texts."""
        return self._about(item, user) if self.policy.texts else []

    def counts(self, item: str, user: User) -> Mapping[str, int]:
        """Return how many others gave each output about an item; what fewer than ``least`` gave is left out."""
        given = {(record.user_id, record.output) for record in self._about(item, user)}
        counts = Counter(output for _, output in given)
        return {output: count for output, count in counts.items() if count >= self.policy.least}

    def near(self, user: User, k: int, *, farthest: bool = False) -> list[Near]:
        """Return the ``k`` people with the most (or least) similar mean vector, ties by id; empty without texts."""
        own = self._vector(user.id, user.now) if self.policy.texts else None
        if own is None:
            return []
        found = []
        for name in self._others(user):
            vector = self._vector(name, user.now)
            if vector is not None:
                found.append((float(vector @ own), name))
        found.sort(key=lambda pair: (pair[0] if farthest else -pair[0], pair[1]))
        chosen = [(similarity, name) for similarity, name in found if self._shares(name)][:k]
        return [Near(view(self.store, name, user.now), similarity) for similarity, name in chosen]

    def statistics(self, name: str, measure: Callable[[User], Floats | None], user: User) -> Statistics | None:
        """Return mean and deviation of a measure over others, ``None`` for fewer than ``least``."""
        found = []
        for other in self._others(user):
            key = (name, other, user.now)
            if key not in self._measured:
                self._measured[key] = measure(view(self.store, other, user.now))
            value = self._measured[key]
            if value is not None and self._shares(other):
                found.append(value)
        if len(found) < max(1, self.policy.least):
            return None
        stack = np.stack(found)  # [people, n]
        return Statistics(stack.mean(axis=0), stack.std(axis=0), len(found))

    def _about(self, item: str, user: User) -> list[Record]:
        if not item:
            return []
        self._fresh()
        if self._items is None:
            self._items = self._by_item()
        found = []
        for name, record_id in self._items.get(item, ()):
            if name == user.id or not self._shares(name):
                continue
            try:
                record = self.store.find(name, record_id)
            except NotFound:  # deleted since
                continue
            if record.time < user.now:
                found.append(record)
        return sorted(found, key=lambda record: (record.time, record.id))

    def _by_item(self) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for name in self._names:
            for record in self.store.all_records(name):
                if "item" in record.meta:
                    found.setdefault(str(record.meta["item"]), []).append((name, record.id))
        return found

    def _others(self, user: User) -> list[str]:
        self._fresh()
        return [name for name in self._names if name != user.id]

    def _fresh(self) -> None:
        """Look again at who shares, once what is known is old."""
        if self.clock() - self._since < REFRESH:
            return
        self._names = sorted(sharing(self.store) if self.people is None else self.people())
        self._items = None
        self._vectors.clear()
        self._measured.clear()
        self._since = self.clock()

    def _shares(self, name: str) -> bool:
        return self.people is not None or shares(self.store, name)

    def _vector(self, name: str, now: float) -> Floats | None:
        if (name, now) not in self._vectors:
            self._vectors[name, now] = StoredUser(self.store, name, now).mean_vector()
        return self._vectors[name, now]
