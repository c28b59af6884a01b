"""What is held about how a person wants answers: preferences with their dates, and the contexts they came from.

Nothing is destroyed but by age: a preference that failed its check is ``pruned`` and one that the person has turned
away from is ``closed``; neither is shown, both stay to be seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

from idiolect.memory.manner import opposed

State = Literal["believed", "pruned", "closed"]
_EVIDENCE = 10


@dataclass
class Preference:
    """A short phrase; ``traits`` are what of an answer's form it is about, ``gain`` what the check measured.

    ``since`` and ``until`` are the times of the feedback that brought it and of the one that closed it. ``asked``
    counts the edits that asked for it, ``failed`` the checks it did not pass.
    """

    number: int
    phrase: str
    traits: dict[str, str]
    state: State
    since: float
    last: float
    gain: float
    until: float | None = None
    support: int = 1
    asked: int = 1
    failed: int = 0
    records: list[str] = field(default_factory=list)

    def against(self, traits: Mapping[str, str]) -> bool:
        """Whether some trait is wished for in another direction."""
        return any(name in traits and opposed(name, value, traits[name]) for name, value in self.traits.items())

    def same(self, traits: Mapping[str, str], phrase: str) -> bool:
        """Whether this is what a new candidate asks for; a phrase of many traits is known by its words."""
        if len(self.traits) == 1 == len(traits):
            return self.traits.keys() == traits.keys() and not self.against(traits)
        return self.phrase.casefold() == phrase.casefold()

    def confirmed(self, record: str, time: float) -> None:
        """Count one more feedback that bears it out."""
        self.support, self.last = self.support + 1, max(self.last, time)
        self.records = [*self.records, record][-_EVIDENCE:]


@dataclass
class Context:
    """One feedback that was read: what it changed, and the preferences that held for it."""

    record: str
    time: float
    edited: bool
    traits: dict[str, str]
    holds: list[int] = field(default_factory=list)


@dataclass
class Taste:
    """All that is held about one person."""

    contexts: list[Context] = field(default_factory=list)
    preferences: list[Preference] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """``checked``, ``pruned``, ``closed``, ``malformed``: how often since the beginning."""

    @staticmethod
    def read(payload: bytes) -> Taste:
        """Return what :meth:`dump` wrote."""
        held: dict[str, Any] = orjson.loads(payload)
        return Taste(
            [Context(**one) for one in held["contexts"]],
            [Preference(**one) for one in held["preferences"]],
            Counter(held["counts"]),
        )

    def dump(self) -> bytes:
        """Return it as JSON."""
        held = {
            "contexts": [asdict(one) for one in self.contexts],
            "preferences": [asdict(one) for one in self.preferences],
            "counts": dict(self.counts),
        }
        return orjson.dumps(held, option=orjson.OPT_SORT_KEYS)

    def record_ids(self) -> list[str]:
        """Return the records that it rests on, each once."""
        held = [rid for one in self.preferences for rid in one.records]
        return list(dict.fromkeys([*(one.record for one in self.contexts), *held]))

    def held(self, contexts: Iterable[Context]) -> dict[int, Preference]:
        """Return the believed preferences that hold in some contexts, by number; what holds in most of them first."""
        counts = Counter(number for one in contexts for number in one.holds)
        found = [one for one in self.preferences if one.state == "believed" and one.number in counts]
        found.sort(key=lambda one: (-counts[one.number], -one.last, one.number))
        return {one.number: one for one in found}

    def shown(self, contexts: Sequence[Context]) -> dict[int, Preference]:
        """Return what is to be shown: of two that cannot both be, the one borne out last."""
        held = self.held(contexts)
        return {
            number: one
            for number, one in held.items()
            if not any((other.last, other.number) > (one.last, number) and other.against(one.traits)
                       for other in held.values())
        }  # fmt: skip

    def turned(self, contexts: Iterable[Context]) -> float:
        """Return when the person last turned away from something that held in these contexts; minus infinity if never.

        Edits from before are of another taste, and nothing new is checked on them.
        """
        held = {number for one in contexts for number in one.holds}
        ends = (one.until for one in self.preferences if one.number in held and one.until is not None)
        return max(ends, default=float("-inf"))

    def add(self, phrase: str, traits: dict[str, str], context: Context, gain: float) -> None:
        """Believe a phrase that came closer to what the person wrote, prune one that did not."""
        self.counts["checked"] += 1
        number = 1 + max((one.number for one in self.preferences), default=0)
        if gain > 0:
            self.preferences.append(
                Preference(number, phrase, traits, "believed", context.time, context.time, gain,
                           records=[context.record])
            )  # fmt: skip
            context.holds.append(number)
            return
        self.counts["pruned"] += 1
        known = self.pruned(traits, phrase)
        if known is None:
            known = Preference(number, phrase, traits, "pruned", context.time, context.time, gain, support=0)
            known.records = [context.record]
            self.preferences.append(known)
        known.gain, known.failed = gain, known.failed + 1

    def pruned(self, traits: Mapping[str, str], phrase: str) -> Preference | None:
        """Return the preference that failed its check and asks for the same."""
        return next((one for one in self.preferences if one.state == "pruned" and one.same(traits, phrase)), None)

    def to_check(self, phrase: str, traits: Mapping[str, str], context: Context) -> bool:
        """Count that a phrase is asked for; whether it is checked: what failed, when as many edits more have asked."""
        known = self.pruned(traits, phrase)
        if known is None:
            return True
        known.asked, known.last = known.asked + 1, context.time
        known.records = [*known.records, context.record][-_EVIDENCE:]
        return known.asked & (known.asked - 1) == 0

    def close(self, number: int, time: float) -> None:
        """Stop believing a preference that the person has turned away from."""
        one = next(one for one in self.preferences if one.number == number)
        one.state, one.until = "closed", time
        self.counts["closed"] += 1

    def trim(self, keep: int) -> None:
        """Keep the newest ``keep`` contexts, what is believed in them, and as many of the preferences of the past."""
        self.contexts = sorted(self.contexts, key=lambda one: (one.time, one.record))[-keep:]
        alive = {number for one in self.contexts for number in one.holds}
        believed = [one for one in self.preferences if one.state == "believed" and one.number in alive]
        past = sorted((one for one in self.preferences if one.state != "believed"), key=lambda one: one.last)[-keep:]
        self.preferences = sorted([*believed, *past], key=lambda one: one.number)
