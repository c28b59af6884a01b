"""The loop of what is trained step by step until people it was not fitted to are no longer served better."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

T = TypeVar("T")


class Pace(Protocol):
    """So many ``steps``; every ``check`` of them the held-out loss, which may fail to fall ``patience`` times."""

    @property
    def steps(self) -> int:
        """Most steps."""

    @property
    def check(self) -> int:
        """Steps from one look at the held-out loss to the next."""

    @property
    def patience(self) -> int:
        """Looks in a row without a lower loss after which training ends."""


@dataclass(frozen=True)
class Walked(Generic[T]):
    """What was trained, the loss of each step, and the lowest held-out loss; ``None`` without held-out people.

    With them it is the best of what was looked at, else that of the last step.
    """

    found: T
    losses: tuple[float, ...]
    held: float | None


def walk(
    start: T,
    step: Callable[[T], tuple[float, T]],
    pace: Pace,
    held: Callable[[T], float] | None,
    before: float | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    check: Callable[[], None] | None = None,
) -> Walked[T]:
    """Make steps ``one -> (loss, next one)``; ``held`` measures, ``before`` is what it says of ``start`` if known."""
    one, best, losses, since = start, start, list[float](), 0
    lowest = None if held is None else held(start) if before is None else before
    for number in range(1, pace.steps + 1):
        if check is not None:
            check()
        loss, one = step(one)
        losses.append(loss)
        if progress is not None:
            progress(number, pace.steps)
        if held is None or lowest is None or (number % pace.check and number < pace.steps):
            continue
        now = held(one)
        since = 0 if now < lowest else since + 1
        if now < lowest:
            best, lowest = one, now
        if since == pace.patience:
            break
    return Walked(one if held is None else best, tuple(losses), lowest)


def rounds(items: int, size: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Yield groups of places without end, every one once before one comes again."""
    order = list[int]()
    while True:
        while len(order) < min(size, items):
            order += [int(n) for n in rng.permutation(items)]
        yield order[:size]
        order = order[size:]
