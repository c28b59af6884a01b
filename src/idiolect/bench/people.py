"""How an arm of the bench sees a person: whole or in part, with another search, or somebody else in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from idiolect.bench.tasks._shared import stable_rng
from idiolect.store.search import DENSE, Ranker
from idiolect.store.view import StoredUser
from idiolect.types import Artifact, Floats, Hit, Kind, Record, State, Wishes

Order = Literal["default", "bm25", "dense", "random", "recent"]

BM25 = Ranker(words=(), vectors=(), dense=0.0, speaker=0.0, date=0.0, session=0.0, recency=0.0)
"""Each record by itself, by words alone: the textbook's retrieval."""
_RANKERS = {"bm25": BM25, "dense": DENSE}


@dataclass
class Seen:
    """A :class:`idiolect.types.User` over a stored one.

    ``order`` replaces the search, ``latest`` leaves only so many of the newest records (a person who came so many
    records ago), records about ``hidden`` items are left out, ``learnt`` stands for what was fitted for this view.
    """

    base: StoredUser
    order: Order = "default"
    latest: int | None = None
    hidden: frozenset[str] = frozenset()
    seed: str = ""
    learnt: tuple[Artifact, ...] = ()
    groups: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The stored user's id."""
        return self.base.id

    @property
    def now(self) -> float:
        """Seconds since the epoch, or the place in an undated history."""
        return self.base.now

    @cached_property
    def history(self) -> Sequence[Record]:
        """The records that this view shows, oldest first."""
        found = [record for record in self.base.history if record.meta.get("item") not in self.hidden]
        return found if self.latest is None else found[len(found) - min(self.latest, len(found)) :]

    @cached_property
    def _whole(self) -> bool:
        return len(self.history) == len(self.base.history)

    @property
    def count(self) -> int:
        """Number of records that this view shows."""
        return len(self.history)

    @property
    def artifacts(self) -> Sequence[Artifact]:
        """What was learnt for this view."""
        return self.learnt

    def before(self, time: float) -> Seen:
        """Return the same view as of ``time``; what was learnt for this one is left out."""
        return Seen(self.base.before(time), self.order, self.latest, self.hidden, self.seed, (), self.groups)

    def search(self, query: str, k: int = 10, *, kinds: Sequence[Kind] = ()) -> list[Hit]:
        """Return ``k`` records in this view's order."""
        if self.order in ("random", "recent"):
            found = [record for record in reversed(self.history) if not kinds or record.kind in kinds]
            if self.order == "random":
                stable_rng(self.seed, query).shuffle(found)
            return [Hit(record, 1.0 - n / (len(found) + 1)) for n, record in enumerate(found[:k])]
        wanted = k if self._whole else max(1, len(self.base.history))
        hits = self.base.search(query, wanted, kinds=kinds, ranker=_RANKERS.get(self.order))
        if self._whole:
            return hits
        shown = {record.id for record in self.history}
        return [hit for hit in hits if hit.record.id in shown][:k]

    def since(self, time: float) -> list[Record]:
        """Return the shown records from ``time`` on, oldest first."""
        return [record for record in self.history if record.time >= time]

    def states(self, record_ids: Sequence[str]) -> Mapping[str, State]:
        """Return what has happened to some records."""
        return self.base.states(record_ids)

    @property
    def standing(self) -> Sequence[Record]:
        """The records that are always in mind."""
        shown = {record.id for record in self.history}
        return [record for record in self.base.standing if record.id in shown]

    @property
    def slots(self) -> Mapping[str, str]:
        """The newest record for what a person has one of at a time."""
        return self.base.slots

    @property
    def wishes(self) -> Wishes:
        """What the person wants of their memory."""
        return self.base.wishes

    def neighbours(self, record_id: str, before: int = 1, after: int = 1) -> list[Record]:
        """Return the shown records around one, in its own session."""
        shown = {record.id for record in self.history}
        return [record for record in self.base.neighbours(record_id, before, after) if record.id in shown]

    def embedded(self, record_ids: Sequence[str]) -> Floats | None:
        """Return the stored vectors of some records."""
        return self.base.embedded(record_ids)
