"""Graph: the own records and what others left about the same thing (PGraphRAG, arXiv 2501.02157).

People and things are the two sides of a graph, a record is an edge. For a question about a thing the edges of the
person and the edges of the thing are looked through; the edge between the two is what is asked for and is never shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from idiolect.prompting.shared.feedback import block, find
from idiolect.prompting.shared.likeness import cosines, others_block
from idiolect.registry import method
from idiolect.text.rendering import shorten
from idiolect.types import Block, Call, Context, Hit, Item, Record, Used, User

TITLE = "What other people said about the same thing (not this person's own words):"
COUNTED = "What other people gave about the same thing, counted:"
_ANSWERS, _ANSWER_CHARS = 8, 60
_SPARE = 4  # own records found beyond k, in case some are about the very thing


@method("graph", level="input", paper="arXiv:2501.02157", peers=True)
@dataclass(frozen=True)
class Graph:
    """Put own records and other people's records about the same thing before the question."""

    mode: Literal["own", "others", "both"] = "both"
    """Whose records are looked through."""
    k: int = 4
    """At most so many own records, and as many of others."""
    counts: bool = True
    """Where others' texts may not be shown, show how many of them gave what."""
    candidates: int = 64
    """So many of others' newest records about the thing are ranked."""
    share: float = 3.0
    """Part of the token budget relative to the other slots, for own records and others' each."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer own records as one block and others' records, or their counts, as another."""
        own = self._own(call, user) if self.mode != "others" else []
        others = self._about(call, user, ctx) if self.mode != "own" else []
        scores = cosines(call.query, [record.text for record in (*own, *others)], ctx.embedder)
        hits = [
            Hit(record, float(score), {"cosine": float(score)})
            for record, score in zip((*own, *others), scores, strict=True)
        ]
        best = _best(hits[len(own) :], self.k)
        call = call.add(block(hits[: len(own)], "graph", "graph", self.share))
        call = call.add(others_block(best, "graph", "graph_others", TITLE, self.share))
        return call if best or self.mode == "own" or not self.counts else self._counted(call, user, ctx)

    def _own(self, call: Call, user: User) -> list[Record]:
        found = [hit.record for hit in find(user, call.query, self.k + _SPARE)]
        return [record for record in found if not call.item or str(record.meta.get("item", "")) != call.item][: self.k]

    def _about(self, call: Call, user: User, ctx: Context) -> list[Record]:
        if ctx.peers is None or not call.item:
            return []
        return ctx.peers.about(call.item, user)[-self.candidates :]

    def _counted(self, call: Call, user: User, ctx: Context) -> Call:
        counts = ctx.peers.counts(call.item, user) if ctx.peers is not None and call.item else {}
        most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_ANSWERS]
        if not most:
            return call
        text = "Others gave: " + ", ".join(f"{n} x {shorten(output, _ANSWER_CHARS)}" for output, n in most)
        parts = {output: float(n) for output, n in most}
        used = Used("artifact", f"counts:{call.item}", "graph", "graph_others", 1.0, parts)
        return call.add(Block("graph_others", COUNTED, (Item(text, used, 1.0),), self.share))


def _best(hits: Sequence[Hit], k: int) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit.score, hit.record.id))[:k]
