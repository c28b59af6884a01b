"""What may become a memory, before it is held against what is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

SaidBy = Literal["user", "corrected", "inferred"]
"""The ``user`` said it or ``corrected`` something with it, or a model ``inferred`` it: a statement outranks a guess."""

ALWAYS = frozenset({"health", "allergy", "addiction", "minor"})
"""Topics that are always in mind, whatever is asked: forgetting them can harm."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One statement about the person.

    ``slot`` names what a person has one of at a time (``home``, ``diet``, ``taste:coffee``) and ``value`` what is
    said of it: another value of the same slot contradicts. ``ends`` says that something is over ("no longer"), and
    ``value`` of what; ``news`` that it is told as a change ("now", "moved"), ``given`` that it is spoken of as known
    ("since I live here").
    ``holds_from`` and ``until`` are in seconds since the epoch; ``scope`` is ``session`` for what is true of this
    conversation alone. ``closes`` are ids of earlier memories that a model says no longer hold.
    """

    text: str
    said_by: SaidBy = "user"
    topic: str = "other"
    slot: str = ""
    value: str = ""
    ends: bool = False
    news: bool = False
    given: bool = False
    holds_from: float | None = None
    until: float | None = None
    confidence: float = 1.0
    scope: Literal["always", "session"] = "always"
    closes: tuple[str, ...] = ()

    @property
    def always(self) -> bool:
        """Whether it is always to be in mind."""
        return self.topic in ALWAYS and not self.ends and self.scope == "always"


@dataclass(frozen=True)
class Proposal:
    """What was found in one exchange; ``dropped`` counts what is not worth keeping, ``failures`` malformed answers."""

    candidates: tuple[Candidate, ...] = ()
    dropped: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
