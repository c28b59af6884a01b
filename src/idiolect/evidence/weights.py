"""Candidates that add weights of a person's own: dear to try, so tried where that is likely to pay, many at once."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

from idiolect import registry
from idiolect.prompting.assembly import Named
from idiolect.prompting.shared.known import Known
from idiolect.types import Artifact, Context, Fits, User

LEAST = 30
"""With fewer records a person's own weights are not tried, unless people in general gain from them.

In the literature retrieval gives most of the gain; that of per-user weights grows with the data (arXiv:2409.09510).
"""
RIVAL = "retrieval"
"""Own weights must beat this candidate too."""


@functools.lru_cache(maxsize=256)
def trained(candidate: str) -> tuple[Named, ...]:
    """Return the methods of a candidate that train weights for each person; none for other candidates."""
    methods = registry.with_parts(registry.make_folded(candidate))
    return tuple((name, one) for name, one in methods if owns_weights(name))


def owns_weights(name: str) -> bool:
    """Whether a method trains weights for each person."""
    return registry.batched(name) and "adapters" in registry.methods.get(name).info["needs"]


def with_rival(candidates: Sequence[str]) -> tuple[str, ...]:
    """Return the candidates, and what own weights must beat where one of them has such."""
    if RIVAL in candidates or not any(trained(one) for one in candidates):
        return tuple(candidates)
    return (*candidates, RIVAL)


def train(candidates: Iterable[str], people: Sequence[User], ctx: Context) -> dict[tuple[str, str], list[Artifact]]:
    """Train what the candidates need for some people, side by side; return artifacts by method and person.

    A method is trained once, whichever of the candidates it stands in; one that goes on top of another's weights sees
    these.
    """
    made: dict[tuple[str, str], list[Artifact]] = {}
    methods = {repr(one): one for candidate in candidates for _, one in trained(candidate)}
    for key, one in methods.items():
        if isinstance(one, Fits):
            known = [Known(user, _of(user, made)) for user in people]
            for artifact in one.fit(known, ctx):
                made.setdefault((key, artifact.user_id), []).append(artifact)
    return made


def _of(user: User, made: Mapping[tuple[str, str], Sequence[Artifact]]) -> tuple[Artifact, ...]:
    return tuple(artifact for (_, owner), found in made.items() if owner == user.id for artifact in found)
