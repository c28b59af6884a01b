"""Guidance: a controller writes what matters about a person, the answering model's own success picks the best text.

Matryoshka, later M-Pilot (arXiv 2410.20749), the selection: what was learnt by the method ``controller`` is used where
it is there, otherwise the controller writes as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from idiolect.prompting.shared.guiding import best, controller_of, offer, prepare, sample, trained, worth
from idiolect.registry import method
from idiolect.types import Artifact, Call, Context, User


@method("guidance", level="input", paper="arXiv:2410.20749")
@dataclass(frozen=True)
class Guidance:
    """Put the guidance before the question that, of K written by a controller, served best on the person's past."""

    k: int = 6
    """K, how many guidances are written (10 in the paper)."""
    replays: int = 8
    """How many of the newest records are asked again to measure them."""
    history_tokens: int = 1500
    """How much of the person's history the controller reads (4000 in the paper)."""
    max_tokens: int = 120
    """Length of a guidance."""
    seed: int = 0
    """Of the first guidance; the others count up."""
    share: float = 1.0
    """Part of the token budget relative to the other slots."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the person's guidance as a stable block."""
        return offer(call, user, ctx, "guidance", self.share)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Write and measure each person's guidances, and keep the best."""
        for user in users:
            cases = prepare([user], ctx, replays=self.replays, tokens=self.history_tokens)
            if not cases:
                continue
            artifact, soft = trained(user, controller_of(ctx)) or (None, None)
            texts, empty = sample(cases, ctx, self.k, seed=self.seed, max_tokens=self.max_tokens, soft=soft)
            plain, *values = worth(cases, [["", *texts[0]]], "guidance", ctx)[0]
            yield best(
                cases[0], texts[0], values, "guidance", asdict(self), ctx,
                people=[who for who in artifact.people if who != user.id] if artifact else (),
                plain=float(plain), malformed=empty[0], trained=artifact.id if artifact else "",
            )  # fmt: skip
