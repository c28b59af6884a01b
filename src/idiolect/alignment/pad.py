"""PAD: the model as it is, guided at every token by itself as the person would have it (arXiv:2410.04070).

``l = (1 - w) l_model + w l_personal``: the paper's reward of a token is the difference of the two log probabilities,
that of a model which learnt preferences by a loss like DPO's and reads the person's principles. Its training is not
published; here the personal one is the same model with the person's adapter (that of ``dpo``) and text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from idiolect import registry
from idiolect.alignment.shared.guiding import guide
from idiolect.decoding.branches import dialled
from idiolect.prompting.assembly import Named
from idiolect.registry import method
from idiolect.types import Branch, Call, Context, User

NAME = "pad"


@method(NAME, level="objective", paper="arXiv:2410.04070", needs=("mix",))
@dataclass(frozen=True)
class Pad:
    """Answer with the model as it is, moved at every token towards what its personal version would say.

    The personal version has the weights and the text that ``context`` gives it; what other methods add goes to the
    model as it is. The paper leaves that one's ten best tokens; here those are left that are probable enough, and all
    where the strength is at most 1.
    """

    context: tuple[str, ...] = ("dpo",)
    """Methods that make the personal version: adapters, and text."""
    strength: float = 0.8
    """Part of the personal version; 0 is off, 1 the personal version alone, more is beyond it."""
    plausibility: float = 0.01
    """Where the strength is more than 1, leave only tokens with at least that part of the best token's probability."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Add the personal version as a source of the mixture; nothing where nothing is known of the person.

        Raises :class:`ConfigError` where ``context`` adds more than text and adapters, or another method mixes what is
        not the call's own prompt.
        """
        if not self.strength or user.count == 0:
            return call
        told = guide(call, user, self.parts, ctx, NAME)
        if told is None:
            return call
        branch = Branch(told.messages, self.strength, adapters=told.adapters)
        mixed = dialled(call, [branch], self.plausibility, NAME)
        return replace(mixed, used=(*mixed.used, *told.used))

    @property
    def parts(self) -> tuple[Named, ...]:
        """The methods that make the personal version, in order."""
        return registry.make_folded("+".join(self.context))
