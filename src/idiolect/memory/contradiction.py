"""How a new statement stands to an earlier one: it says the same, it contradicts it, or neither.

What a person has one of at a time is told by its slot. Beyond slots, an ending closes what it names, a correction or a
change closes what it plainly speaks of, and a move or a new diet closes what cannot hold beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idiolect.memory import sameness
from idiolect.memory.candidate import Candidate
from idiolect.memory.sameness import Statement
from idiolect.text.terms import terms
from idiolect.types import Record

ENDS, SAME = 0.5, 0.6
"""Bounds on what the trained heads say, chosen on the development half of the labelled exchanges."""
_MOVING = re.compile(r"\b(?:mov\w+|relocat\w+|emigrat\w+|look\w* for a|flat|house)\b", re.IGNORECASE)
_MEATLESS = frozenset({"vegetarian", "veggie", "vegan", "plant-based"})
_ANIMAL = re.compile(
    r"\b(?:meat|beef|pork|chicken|turkey|lamb|fish|salmon|tuna|bacon|sausage|shrimps?|prawns?|seafood)\b"
)
_COUPLE = frozenset({"partner", "marital"})
_LASTING_SLOTS = frozenset({"home", "diet", "partner", "marital", "shift", "name", "age", "birthday", "grade"})
"""Another value of these ends the old one, however it is said; of others it must be told as a change."""


@dataclass(frozen=True)
class Earlier:
    """A memory that holds, and what is compared of it; ``fresh`` where it is of the same exchange.

    ``ends`` and ``same`` are how likely, by :mod:`.trained`, the new statement ends it or says no more.
    """

    record: Record
    said: Statement
    fresh: bool = False
    ends: float = 0.0
    same: float = 0.0

    @property
    def meta(self) -> Mapping[str, Any]:
        """What was noted beside it."""
        return self.record.meta

    @property
    def inferred(self) -> bool:
        """Whether a model guessed it."""
        return bool(self.meta.get("said_by") == "inferred")

    def has(self, name: str) -> str:
        """Return one thing that was noted beside it, empty where it was not."""
        return str(self.meta.get(name, ""))


def says_the_same(candidate: Candidate, said: Statement, one: Earlier) -> bool:
    """Whether an earlier memory already says what the candidate says."""
    if bool(one.meta.get("ends")) != candidate.ends or one.record.id in candidate.closes:
        return False
    if same_slot(candidate.slot, one.has("slot")) and candidate.value and one.has("value"):
        return _same_value(candidate.value, one)
    return sameness.same(said, one.said) or (not one.fresh and one.same >= SAME and one.ends < one.same)


def known(candidate: Candidate, said: Statement, earlier: Sequence[Earlier]) -> Earlier | None:
    """Return the memory that a statement repeats, where it brings nothing that is not known.

    What is said as known ("since I live in Lyon", "as you know") needs no more than to speak of it.
    """
    if (
        candidate.ends
        or candidate.said_by == "corrected"
        or not said.content
        or (candidate.news and not candidate.given)
    ):
        return None
    old = [one for one in earlier if not one.fresh and bool(one.meta.get("ends")) == candidate.ends]
    if candidate.given:
        for one in old:
            if same_slot(candidate.slot, one.has("slot")):
                return one
    else:
        old = [one for one in old if one.has("topic") == candidate.topic]
    for one in old:
        if _covered(said, [one]) >= (0.5 if candidate.given else 0.75) and _agree(said, one):
            return one
    touching = [one for one in old if said.content & one.said.content and _agree(said, one)]
    if candidate.given and touching and _covered(said, touching) >= 0.5:
        return max(touching, key=lambda one: len(said.content & one.said.content))
    return None


def contradicts(candidate: Candidate, said: Statement, one: Earlier) -> bool:
    """Whether an earlier memory no longer holds once the candidate does."""
    if one.record.id in candidate.closes:
        return True
    if candidate.given or (one.fresh and candidate.said_by != "corrected" and not candidate.ends):
        return False
    if same_slot(candidate.slot, one.has("slot")):
        return _other_value(candidate, said, one)
    if one.ends >= ENDS and one.ends > one.same:
        return not one.meta.get("ends")
    if candidate.ends or candidate.value == "-":
        if one.meta.get("ends"):
            return False
        return _names_what_ends(candidate, said, one)
    if candidate.said_by == "corrected" and candidate.topic == one.has("topic"):
        return sameness.overlap(said, one.said) >= 0.4 or sameness.cosine(said, one.said) >= 0.55
    if _cannot_hold_beside(candidate, one):
        return True
    if candidate.news and candidate.topic == one.has("topic") != "other":
        return _changed(candidate, said, one)
    opposite = said.negated != one.said.negated
    return opposite and (sameness.jaccard(said, one.said) >= 0.6 or sameness.cosine(said, one.said) >= 0.8)


def same_slot(a: str, b: str) -> bool:
    """Whether two slots are one: equal, or of one kind with the same last word ("when:op", "when:cataract op")."""
    if not a or not b:
        return False
    kind, _, name = a.partition(":")
    other, _, called = b.partition(":")
    if kind != other or bool(name) != bool(called):
        return False
    return name == called or (bool(name) and terms(name)[-1:] == terms(called)[-1:] != [])


def _other_value(candidate: Candidate, said: Statement, one: Earlier) -> bool:
    if candidate.ends != bool(one.meta.get("ends")):
        return True
    if not candidate.value or _same_value(candidate.value, one):
        return False
    kind = candidate.slot.partition(":")[0]
    firm = candidate.slot in _LASTING_SLOTS or kind in (
        "taste",
        "eats",
        "favourite",
        "habit",
        "language",
        "med",
        "when",
    )
    return firm or candidate.news or candidate.said_by == "corrected"


def _same_value(value: str, one: Earlier) -> bool:
    """Whether a value is the one that is known; of places and people one may be said more closely than the other."""
    old = one.has("value")
    if value == old:
        return True
    if value in "+-" or old in ("", "+", "-"):
        return False
    first, second = set(terms(value)), set(terms(old))
    return bool(first and second) and (first <= second or second <= first or first <= set(terms(one.record.output)))


def _names_what_ends(candidate: Candidate, said: Statement, one: Earlier) -> bool:
    if candidate.slot in _COUPLE:
        return one.has("slot") in _COUPLE
    named = set(terms(candidate.value)) if candidate.value not in ("", "-") else set()
    if not named and ":" in candidate.slot:
        named = set(terms(candidate.slot.partition(":")[2]))
    there = set(terms(one.record.output))
    if named and named <= there:
        return True
    return sameness.overlap(said, one.said) >= 0.5 and (
        sameness.jaccard(said, one.said) >= 0.3 or sameness.cosine(said, one.said) >= 0.5
    )


def _cannot_hold_beside(candidate: Candidate, one: Earlier) -> bool:
    topic, slot, old = candidate.topic, candidate.slot, one.has("slot")
    if topic == "home" and slot == "home" and candidate.news and one.has("topic") == "plan":
        return bool(_MOVING.search(one.record.output))
    if slot == "diet" and old.startswith("eats:"):
        return candidate.value in _MEATLESS and one.has("value") == "+" and bool(_ANIMAL.search(old))
    if slot.startswith("eats:") and old == "diet":
        return candidate.value == "+" and one.has("value") in _MEATLESS and bool(_ANIMAL.search(slot))
    return slot in _COUPLE and old in _COUPLE and candidate.value in ("single", "divorced", "separated", "widowed")


def _changed(candidate: Candidate, said: Statement, one: Earlier) -> bool:
    """Whether what is told as a change plainly speaks of the earlier one, and says something else of it."""
    shared = said.content & one.said.content
    if not shared or said.content == one.said.content:
        return False
    if candidate.topic in ("style", "schedule"):
        return True
    return sameness.overlap(said, one.said) >= 0.5


def _covered(said: Statement, earlier: Sequence[Earlier]) -> float:
    there = set().union(*(one.said.content for one in earlier))
    return len(said.content & there) / len(said.content) if said.content else 0.0


def _agree(said: Statement, one: Earlier) -> bool:
    return said.negated <= one.said.negated and (said.numbers <= one.said.numbers or not one.said.numbers)
