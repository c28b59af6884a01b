"""Other people out of the store, within their consent and the operator's policy.

Consent, existence and the state of a person's records are looked up at every answer, so that a withdrawal, an erasure
or a deleted record counts from that moment on. What makes an answer quick (who shares, mean vectors, where an item's
records lie) is kept for :data:`REFRESH` seconds and holds no text; somebody who begins to share, and what people add
about an item, is seen that much later.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from idiolect.errors import NotFound
from idiolect.peers import Near, Statistics
from idiolect.store.sharing import sharing
from idiolect.store.store import Store
from idiolect.store.view import StoredUser, view
from idiolect.types import Floats, Record, User

REFRESH = 300.0
_REMEMBERED = 1 << 16  # vectors and measured values held
_State = tuple[int, int, int]  # number, epoch and items of a user: another one means other records


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
    asked: Callable[[], float] = time.time
    """The moment of asking, for what is searched among others' records."""
    _names: list[str] = field(default_factory=list)
    _items: dict[str, list[tuple[str, str]]] | None = None
    _held: dict[Hashable, tuple[_State, Floats | None]] = field(default_factory=dict)
    _since: float = -np.inf

    @property
    def least(self) -> int:
        """The fewest people that counts and statistics may be over."""
        return max(1, self.policy.least)

    def shares(self, user: User) -> bool:
        """Whether a person is among those who share."""
        return user.id in self._states([user.id]) and (self.people is None or user.id in set(self.people()))

    def about(self, item: str, user: User) -> list[Record]:
        """Return others' records about an item, oldest first; empty without texts."""
        return self._about(item, user) if self.policy.texts else []

    def counts(self, item: str, user: User) -> Mapping[str, int]:
        """Return how many others gave each output about an item; what fewer than ``least`` gave is left out."""
        given = {(record.user_id, record.output) for record in self._about(item, user)}
        counts = Counter(output for _, output in given)
        return {output: count for output, count in counts.items() if count >= self.least}

    def near(self, user: User, k: int, *, farthest: bool = False) -> list[Near]:
        """Return the ``k`` people with the most (or least) similar mean vector, ties by id; empty without texts."""
        own = self.vector(user) if self.policy.texts else None
        if own is None:
            return []
        found = []
        for name, state in self._others(user).items():
            vector = self._kept(("vector", name, user.now), state, partial(self._vector, name, user.now))
            if vector is not None:
                found.append((float(vector @ own), name))
        found.sort(key=lambda pair: (pair[0] if farthest else -pair[0], pair[1]))
        return [Near(view(self.store, name, user.now, self.asked()), similarity) for similarity, name in found[:k]]

    def vector(self, user: User) -> Floats | None:
        """Return the unit mean vector ``[dim]`` of the newest records that a view of a person shows."""
        shown = None if isinstance(user, StoredUser) else [record.id for record in user.history]
        return StoredUser(self.store, user.id, user.now).mean_vector(only=shown)

    def statistics(self, name: str, measure: Callable[[User], Floats | None], user: User) -> Statistics | None:
        """Return mean and deviation of a measure over others, ``None`` for fewer than ``least``."""
        found = []
        for other, state in self._others(user).items():
            seen = view(self.store, other, user.now)
            value = self._kept((name, other, user.now), state, partial(measure, seen))
            if value is not None:
                found.append(value)
        if len(found) < self.least:
            return None
        stack = np.stack(found)  # [people, n]
        return Statistics(stack.mean(axis=0), stack.std(axis=0), len(found))

    def _about(self, item: str, user: User) -> list[Record]:
        if not item:
            return []
        self._fresh()
        if self._items is None:
            self._items = self._by_item()
        held = [(name, record_id) for name, record_id in self._items.get(item, ()) if name != user.id]
        there = self._states(dict.fromkeys(name for name, _ in held))
        found = []
        for name, record_id in held:
            if name not in there:
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

    def _others(self, user: User) -> dict[str, _State]:
        self._fresh()
        return self._states(name for name in self._names if name != user.id)

    def _states(self, names: Iterable[str]) -> dict[str, _State]:
        """Return those of some people who are there and share, with the state of their records."""
        found: dict[str, _State] = {}
        with self.store.rows.read() as tx:
            for name in names:
                key = self.store.key(name)
                row = None if key is None else tx.user(key.uid)
                if key is None or row is None:
                    continue
                if self.people is not None or self.store.about(key, row).get("shares", False):
                    found[name] = (row.uid, row.epoch, row.items)
        return found

    def _kept(self, key: Hashable, state: _State, make: Callable[[], Floats | None]) -> Floats | None:
        """Return what was made of a person's records, made again where these are others by now."""
        held = self._held.get(key)
        if held is None or held[0] != state:
            if len(self._held) >= _REMEMBERED:
                self._held.clear()
            held = self._held[key] = (state, make())
        return held[1]

    def _fresh(self) -> None:
        """Look again at who shares, once what is known is old."""
        if self.clock() - self._since < REFRESH:
            return
        self._names = sorted(sharing(self.store) if self.people is None else self.people())
        self._items = None
        self._held.clear()
        self._since = self.clock()

    def _vector(self, name: str, now: float) -> Floats | None:
        return StoredUser(self.store, name, now).mean_vector()
