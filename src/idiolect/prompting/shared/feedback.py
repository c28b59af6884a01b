"""How useful each of a person's records was for their own past questions, as the language model itself measures it.

Relevance is not usefulness: a record helps where the model foresees what the person gave better with it than without
(ROPG, arXiv:2404.05970, section 3; PEARL, arXiv:2311.09180). Every method that learns from usefulness reads this table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from idiolect.prompting.assembly import assemble
from idiolect.prompting.shared.replay import Replay, latest, utilities
from idiolect.text.rendering import date_header, render
from idiolect.types import Block, Call, Context, Floats, Hit, Item, Kind, Record, Used, User

TITLE = "From this person's own records:"
SEARCHED: tuple[Kind, ...] = ("relation", "dialogue", "content", "interaction", "preference")
"""What users say of themselves is the method ``memory``'s."""
INPUT_CHARS, OUTPUT_CHARS = 300, 1500
_FLAT = 1e-6


@dataclass(frozen=True, eq=False)
class Row:
    """One past question, the records found for it, and what each of them alone did to it."""

    replay: Replay
    hits: tuple[Hit, ...]
    """The candidates with the initial ranking's scores, best first."""
    gains: Floats
    """Utility of the call with only that record minus that of the bare call, ``[n]`` [nats]."""
    base: float
    """Utility of the bare call [nats]."""

    @property
    def candidates(self) -> tuple[Record, ...]:
        """The records found, best first."""
        return tuple(hit.record for hit in self.hits)

    @property
    def flat(self) -> bool:
        """Whether all candidates are worth the same: nothing can be learnt of their order."""
        return len(self.gains) < 2 or float(np.ptp(self.gains)) < _FLAT


def find(user: User, query: str, k: int) -> list[Hit]:
    """Return the ``k`` best records, without those that say nothing but the query itself."""
    asked = " ".join(query.split()).casefold()
    found = user.search(query, k, kinds=SEARCHED)
    return [hit for hit in found if " ".join(hit.record.output.split()).casefold() != asked]


def block(hits: Sequence[Hit], method: str, slot: str, share: float = 3.0) -> Block:
    """Return records as a slot of the prompt, in the form of the method ``retrieval``; scores decide what enters."""
    items = tuple(
        Item(
            render(hit.record, INPUT_CHARS, OUTPUT_CHARS),
            Used("record", hit.record.id, method, slot, hit.score, hit.parts),
            hit.score,
            date_header(hit.record.time),
            hit.record.time,
        )
        for hit in hits
    )
    return Block(slot, TITLE, items, share)


def table(
    users: Iterable[User], ctx: Context, *, replays: int = 8, candidates: int = 16
) -> list[tuple[User, list[Row]]]:
    """Measure records on the people's own latest ``replays`` records, one batch of the model for each person.

    Candidates are found among what the person had before all of those, and the user returned is the person as they were
    then. A person without anything to replay has no rows. A backend without log probabilities raises
    :class:`idiolect.errors.UnsupportedCall`.
    """
    people = list(users)
    out = []
    for done, user in enumerate(people, 1):
        earlier, asked = latest(user, ctx.template, replays)
        found = [(replay, find(earlier, replay.call.query, candidates)) for replay in asked]
        out.append((earlier, _rows([(replay, hits) for replay, hits in found if hits], ctx)))
        if ctx.progress is not None:
            ctx.progress(done, len(people))
    return out


def _rows(found: Sequence[tuple[Replay, list[Hit]]], ctx: Context) -> list[Row]:
    pairs = [(call, replay) for replay, hits in found for call in (replay.call, *_each(replay.call, hits, ctx))]
    values = iter(utilities(ctx, pairs)) if pairs else iter(())
    rows = []
    for replay, hits in found:
        base = next(values)
        gains = np.array([next(values) - base for _ in hits], np.float32)
        rows.append(Row(replay, tuple(hits), gains, base))
    return rows


def _each(call: Call, hits: Sequence[Hit], ctx: Context) -> list[Call]:
    """Return the call with each record alone; one that does not fit the budget leaves it bare."""
    offered = [call.add(block([hit], "feedback", "retrieval")) for hit in hits]
    return [assemble(one, ctx.tokens, ctx.model.count_tokens) for one in offered]
