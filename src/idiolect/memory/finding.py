"""Searching memories that hold: of a thing that changed often, many found ones do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from idiolect.types import Hit, State, User


def find(
    user: User, query: str, k: int, holds: Callable[[State], bool], most: float = math.inf
) -> tuple[list[Hit], Mapping[str, State]]:
    """Return the memories that hold among the best found, at least ``k`` where there are so many, and their states.

    The search widens until then, to about ``most`` memories.
    """
    wanted = k
    while True:
        hits = user.search(query, wanted, kinds=("profile",))
        states = user.states([hit.record.id for hit in hits])
        held = [hit for hit in hits if holds(states.get(hit.record.id, State()))]
        if len(held) >= k or len(hits) < wanted or wanted >= most:
            return held, states
        wanted *= 4
