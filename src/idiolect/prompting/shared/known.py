"""A person with more learnt about them than the store holds: what a candidate learnt while it is being tried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from idiolect.types import EVERYONE, Artifact, Floats, Hit, Kind, Record, State, User, Wishes


@dataclass(frozen=True, slots=True)
class Known:
    """A :class:`idiolect.types.User` over another one, with ``learnt`` artifacts put before the ones it has.

    Own artifacts still stand before those of everyone. What is given here is shown whatever its time.
    """

    user: User
    learnt: tuple[Artifact, ...] = ()

    @property
    def id(self) -> str:
        """The person's own id."""
        return self.user.id

    @property
    def now(self) -> float:
        """Seconds since the epoch; infinite where nothing is hidden."""
        return self.user.now

    @property
    def groups(self) -> tuple[str, ...]:
        """Persona-level groups, the narrowest first."""
        return self.user.groups

    @property
    def count(self) -> int:
        """Number of records before ``now``."""
        return self.user.count

    @property
    def history(self) -> Sequence[Record]:
        """All records before ``now``, oldest first."""
        return self.user.history

    @property
    def artifacts(self) -> Sequence[Artifact]:
        """What was learnt here, then what was known; each once, the own ones before those of everyone."""
        found = [*self.learnt, *self.user.artifacts]
        once = {artifact.id: artifact for artifact in found}
        return sorted(once.values(), key=lambda artifact: artifact.user_id == EVERYONE)

    def search(self, query: str, k: int = 10, *, kinds: Sequence[Kind] = ()) -> list[Hit]:
        """Return the ``k`` best records for ``query``."""
        return self.user.search(query, k, kinds=kinds)

    def neighbours(self, record_id: str, before: int = 1, after: int = 1) -> list[Record]:
        """Return the records around one, in its own session."""
        return self.user.neighbours(record_id, before, after)

    def embedded(self, record_ids: Sequence[str]) -> Floats | None:
        """Return the stored vectors of some records."""
        return self.user.embedded(record_ids)

    def since(self, time: float) -> list[Record]:
        """Return the records from ``time`` on."""
        return self.user.since(time)

    def states(self, record_ids: Sequence[str]) -> Mapping[str, State]:
        """Return what has happened to some records."""
        return self.user.states(record_ids)

    @property
    def standing(self) -> Sequence[Record]:
        """The records that are always in mind."""
        return self.user.standing

    @property
    def slots(self) -> Mapping[str, str]:
        """The newest record for what a person has one of at a time."""
        return self.user.slots

    @property
    def wishes(self) -> Wishes:
        """What the person wants of their memory."""
        return self.user.wishes

    def before(self, time: float) -> Known:
        """Return the same person as of ``time``, without what was learnt since."""
        return Known(self.user.before(time), tuple(a for a in self.learnt if a.time < time))
