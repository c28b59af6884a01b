"""VPL: a person as a latent variable that their labelled pairs tell of (arXiv:2408.10075).

An encoder turns the pairs of a person into a normal distribution, a reward network reads an option beside a draw of it.
The weight of the divergence is not 0, draws have the same norm in training and afterwards, and a person's rewards are
the mean over draws: the released code differs in all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from idiolect.alignment.shared.in_context import Form, InContext, learn_in_context
from idiolect.alignment.shared.rewarding import Arrays, Check, RewardChooser, Taken
from idiolect.registry import method

NAME = "vpl"


@method(NAME, level="objective", paper="arXiv:2408.10075", needs=("choose",), together=True, extra="transformers")
@dataclass(frozen=True)
class VPL(RewardChooser):
    """Choose by a reward that depends on a variable which the person's choices tell of."""

    name: ClassVar[str] = NAME

    width: int = 32
    """Numbers of the variable."""
    kl: float = 1e-3
    """Weight of the divergence from the prior, reached half-way through training."""
    context: int = 32
    """So many of a person's newest choices are read."""
    passes: int = 100
    """Times that every person is seen in training."""
    rate: float = 1e-3
    """Highest learning rate."""

    def trained(self, people: Sequence[Taken], check: Check) -> InContext:
        """Train encoder and reward; :class:`idiolect.errors.MissingExtra` without PyTorch."""
        form = Form(NAME, people[0].options[0].shape[1], self.width, kl=self.kl)
        return learn_in_context(people, form, self.passes, self.rate, self.context, check)

    @staticmethod
    def restored(arrays: Arrays) -> InContext:
        """Return encoder and reward from what is kept."""
        return InContext.read(NAME, arrays)
