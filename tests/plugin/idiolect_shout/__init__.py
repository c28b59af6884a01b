"""A complete third-party method: put the person's newest record before the question, in capitals."""

from __future__ import annotations

from dataclasses import dataclass

from idiolect import Block, Call, Context, Item, Used, User, method


@method("shout", level="input", paper="none: an example")
@dataclass(frozen=True)
class Shout:
    """Repeat the newest records in capitals."""

    k: int = 2

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the newest records as a block."""
        items = tuple(
            Item(r.output.upper(), Used("record", r.id, "shout", "shout"), order=r.time)
            for r in user.history[-self.k :]
        )
        return call.add(Block("shout", "Loudly:", items))
