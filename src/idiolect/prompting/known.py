"""A person together with what was just learnt about them and is in no store yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from idiolect.types import Artifact, Hit, Kind, Record, User


@dataclass(frozen=True)
class Known:
    """A :class:`idiolect.types.User` with more artifacts; they come first."""

    user: User
    learnt: tuple[Artifact, ...]

    @property
    def id(self) -> str:
        """The user's id."""
        return self.user.id

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
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
        """What was just learnt, then what was known."""
        return (*self.learnt, *self.user.artifacts)

    def search(self, query: str, k: int = 10, *, kinds: Sequence[Kind] = ()) -> list[Hit]:
        """Return the ``k`` best records for ``query``."""
        return self.user.search(query, k, kinds=kinds)

    def neighbours(self, record_id: str, before: int = 1, after: int = 1) -> list[Record]:
        """Return the records around one, in its own session."""
        return self.user.neighbours(record_id, before, after)

    def before(self, time: float) -> User:
        """Return the person as of ``time``; what was just learnt is left out."""
        return self.user.before(time)
