"""What was learnt for groups of people and for everybody: which of it serves somebody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import orjson

from idiolect.types import Artifact, User

ALL: Final = ""
"""The group of everybody."""


def groups_of(user: User) -> tuple[str, ...]:
    """Return the groups that a person teaches: everybody's, then their own, each once."""
    return tuple(dict.fromkeys((ALL, *user.groups)))


def by_group(user: User, artifacts: Iterable[Artifact]) -> Iterator[Artifact]:
    """Yield the newest of each of a person's groups that has one, the narrowest first, everybody's last.

    ``artifacts`` come newest first; the payload of each names its ``group``.
    """
    found = dict[str, Artifact]()
    for one in artifacts:
        found.setdefault(str(orjson.loads(one.payload)["group"]), one)
    yield from (found[group] for group in (*user.groups, ALL) if group in found)
