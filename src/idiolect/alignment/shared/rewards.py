"""Other objectives than a person's own choices, as rewards that are worked out from a text alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from idiolect.errors import UnknownName

Reward = Callable[[str], float]


def brief(text: str) -> float:
    """Return minus the logarithm of the number of words: half as long is better by ``ln 2``."""
    return -math.log(1 + len(text.split()))


def detailed(text: str) -> float:
    """Return the logarithm of the number of words: twice as long is better by ``ln 2``."""
    return -brief(text)


REWARDS: Mapping[str, Reward] = {"brief": brief, "detailed": detailed}


def margins(names: Sequence[str], better: str, worse: str) -> tuple[float, ...]:
    """Return by how much each objective likes one text better than another; :class:`UnknownName` for what is none."""
    return tuple(reward(better) - reward(worse) for reward in map(_named, names))


def _named(name: str) -> Reward:
    if name not in REWARDS:
        raise UnknownName("objective", name, REWARDS)
    return REWARDS[name]
