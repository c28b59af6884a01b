"""Holding what may become a memory against what is known: new, said before, or the end of something.

Nothing is destroyed. A statement that contradicts an earlier one closes it, from when it holds, and names it; one that
says the same again adds its exchange to the sources. The search for what it may touch looks at a bounded number of
memories, so the cost does not grow with the history.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from idiolect.memory import contradiction, sameness, trained
from idiolect.memory.candidate import Candidate, Proposal
from idiolect.memory.contradiction import Earlier
from idiolect.memory.sameness import Statement
from idiolect.types import Context, Embedder, Learnt, Record, State, Turn, User

SOURCE = "memory"
_AKIN = (("partner", "marital"), ("diet", "eats"), ("job", "shift"))
NEAR = 12
"""So many earlier memories are looked at for each candidate."""


@dataclass
class _Result:
    records: list[Record] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    read: dict[str, Statement] = field(default_factory=dict)
    """Earlier memories that were read for one of the candidates; the others mostly touch the same ones."""

    def statements(self, records: Sequence[Record], user: User, embedder: Embedder | None) -> list[Statement]:
        """Read records, those that were read before excepted; the store has the vectors of most."""
        new = [record for record in records if record.id not in self.read]
        vectors = user.embedded([record.id for record in new]) if embedder is not None and new else None
        said = sameness.read([record.output for record in new], embedder, vectors)
        self.read |= {record.id: statement for record, statement in zip(new, said, strict=True)}
        return [self.read[record.id] for record in records]

    def happened(self, record_id: str, news: State) -> None:
        self.states[record_id] = self.states[record_id].merged(news) if record_id in self.states else news


def reconcile(proposal: Proposal, exchange: str, turn: Turn, user: User, ctx: Context) -> Learnt:
    """Return the records to keep and what happens to earlier ones; ``exchange`` is the id of the source, if any."""
    result = _Result()
    heads = trained.heads(ctx.embedder)
    texts = sameness.read([candidate.text for candidate in proposal.candidates], ctx.embedder)
    for candidate, said in zip(proposal.candidates, texts, strict=True):
        earlier = _judged(said, _earlier(candidate, user, result, ctx), heads)
        _settle(candidate, said, earlier, exchange, turn, user.id, result)
    result.counts.update({f"memory.dropped.{name}": n for name, n in proposal.dropped.items()})
    return Learnt(tuple(result.records), failures=proposal.failures, states=result.states, counts=result.counts)


def _settle(
    candidate: Candidate, said: Statement, earlier: Sequence[Earlier], exchange: str, turn: Turn, user_id: str,
    result: _Result,
) -> None:  # fmt: skip
    again = next((one for one in earlier if contradiction.says_the_same(candidate, said, one)), None)
    again = again or contradiction.known(candidate, said, earlier)
    if again is not None and not (again.inferred and candidate.said_by != "inferred"):
        result.happened(again.record.id, State(sources=(exchange,) if exchange else ()))
        result.counts["memory.known"] += 1
        return
    closed = [one for one in earlier if one is again or contradiction.contradicts(candidate, said, one)]
    if candidate.said_by == "inferred" and any(not one.inferred for one in closed):
        result.counts["memory.outranked"] += 1
        return
    record = _record(candidate, exchange, turn, user_id, [one.record for one in closed])
    since = turn.time if candidate.holds_from is None else candidate.holds_from
    for one in closed:
        result.happened(one.record.id, State(closed=max(since, one.record.time), closed_by=record.id))
    if candidate.until is not None:
        result.happened(record.id, State(closed=candidate.until))
    result.records.append(record)
    result.counts["memory.closed"] += len(closed)
    result.counts["memory.kept"] += 1


def _judged(said: Statement, earlier: Sequence[Earlier], heads: trained.Heads | None) -> list[Earlier]:
    """Return the earlier memories with what the trained heads say; by their word at most one, the likeliest, ends."""
    if heads is None or not earlier:
        return list(earlier)
    ends, same = heads.relation(said, [one.said for one in earlier])
    best = int(np.argmax(ends))
    return [
        replace(one, ends=float(ends[n]) if n == best else 0.0, same=float(same[n])) for n, one in enumerate(earlier)
    ]


def _record(candidate: Candidate, exchange: str, turn: Turn, user_id: str, closed: Sequence[Record]) -> Record:
    meta = {
        "sources": [exchange] if exchange else [], "said_by": candidate.said_by, "topic": candidate.topic,
        "slot": candidate.slot,
        "value": candidate.value, "holds_from": candidate.holds_from, "confidence": candidate.confidence,
        "scope": turn.session if candidate.scope == "session" else "", "always": candidate.always,
        "ends": candidate.ends, "speaker": turn.speaker, "closes": [record.id for record in closed],
    }  # fmt: skip
    return Record.new(
        user_id, candidate.text, time=turn.time, kind="profile", source=SOURCE, key=sameness.key(candidate.text),
        meta={name: value for name, value in meta.items() if value not in ("", None, False, [])},
    )  # fmt: skip


def _earlier(candidate: Candidate, user: User, result: _Result, ctx: Context) -> list[Earlier]:
    """Return the memories that hold and may say the same or the contrary, the likeliest first."""
    found = {hit.record.id: hit.record for hit in user.search(candidate.text, NEAR, kinds=("profile",))}
    wanted = [rid for rid in (*_of_slots(candidate.slot, user), *candidate.closes) if rid not in found]
    found |= {record.id: record for rid in wanted for record in user.neighbours(rid, 0, 0)}
    states = user.states(list(found))
    held = [r for r in found.values() if math.isinf(states.get(r.id, State()).closed)]
    held = [r for r in (*result.records, *held) if math.isinf(result.states.get(r.id, State()).closed)]
    said = result.statements(held, user, ctx.embedder)
    fresh = {record.id for record in result.records}
    return [Earlier(record, text, record.id in fresh) for record, text in zip(held, said, strict=True)]


def _of_slots(slot: str, user: User) -> list[str]:
    """Return the newest memories of the slots that bear on one: its own, and those that cannot hold beside it."""
    names = {slot, *next((group for group in _AKIN if slot in group or slot.partition(":")[0] in group), ())}
    return [user.slots[name] for name in sorted(names) if name and name in user.slots]
