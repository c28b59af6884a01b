"""DRM: a person's taste as a mixture of the directions in which choices differ most (arXiv:2502.13131).

Beside ``preference`` it reads nothing but the vectors of texts, learns no weights and knows no uncertainty: what it is
given here, the embedder's vectors in place of a reward model's last hidden state, is what ``preference`` is given too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from idiolect.alignment.shared.heads import Heads, learn_heads
from idiolect.alignment.shared.rewarding import Arrays, Check, RewardChooser, Taken
from idiolect.registry import method

NAME = "drm"


@method(NAME, level="objective", paper="arXiv:2502.13131", needs=("choose",), together=True)
@dataclass(frozen=True)
class DRM(RewardChooser):
    """Choose by reward heads found among everybody's choices, weighed by the person's own."""

    name: ClassVar[str] = NAME

    components: int = 32
    """So many principal components are heads, and their opposites; the original head stands beside them."""
    temperature: float = 1.0
    """Of the softmax over the heads' losses: the lower, the more the best heads alone decide."""

    def trained(self, people: Sequence[Taken], check: Check) -> Heads:
        """Find the heads."""
        return learn_heads(people, self.components, self.temperature)

    @staticmethod
    def restored(arrays: Arrays) -> Heads:
        """Return the heads from what is kept."""
        return Heads.read(arrays)
