"""Memory: what the user tells the assistant is kept after the answer, and comes back where it matters."""

from __future__ import annotations

from dataclasses import dataclass

from idiolect.memory.statements import key, statements
from idiolect.registry import method
from idiolect.types import Block, Call, Context, Item, Learnt, Record, Turn, Used, User, text_of


@method("memory", level="input", paper="arXiv:2504.19413 section 2 (additive form)")
@dataclass(frozen=True)
class Memory:
    """Keep what users say about themselves, and show the memories that bear on the question."""

    k: int = 12
    """Candidates; how many of them enter is decided by the token budget."""
    share: float = 1.5
    """Part of the token budget relative to the other slots."""
    keep_turns: bool = True
    """Also keep each exchange as a dialogue record."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer matching memories as a block."""
        hits = user.search(call.query, self.k, kinds=("profile",))
        items = tuple(
            Item(
                hit.record.text,
                Used("record", hit.record.id, "memory", "memory", hit.score, hit.parts),
                hit.score,
                order=hit.record.time,
            )
            for hit in hits
        )
        return call.add(Block("memory", "What this person has said about themselves:", items, self.share))

    def observe(self, turn: Turn, user: User, ctx: Context) -> Learnt:
        """Keep the exchange and the user's lasting statements, each with the turn it came from."""
        said = next((text_of(m) for m in reversed(turn.messages) if m.get("role") == "user"), "")
        if not said.strip():
            return Learnt()
        exchange = Record.new(
            user.id, said, time=turn.time, kind="dialogue", source="chat", input=_before(turn),
            meta={"session": turn.session, "answer": turn.answer, "trace": turn.trace_id},
        )  # fmt: skip
        memories = [
            Record.new(
                user.id, statement, time=turn.time, kind="profile", source="memory", key=key(statement),
                meta={"from": exchange.id, "said_by": "user"},
            )
            for statement in statements(said)
            if not self._known(statement, user)
        ]  # fmt: skip
        return Learnt(records=(*((exchange,) if self.keep_turns else ()), *memories))

    def _known(self, statement: str, user: User) -> bool:
        wanted = key(statement)
        return any(key(hit.record.output) == wanted for hit in user.search(statement, 3, kinds=("profile",)))


def _before(turn: Turn) -> str:
    """Return the assistant's message that the user was answering, if any."""
    answers = [text_of(m) for m in turn.messages[:-1] if m.get("role") == "assistant"]
    return answers[-1] if answers else ""
