"""What the people who share chose, by item: the others' shares, and those of the others who choose like a person.

The second is neighbourhood-based collaborative filtering (Resnick et al. 1994) with an agreement in units of its own
deviation, so that two people who met at few items hardly count as alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from idiolect.alignment.shared.comparisons import Comparison, Question
from idiolect.alignment.shared.posterior import Doubles, Places

CAP = 200
"""Of an item that more people judged, so many judgments are looked at, the same each time."""
STRENGTH = 0.5
"""How much an agreement of one deviation beyond chance makes another person count: ``exp(STRENGTH)`` times."""
FLOOR = 1.0
"""Added to the variance of an agreement, so that one item in common does not make two people alike."""


_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")


def key(text: str) -> int:
    """Return 64 bits of a name."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


@dataclass(frozen=True, eq=False)
class Crowd:
    """Judgments in the order of items: ``item``, ``taken`` (keys of names) and ``person`` ``[judgments]`` each.

    ``known`` holds what is known of an item's options from elsewhere: ``{item: {group: {option: share}}}``. Of an item
    that fewer than ``least`` others judged nothing is told.
    """

    item: npt.NDArray[np.uint64]
    taken: npt.NDArray[np.uint64]
    person: Places
    people: int
    known: Mapping[str, Mapping[str, Mapping[str, float]]]
    least: int = 1

    @staticmethod
    def of(comparisons: Sequence[Sequence[Comparison]], least: int = 1) -> Crowd:
        """Gather each person's comparisons; those without an item are nobody else's business."""
        rows, known = list[tuple[int, int, int]](), dict[str, Any]()
        for person, own in enumerate(comparisons):
            for one in own:
                if one.item:
                    rows.append((key(one.item), key(one.question.names[one.chosen]), person))
                    if one.record.meta.get("known"):
                        known[one.item] = one.record.meta["known"]
        rows.sort()
        columns = [np.array(column, np.uint64) for column in zip(*rows, strict=True)] or [np.zeros(0, np.uint64)] * 3
        return Crowd(columns[0], columns[1], columns[2].astype(np.int64), len(comparisons), known, least)

    def judgments(self, item: str, but: int) -> tuple[npt.NDArray[np.uint64], Places]:
        """Return what the others took of an item and who they are, without the person ``but``."""
        if not item:
            return self.taken[:0], self.person[:0]
        low, high = (int(np.searchsorted(self.item, np.uint64(key(item)), side)) for side in _SIDES)
        taken, person = self.taken[low:high], self.person[low:high]
        if len(taken) > CAP:
            taken, person = taken[:: len(taken) // CAP + 1], person[:: len(person) // CAP + 1]
        others = person != but
        if others.sum() < self.least:
            return self.taken[:0], self.person[:0]
        return taken[others], person[others]

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The groups of people of whom something is known, the commonest first."""
        counts = dict[str, int]()
        for shares in self.known.values():
            for group in shares:
                counts[group] = counts.get(group, 0) + bool(group)
        return tuple(sorted((group for group in counts if group), key=lambda group: (-counts[group], group)))

    def known_shares(self, question: Question, group: str = "") -> Doubles | None:
        """Return what is known of a group's choice ``[options]``; what is left over is spread over the others."""
        told = self.known.get(question.item, {}).get(group)
        if not told:
            return None
        shares = np.array([told.get(name, np.nan) for name in question.names], np.float64)
        if np.isnan(shares).all():
            return None
        missing = np.isnan(shares)
        if missing.any():
            shares[missing] = max(0.0, 1.0 - np.nansum(shares)) / missing.sum()
        shares = np.maximum(shares, 0.01)
        return np.asarray(shares / shares.sum(), np.float64)


@dataclass(frozen=True, eq=False)
class Own:
    """What one person chose: the ``items`` asked about, the names ``taken``, and a vector of each choice ``[n, dim]``.

    The vector is the prompt's where options are labels, else that of the text taken less the mean of all options.
    """

    items: Sequence[str]
    taken: Sequence[str]
    vectors: Doubles

    def __len__(self) -> int:
        return len(self.items)


class Likeness:
    """How much others count for one person: by how far they agreed with the person beyond the rest of the crowd.

    ``but`` is the person's own place in the crowd, -1 for none. Labels agree by ``near [labels, labels]``, other
    options where they are the same.
    """

    def __init__(
        self, crowd: Crowd, own: Own, but: int, labels: Sequence[str] = (), near: Doubles | None = None
    ) -> None:
        self.crowd, self.but = crowd, but
        self._met = [self._meet(item, taken, labels, near) for item, taken in zip(own.items, own.taken, strict=True)]
        who = np.concatenate([*(person for person, _, _ in self._met), np.zeros(0, np.int64)])
        self._surplus, self._variance = (
            np.bincount(who, np.concatenate([*parts, np.zeros(0)]), crowd.people).astype(np.float64)
            for parts in ([met[1] for met in self._met], [met[2] for met in self._met])
        )

    def _meet(
        self, item: str, own: str, labels: Sequence[str], near: Doubles | None
    ) -> tuple[Places, Doubles, Doubles]:
        """Return who else judged an item, how far each agreed beyond their mean, and the variance of that."""
        taken, who = self.crowd.judgments(item, self.but)
        agreed: Doubles = (taken == np.uint64(key(own))).astype(np.float64)
        if near is not None:
            places = {key(label): place for place, label in enumerate(labels)}
            theirs = np.array([places.get(int(one), -1) for one in taken], np.int64)
            agreed = np.where(theirs >= 0, near[places[key(own)], theirs], 0.0)
        mean = float(agreed.mean()) if len(agreed) else 0.0
        return who, agreed - mean, np.full(len(who), (agreed**2).mean() - mean**2 if len(who) else 0.0)

    def counts(self, question: Question, place: int) -> tuple[Doubles, Doubles]:
        """Return how many others took each option ``[options]``, and the same with each as much as they are alike.

        What the person chose at that very question, the choice at ``place`` (-1: none), does not make others alike.
        """
        taken, who = self.crowd.judgments(question.item, self.but)
        options = {key(name): number for number, name in enumerate(question.names)}
        option = np.array([options.get(int(one), -1) for one in taken], np.int64)
        there, count = option >= 0, len(question.names)
        plain: Doubles = np.bincount(option[there], minlength=count).astype(np.float64)
        if not len(who):
            return plain, plain
        surplus, variance = self._surplus[who], self._variance[who]
        if place >= 0:
            surplus, variance = surplus - self._met[place][1], variance - self._met[place][2]
        weight = np.exp(STRENGTH * np.clip(surplus / np.sqrt(np.maximum(variance, 0.0) + FLOOR), -4.0, 4.0))
        return plain, np.bincount(option[there], weight[there], count).astype(np.float64)
