"""Retrieval: the user's own records that bear on the question, put before it (LaMP, arXiv 2304.11406, section 4)."""

from __future__ import annotations

from dataclasses import dataclass

from idiolect.registry import method
from idiolect.text.rendering import date_header, render
from idiolect.types import Block, Call, Context, Hit, Item, Kind, Used, User


@method("retrieval", level="input", paper="arXiv:2304.11406 section 4")
@dataclass(frozen=True)
class Retrieval:
    """Put the records that best match the question before it, with their dates."""

    k: int = 32
    """Candidates; how many of them enter is decided by the token budget."""
    share: float = 3.0
    """Part of the token budget relative to the other slots."""
    neighbours: int = 0
    """Also offer so many turns before and after each of the best five."""
    input_chars: int = 300
    """Cut what stood before the user at so many characters."""
    output_chars: int = 1500
    """Cut what the user said at so many characters."""
    kinds: tuple[Kind, ...] = ("relation", "dialogue", "content", "interaction", "preference")
    """Which kinds of record are looked through; what users say of themselves is the method ``memory``'s."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the found records as a block."""
        asked = " ".join(call.query.split()).casefold()
        found = user.search(call.query, self.k, kinds=self.kinds)
        # The same question asked before matches best of all and tells nothing.
        hits = [hit for hit in found if " ".join(hit.record.output.split()).casefold() != asked]
        items = [self._item(hit) for hit in hits] + self._around(hits, user)
        return call.add(Block("retrieval", "From this person's own records:", tuple(items), self.share))

    def _item(self, hit: Hit) -> Item:
        record = hit.record
        return Item(
            render(record, self.input_chars, self.output_chars),
            Used("record", record.id, "retrieval", "retrieval", hit.score, hit.parts),
            hit.score,
            date_header(record.time),
            record.time,
        )

    def _around(self, hits: list[Hit], user: User) -> list[Item]:
        if not self.neighbours:
            return []
        seen = {hit.record.id for hit in hits}
        out: list[Item] = []
        for hit in hits[:5]:
            for record in user.neighbours(hit.record.id, self.neighbours, self.neighbours):
                if record.id not in seen:
                    seen.add(record.id)
                    out.append(self._item(Hit(record, hit.score / 2, {"neighbour": hit.score / 2})))
        return out
