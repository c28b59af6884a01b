"""Letting a language model read an exchange: what it says of the user, and which earlier memories no longer hold."""

from __future__ import annotations

from idiolect.memory.candidate import Proposal
from idiolect.types import Context, Turn, User


def propose(turn: Turn, user: User, ctx: Context) -> Proposal:
    """Return what the model finds in an exchange."""
    raise NotImplementedError
