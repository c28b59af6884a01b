"""Token rows, and how they are put together into passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from idiolect.types import Floats

T = TypeVar("T")
_OVERHEAD = 64
"""So many tokens' time a pass costs whatever it reads."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenRow:
    """A sequence of which the ids from ``start`` on are learnt, ``weight`` times.

    A soft prompt ``[m, hidden]`` stands before the ids; it is read and stays as it is.
    """

    ids: tuple[int, ...]
    start: int
    weight: float = 1.0
    soft: Floats | None = None

    def __len__(self) -> int:
        return self.before + len(self.ids)

    @property
    def before(self) -> int:
        """How many positions stand before the ids."""
        return 0 if self.soft is None else len(self.soft)

    @property
    def key(self) -> bytes:
        """What makes rows the same."""
        return repr((self.ids, self.start, self.weight)).encode() + (b"" if self.soft is None else self.soft.tobytes())

    @property
    def learnt(self) -> int:
        """How many tokens are learnt."""
        return len(self.ids) - self.start

    @property
    def rows(self) -> tuple[TokenRow, ...]:
        """What is read to learn from it."""
        return (self,)

    @property
    def mass(self) -> float:
        """How much it counts in a mean over tokens."""
        return self.weight * self.learnt


@dataclass(frozen=True, slots=True, eq=False)
class TokenPair:
    """Two answers to one prompt, of which one was chosen.

    ``margin`` is what other objectives say for the chosen one, ``sum_j w_j (r_j(chosen) - r_j(rejected))``;
    ``reference`` [nats] what the model itself says for it before anything is learnt,
    ``log ref(chosen) - log ref(rejected)``.
    """

    chosen: TokenRow
    rejected: TokenRow
    margin: float = 0.0
    reference: float = 0.0

    def __len__(self) -> int:
        """How many positions both have where the shorter one is padded."""
        return 2 * max(len(self.chosen), len(self.rejected))

    @property
    def weight(self) -> float:
        """How often it counts."""
        return self.chosen.weight

    @property
    def key(self) -> bytes:
        """What makes pairs the same."""
        return self.chosen.key + b"\x1f" + self.rejected.key + b"\x1f" + repr(self.margin).encode()

    @property
    def learnt(self) -> int:
        """How many tokens are learnt from."""
        return self.chosen.learnt + self.rejected.learnt

    @property
    def rows(self) -> tuple[TokenRow, ...]:
        """What is read to learn from it."""
        return self.chosen, self.rejected

    @property
    def mass(self) -> float:
        """How much it counts in a mean over comparisons."""
        return self.weight


Learnable = TokenRow | TokenPair


def passes(items: Sequence[T], lengths: Sequence[int], tokens: int) -> list[list[T]]:
    """Split items into passes of about ``tokens`` tokens, like lengths together so that little is padded.

    The lengths are sorted and cut where least is read: rows times the longest, and an overhead for each pass.
    """
    order = sorted(range(len(items)), key=lambda n: lengths[n])
    best, cut = [0.0], [0]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        fitting = range(end - 1, max(-1, end - 1 - max(1, tokens // longest)), -1)
        costs = {at: best[at] + (end - at) * longest + _OVERHEAD for at in fitting}
        cut.append(min(costs, key=costs.__getitem__))
        best.append(costs[cut[-1]])
    found, end = list[list[T]](), len(order)
    while end:
        found.append([items[n] for n in order[cut[end] : end]])
        end = cut[end]
    return found[::-1]
