"""Memory: what the user tells the assistant is kept after the answer, stays true, and comes back where it matters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from idiolect.memory import gate, model_writer, statements
from idiolect.memory.candidate import Proposal
from idiolect.memory.finding import find
from idiolect.memory.reconcile import reconcile
from idiolect.memory.tiers import strength
from idiolect.memory.unforeseen import with_unforeseen
from idiolect.registry import method
from idiolect.text.rendering import date_header, render
from idiolect.text.terms import terms
from idiolect.types import Block, Call, Context, Hit, Item, Learnt, Record, State, Turn, Used, User, text_of

DENSE_UNITS = 10.0
"""The search counts a cosine as so many units of its word scores."""
NEARLY, _SHARED = 0.6, 0.3
_MOST = 64
"""At most so many times ``k`` memories are looked through for ``k`` that hold."""
CHARS = 400
"""Cut a memory at so many characters."""
ALWAYS = 100.0
"""Score of what is always in mind: it enters before anything that was searched for."""


@method("memory", level="input", paper="arXiv:2504.19413 section 2; arXiv:2309.11696 (tiers)")
@dataclass(frozen=True)
class Memory:
    """Keep what users say about themselves, close what no longer holds, and show what bears on the question."""

    k: int = 12
    """Candidates; how many of them enter is decided by the token budget."""
    share: float = 1.5
    """Part of the token budget relative to the other slots."""
    least: float = 0.25
    """Cosine to the question below which a memory is not brought up; half of it, or none, where they share words.

    Without an embedder nothing tells what bears on a question, and what the search finds is brought up."""
    fading: float = 1.0
    """So much lower ranks what was said long ago and never of use."""
    write: Literal["rules", "model"] = "rules"
    """``rules`` needs no model; ``model`` lets the helper, or the model itself, read each exchange."""
    keep_turns: bool = True
    """Also keep each exchange as a dialogue record."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer what is always in mind, and the memories that match, each that holds now."""
        in_mind = {record.id for record in user.standing}
        hits = [
            hit for hit in self._holding(call.query, user, ctx)
            if hit.record.id not in in_mind and hit.record.meta.get("scope", call.session) == call.session
        ]  # fmt: skip
        always = tuple(_item(Hit(record, ALWAYS), "standing") for record in user.standing)
        call = call.add(Block("standing", "Always keep in mind about this person:", always, self.share, stable=True))
        found = tuple(_item(hit, "memory") for hit in hits)
        return call.add(Block("memory", "What this person has said about themselves:", found, self.share))

    def _holding(self, query: str, user: User, ctx: Context) -> list[Hit]:
        """Return the ``k`` best memories that hold and bear on a question."""
        moment = min(user.now, ctx.clock())
        held, states = find(user, query, self.k, lambda state: state.holds(moment), _MOST * self.k)
        asked = frozenset(terms(query))
        best = max(map(_cosine, held), default=0.0)
        near = [hit for hit in held if ctx.embedder is None or _belongs(hit, asked, self.least, best)]
        weighed = [self._weighed(hit, states.get(hit.record.id, State()), user, ctx) for hit in near]
        return sorted(weighed, key=lambda hit: -hit.score)[: self.k]

    def _weighed(self, hit: Hit, state: State, user: User, ctx: Context) -> Hit:
        faded = self.fading * (strength(hit.record, state, min(user.now, ctx.clock())) - 1)
        return replace(hit, score=hit.score + faded, parts={**hit.parts, "fading": round(faded, 4)})

    def observe(self, turn: Turn, user: User, ctx: Context) -> Learnt:
        """Keep the exchange and the user's lasting statements, each with the turn it came from."""
        said = turn.said
        if not said.strip():
            return Learnt()
        if gate.unwanted(said, user.wishes):
            return Learnt(counts={"memory.dropped.never": 1})
        clean, secrets = gate.without_secrets(said)
        meta = {"session": turn.session, "answer": turn.answer, "trace": turn.trace_id, "speaker": turn.speaker}
        exchange = Record.new(
            user.id, clean, time=turn.time, kind="dialogue", source="chat", input=_before(turn),
            meta={name: value for name, value in meta.items() if value or name != "speaker"},
        )  # fmt: skip
        proposal = self._proposal(turn, user, ctx)
        proposal.dropped.update({"secret": secrets} if secrets else {})
        learnt = reconcile(gate.pass_on(proposal, turn, user.wishes), exchange.id, turn, user, ctx)
        return Learnt((exchange,)).plus(learnt) if self.keep_turns else learnt

    def _proposal(self, turn: Turn, user: User, ctx: Context) -> Proposal:
        if self.write == "model":
            return model_writer.propose(turn, user, ctx)
        found = statements.candidates(turn)
        return Proposal(tuple(with_unforeseen(found, turn, ctx.embedder)))


def _belongs(hit: Hit, asked: frozenset[int], least: float, best: float) -> bool:
    """Whether a memory bears on a question of these terms; word scores grow with the history and decide nothing alone.

    ``best`` is the highest cosine that any memory has. ``least`` .25 and ``NEARLY`` .6 were chosen on every other pair
    of PrefEval (712 preferences of 14 topics, MiniLM): of 14 preferences they bring up the one that bears on a question
    in 84 % of cases, and .7 of the 13 others.
    """
    shared = len(asked & frozenset(terms(hit.record.text))) / len(asked) if asked else 0.0
    if "dense" not in hit.parts:
        return shared > 0
    cosine = _cosine(hit)
    return shared >= _SHARED or cosine >= max(NEARLY * best, least / 2 if shared else least)


def _cosine(hit: Hit) -> float:
    return hit.parts.get("dense", 0.0) / DENSE_UNITS


def _item(hit: Hit, slot: str) -> Item:
    record = hit.record
    used = Used("record", record.id, "memory", slot, hit.score, hit.parts)
    return Item(render(record, 0, CHARS), used, hit.score, date_header(record.time), record.time)


def _before(turn: Turn) -> str:
    """Return the assistant's message that the user was answering, if any."""
    answers = [text_of(m) for m in turn.messages[:-1] if m.get("role") == "assistant"]
    return answers[-1] if answers else ""
