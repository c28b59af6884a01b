"""Weights on a simplex found by looking: what a person is given of each of several adapters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Weights = tuple[float, ...]
_GAIN = 1e-9
"""Less than that is no gain."""


def best_weights(
    members: int, value: Callable[[Sequence[Weights]], Sequence[float]], steps: int = 4, rounds: int = 2
) -> tuple[Weights, float]:
    """Return the best weights ``[members]`` found, and by how much they are better than none at all.

    Weights are at least 0 and add up to at most 1: what is left goes to the model as it is, which is a corner of the
    simplex like each member. The search begins at the best corner, or at the mean of the members where that is better,
    and goes along the lines to the corners, best first, ``steps`` points on each and the one that is as far from the
    corner as can be; it ends after ``rounds`` or where none is better. ``value`` measures several weights at once,
    higher is better.
    """
    corners: list[Weights] = [tuple(float(n == m) for m in range(members)) for n in range(members)]
    none: Weights = (0.0,) * members
    first = [none, *corners, tuple(1 / members for _ in range(members))]
    found = list(value(first))
    bare, at = found[0], max(range(len(first)), key=found.__getitem__)
    best, highest = first[at], found[at]
    order = sorted(range(members + 1), key=lambda n: -found[n])
    for _ in range(rounds):
        before = highest
        for corner in (first[n] for n in order):
            line = [_towards(best, corner, step / steps) for step in range(1, steps)]
            line += _away(best, corner)
            scores = list(value(line))
            top = max(range(len(line)), key=scores.__getitem__)
            if scores[top] > highest + _GAIN:
                best, highest = line[top], scores[top]
        if highest <= before + _GAIN:
            break
    return best, highest - bare


def _away(one: Weights, corner: Weights) -> list[Weights]:
    """Return the weights without what they have of a corner, all else in proportion; nothing where that is all."""
    share = float(sum(mine for mine, there in zip(one, corner, strict=True) if there)) if any(corner) else 1 - sum(one)
    if not 0 < share < 1:
        return []
    return [tuple(0.0 if there else mine / (1 - share) for mine, there in zip(one, corner, strict=True))]


def _towards(one: Weights, corner: Weights, part: float) -> Weights:
    return tuple((1 - part) * mine + part * other for mine, other in zip(one, corner, strict=True))
