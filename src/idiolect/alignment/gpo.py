"""GPO: a transformer that reads a person's choices and foretells the next (arXiv:2310.11523).

It is trained on many people's choices, each time some of one person's as context and others of theirs to foretell, so
that a newcomer's choices are read, not learnt from: in-context learning by attention. The paper foretells how a group's
answers are shared out; here a single person's choice is foretold, as a softmax over the options of the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from idiolect.alignment.shared.in_context import Form, InContext, learn_in_context
from idiolect.alignment.shared.rewarding import Arrays, Check, RewardChooser, Taken
from idiolect.registry import method

NAME = "gpo"


@method(NAME, level="objective", paper="arXiv:2310.11523", needs=("choose",), together=True, extra="transformers")
@dataclass(frozen=True)
class GPO(RewardChooser):
    """Choose by a transformer that was trained to foretell people's choices from others of theirs."""

    name: ClassVar[str] = NAME

    width: int = 64
    """Numbers for a point inside the transformer; a multiple of 4."""
    layers: int = 2
    """Layers of the transformer."""
    context: int = 32
    """So many of a person's newest choices are read."""
    passes: int = 100
    """Times that every person is seen in training."""
    rate: float = 1e-3
    """Highest learning rate."""

    def trained(self, people: Sequence[Taken], check: Check) -> InContext:
        """Train the transformer; :class:`idiolect.errors.MissingExtra` without PyTorch."""
        form = Form(NAME, people[0].options[0].shape[1], self.width, self.layers)
        return learn_in_context(people, form, self.passes, self.rate, self.context, check)

    @staticmethod
    def restored(arrays: Arrays) -> InContext:
        """Return the transformer from what is kept."""
        return InContext.read(NAME, arrays)
