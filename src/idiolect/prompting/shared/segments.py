"""The personal part of a prompt in pieces that can be kept or dropped, and what is known of each piece.

A record found gives what stood before the person and what the person gave, each a segment; a line of the words that
come back in the records found is one more (the synthesis of arXiv 2308.07968).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from idiolect.prompting.shared.feedback import INPUT_CHARS, OUTPUT_CHARS, find
from idiolect.text.features import content_words
from idiolect.text.rendering import date_header, render, shorten
from idiolect.text.terms import terms
from idiolect.types import KINDS, Hit, Item, Record, Used, User

Doubles = npt.NDArray[np.float64]
Part = Literal["input", "output", "words"]

FEATURES = (
    "rank", "score", "bm25", "dense", "newer", "length", "overlap", "same", "copies", "place", "input", "words", *KINDS
)  # fmt: skip
_ALIKE = 0.9
_WORDS = 10


@dataclass(frozen=True)
class Segment:
    """One piece: a part of the record ``hit`` (its ``rank`` from 0), or the words of all of them."""

    text: str
    part: Part
    hit: Hit
    rank: int
    copies: int = 1
    """How many records found say the same."""
    among: tuple[tuple[str, float], ...] = ()
    """For words, the records they stand in and in how many words of the line each has a part."""


def segments(user: User, query: str, k: int) -> list[Segment]:
    """Return the pieces of the ``k`` best records for a query, best first, then the words."""
    hits = find(user, query, k)
    out: list[Segment] = []
    for rank, hit in enumerate(hits):
        if hit.record.input:
            out.append(Segment(shorten(hit.record.input, INPUT_CHARS), "input", hit, rank))
        if hit.record.output.strip():
            out.append(Segment(render(hit.record, 0, OUTPUT_CHARS), "output", hit, rank))
    return [*out, *_words(hits)]


def merge(pieces: Sequence[Segment]) -> list[Segment]:
    """Join records that say nearly the same: the best ranked one stands for all and counts its ``copies``."""
    kept: list[tuple[set[int], Record]] = []
    stands: dict[str, str] = {}
    copies: Counter[str] = Counter()
    for record in {piece.hit.record.id: piece.hit.record for piece in pieces if piece.part != "words"}.values():
        said = set(terms(record.text))
        known = (r.id for other, r in kept if _alike(said, other) or record.text == r.text)
        stands[record.id] = next(known, record.id)
        copies[stands[record.id]] += 1
        if stands[record.id] == record.id:
            kept.append((said, record))
    first = [p for p in pieces if p.part == "words" or stands[p.hit.record.id] == p.hit.record.id]
    return [p if p.part == "words" else replace(p, copies=copies[p.hit.record.id]) for p in first]


def measure(pieces: Sequence[Segment], user: User, query: str) -> Doubles:
    """Return the :data:`FEATURES` of each piece, ``[pieces, features]``."""
    asked = set(terms(query))
    given = Counter(record.output for record in user.history)
    times = [record.time for record in user.history]
    order = sorted({piece.hit.record.time for piece in pieces})
    top = max((abs(piece.hit.score) for piece in pieces), default=0.0) or 1.0
    out = np.zeros((len(pieces), len(FEATURES)))
    for row, piece in zip(out, pieces, strict=True):
        record, parts, said = piece.hit.record, piece.hit.parts, set(terms(piece.text))
        row[FEATURES.index(record.kind)] = 1.0
        row[: len(FEATURES) - len(KINDS)] = (
            piece.rank, piece.hit.score / top, parts.get("bm25", 0.0), parts.get("dense", 0.0),
            1 - bisect_right(times, record.time) / max(1, len(times)),
            np.log1p(len(piece.text)), len(said & asked) / max(1, len(said)),
            given[record.output] / max(1, len(times)), piece.copies,
            order.index(record.time) / len(order), piece.part == "input", piece.part == "words",
        )  # fmt: skip
    return out


def items(pieces: Sequence[Segment], method: str) -> tuple[Item, ...]:
    """Write the kept pieces as items; both parts of a record make one line, as in the method ``retrieval``."""
    parts: dict[str, list[Segment]] = {}
    for piece in pieces:
        parts.setdefault("words" if piece.part == "words" else piece.hit.record.id, []).append(piece)
    return tuple(_item(own, method) for own in parts.values())


def _item(own: Sequence[Segment], method: str) -> Item:
    hit = own[0].hit
    if own[0].part == "words":
        used = Used("record", hit.record.id, method, method, hit.score, dict(own[0].among))
        return Item(own[0].text, used, hit.score, order=np.inf)
    text = render(hit.record, INPUT_CHARS, OUTPUT_CHARS) if len(own) > 1 else own[0].text
    used = Used("record", hit.record.id, method, method, hit.score, hit.parts)
    return Item(text, used, hit.score, date_header(hit.record.time), hit.record.time)


def _alike(a: set[int], b: set[int]) -> bool:
    return bool(a & b) and len(a & b) >= _ALIKE * len(a | b)


def _words(hits: Sequence[Hit]) -> list[Segment]:
    """Return the line of words that stand in at least two of the records found, the most frequent first."""
    where: dict[str, list[str]] = {}
    for hit in hits:
        for word in content_words(hit.record.output):
            where.setdefault(word, []).append(hit.record.id)
    shared = sorted((w for w, ids in where.items() if len(ids) > 1), key=lambda w: (-len(where[w]), w))[:_WORDS]
    if not shared:
        return []
    among = Counter(rid for word in shared for rid in where[word])
    best = next(hit for hit in hits if hit.record.id in among)
    line = f"Words that come back: {', '.join(shared)}"
    return [Segment(line, "words", best, len(hits), among=tuple((rid, float(n)) for rid, n in sorted(among.items())))]
