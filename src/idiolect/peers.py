"""What methods may learn from other people: only from those who share, and only as far as the operator allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from idiolect.types import Floats, Record, User


@dataclass(frozen=True, slots=True)
class Near:
    """A person like the one asked about; ``similarity`` is the cosine of their mean vectors."""

    user: User
    similarity: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and standard deviation ``[n]`` of a measure over so many people."""

    mean: Floats
    std: Floats
    people: int


class Peers(Protocol):
    """Other people, as far as they share and the operator allows; never the person asked about.

    Only what lies before the person's ``now`` is seen. Texts are there only where the operator allows them; counts and
    statistics only over at least so many people as the operator demands.
    """

    @property
    def least(self) -> int:
        """The fewest people that counts and statistics may be over."""

    def shares(self, user: User) -> bool:
        """Whether a person is among those who share."""

    def about(self, item: str, user: User) -> list[Record]:
        """Return others' records about an item (``meta["item"]``), oldest first; empty without texts."""

    def near(self, user: User, k: int, *, farthest: bool = False) -> list[Near]:
        """Return the ``k`` people whose records are most (or least) like the person's; empty without texts."""

    def vector(self, user: User) -> Floats | None:
        """Return the unit mean vector ``[dim]`` of the newest records of the person, or of somebody near them."""

    def counts(self, item: str, user: User) -> Mapping[str, int]:
        """Return how many others gave each output about an item; what too few people gave is left out."""

    def statistics(self, name: str, measure: Callable[[User], Floats | None], user: User) -> Statistics | None:
        """Return mean and deviation of a measure over others, ``None`` for too few; ``name`` tells measures apart."""
