"""How present a memory is: by how long ago it was said or used, and how often it was of use. Nothing is ever deleted.

Working memory is the conversation itself; short-term is what was said lately, long-term what proved to be of use
(MaLP, arXiv 2309.11696: recalled more than ``RECALLS`` times), is pinned or bears on safety. The rest fades: it ranks
lower, and a question that is plainly about it still finds it. The half-life doubles with every recall (LD-Agent's
exponential decay, arXiv 2406.05925, with use for rehearsal).
"""

from __future__ import annotations

import math
from typing import Literal

from idiolect.types import Record, State

Tier = Literal["short", "long", "faded"]
DAY = 86400.0
SHORT = 30 * DAY
HALF_LIFE = 80 * DAY
"""Of what was never recalled; LD-Agent's rate of 1e-7 a second."""
RECALLS = 2
_DOUBLINGS = 8


def strength(record: Record, state: State, now: float) -> float:
    """Return how present a memory is at ``now``, from 1 (just said or used, or always in mind) towards 0."""
    if state.pinned or record.meta.get("always") or math.isinf(now):
        return 1.0
    age = max(0.0, now - max(record.time, state.used))
    return float(2.0 ** (-age / (HALF_LIFE * 2.0 ** min(state.uses, _DOUBLINGS))))


def tier(record: Record, state: State, now: float) -> Tier:
    """Return the tier of a memory at ``now``."""
    if state.pinned or record.meta.get("always") or state.uses > RECALLS:
        return "long"
    return "short" if now - max(record.time, state.used) < SHORT else "faded"
