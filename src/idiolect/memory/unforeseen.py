"""What no rule foresees: plain statements that a trained head finds worth keeping, and topics that bear on safety."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from idiolect.memory import statements, trained
from idiolect.memory.candidate import ALWAYS, Candidate
from idiolect.types import Embedder, Turn

KEEP, SAFETY = 0.75, 0.5
"""Bounds on what the heads say, chosen on the development half of the labelled exchanges."""


def with_unforeseen(found: Sequence[Candidate], turn: Turn, embedder: Embedder | None) -> list[Candidate]:
    """Return the candidates that rules found, their safety checked, and after them what the heads find beside them."""
    heads = trained.heads(embedder)
    if heads is None or embedder is None:
        return list(found)
    open_ones = statements.unread(turn, found)
    texts = [*(one.text for one in found), *open_ones]
    if not texts:
        return []
    x = heads.read(texts, embedder.embed(texts))
    worth, safety, topics = heads.keep(x), heads.safety(x), heads.topics_of(x)
    out = [_safe(one, bool(safety[n] >= SAFETY)) for n, one in enumerate(found)]
    for n, text in enumerate(open_ones, len(found)):
        if worth[n] >= KEEP:
            told = Candidate(text[:1].upper() + text[1:], topic=topics[n], confidence=round(float(worth[n]), 3))
            out.append(_safe(statements.placed(told, turn.time), bool(safety[n] >= SAFETY)))
    return out


def _safe(candidate: Candidate, bears_on_safety: bool) -> Candidate:
    if not bears_on_safety or candidate.topic in ALWAYS:
        return candidate
    return replace(candidate, topic="health")
