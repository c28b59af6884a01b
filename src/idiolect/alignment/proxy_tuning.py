"""Proxy tuning: a large model, moved by how a small one's words change once it knows the person (arXiv:2401.08565).

``l = l_large + s (l_personal - l_plain)``, the last two by a small model with the same tokens, with and without the
person's adapter (proxy tuning) or personal text (CoSteer, arXiv:2507.04756): the large model needs neither training nor
the personal text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from idiolect import registry
from idiolect.alignment.shared.guiding import guide, small_model
from idiolect.decoding.branches import dialled
from idiolect.prompting.assembly import Named
from idiolect.registry import method
from idiolect.types import Branch, Call, Context, User

NAME = "proxy_tuning"


@method(NAME, level="objective", paper="arXiv:2401.08565, arXiv:2507.04756", needs=("mix", "proxy"))
@dataclass(frozen=True)
class ProxyTuning:
    """Answer with the large model, moved by what a small one says differently once it knows the person.

    The small model is the backend's ``proxy``. It is made personal by ``context``: text, or an adapter that was trained
    for it. The large model sees what other methods give it. Differences are clipped as in any mixture.
    """

    context: tuple[str, ...] = ("profile", "retrieval")
    """Methods that make the small model personal, by text or adapters."""
    strength: float = 1.0
    """How many times the difference is added; 0 is off."""
    plausibility: float = 0.1
    """Leave only tokens with at least that part of the best token's probability by the large model."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Add what the small model says with the person less what it says without."""
        if not self.strength or user.count == 0:
            return call
        told = guide(call, user, self.parts, replace(ctx, model=small_model(ctx, NAME)), NAME)
        if told is None:
            return call
        branches = (
            Branch(told.messages, self.strength, adapters=told.adapters, proxy=True),
            Branch(call.messages, -self.strength, adapters=(), proxy=True),
        )
        mixed = dialled(call, branches, self.plausibility, NAME)
        return replace(mixed, used=(*mixed.used, *told.used))

    @property
    def parts(self) -> tuple[Named, ...]:
        """The methods that make the small model personal, in order."""
        return registry.make_folded("+".join(self.context))
