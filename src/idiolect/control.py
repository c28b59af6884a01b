"""People's control over what is kept about them: what there is and why, adding, correcting, closing, muting.

Nothing here destroys: a correction is a new record that closes the old one. To destroy is
:func:`idiolect.store.forget.forget`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from idiolect.errors import InputError, NotFound
from idiolect.memory import gate, statements
from idiolect.memory.candidate import Candidate, Proposal
from idiolect.memory.finding import find
from idiolect.memory.reconcile import reconcile
from idiolect.memory.tiers import tier
from idiolect.store.forget import sources_of
from idiolect.store.states import set_state, set_wishes, states_of, wishes_of
from idiolect.store.store import Store
from idiolect.store.view import view
from idiolect.text.terms import terms
from idiolect.types import Context, Learnt, Record, State, Turn, Wishes

_REFUSED = {
    "secret": "it holds what looks like a password, a key or an account number",
    "order": "it reads like an order to the assistant, not like something about the person",
    "never": "it speaks of what the person wants never to be kept",
    "length": f"a memory is one statement of at most {gate.LONGEST} characters",
}


@dataclass(frozen=True, slots=True)
class Kept:
    """A memory and what has happened to it."""

    record: Record
    state: State

    def about(self, moment: float) -> dict[str, Any]:
        """Return what is known of it at a moment [s since the epoch], as a JSON value."""
        record, state = self.record, self.state
        corrected = [record.meta["corrects"]] if "corrects" in record.meta else []
        return {
            "said_by": record.meta.get("said_by") or None, "topic": record.meta.get("topic") or None,
            "tier": tier(record, state, moment), "holds": state.holds(moment), "pinned": state.pinned,
            "uses": state.uses, "used": state.used or None,
            "closed": None if math.isinf(state.closed) else state.closed, "closed_by": state.closed_by or None,
            "closes": [*record.meta.get("closes", ()), *corrected],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Story:
    """Where a memory comes from and where it went: exchanges, what it replaced (newest first), what replaced it."""

    sources: tuple[Record, ...]
    replaces: tuple[Kept, ...]
    replaced_by: tuple[Kept, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """A memory that was written by hand, or was known already; ids of what it closed and of artifacts that fell."""

    kept: Kept
    new: bool
    closed: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()


def memories(
    store: Store, user_id: str, now: float, *, as_of: float | None = None, everything: bool = False
) -> list[Kept]:
    """Return the memories that hold, oldest first; with ``as_of`` those that were known and held then.

    ``everything`` also gives what no longer holds. Raises :class:`NotFound` for an unknown user.
    """
    store.known(user_id)
    said = [r for r in store.all_records(user_id) if r.kind == "profile" and (as_of is None or r.time < as_of)]
    found = _with_states(store, user_id, sorted(said, key=lambda record: (record.time, record.id)))
    moment = now if as_of is None else as_of
    return [kept for kept in found if everything or kept.state.holds(moment)]


def search(store: Store, user_id: str, query: str, k: int, now: float, *, everything: bool = False) -> list[Kept]:
    """Return the ``k`` best memories that hold for a query, the best first."""
    store.known(user_id)
    seen = view(store, user_id, asked=now)
    hits, states = find(seen, query, k, lambda state: everything or state.holds(now))
    return [Kept(hit.record, states.get(hit.record.id, State())) for hit in hits[:k]]


def memory(store: Store, user_id: str, record_id: str) -> Kept:
    """Return one memory. Raises :class:`NotFound` where the record is none."""
    record = store.find(user_id, record_id)
    if record.kind != "profile":
        raise NotFound(f"record {record_id!r} is not a memory")
    return _with_states(store, user_id, [record])[0]


def story(store: Store, user_id: str, kept: Kept) -> Story:
    """Return where a memory comes from and where it went."""
    known = {one.record.id: one for one in memories(store, user_id, math.inf, everything=True)}
    sources = [record for rid in sources_of(store, user_id, kept.record) for record in _found(store, user_id, rid)]
    before: dict[str, Kept] = {}
    ahead = [kept]
    while ahead:
        one = ahead.pop(0)
        closed = [k for k in known.values() if k.state.closed_by == one.record.id]
        fresh = [k for k in closed if k.record.id not in before and k.record.id != kept.record.id]
        before |= {k.record.id: k for k in fresh}
        ahead += fresh
    after: dict[str, Kept] = {}
    following = known.get(kept.state.closed_by)
    while following is not None and following.record.id not in after:
        after[following.record.id] = following
        following = known.get(following.state.closed_by)
    newest_first = sorted(before.values(), key=lambda one: (-one.record.time, one.record.id))
    return Story(tuple(sources), tuple(newest_first), tuple(after.values()))


# -- writing -----------------------------------------------------------------------------------------------------------


def add(store: Store, user_id: str, text: str, ctx: Context) -> Written:
    """Keep a statement as if it had been said: it may be known already, and closes what it contradicts.

    Raises :class:`InputError` for what is not kept of a conversation either.
    """
    return _keep(store, user_id, _held(store, user_id, text, ctx), ctx)


def correct(store: Store, user_id: str, record_id: str, text: str, ctx: Context) -> Written:
    """Put a memory right: the new one closes the old one, and stays pinned where that was."""
    old = memory(store, user_id, record_id)
    if not old.state.holds(ctx.clock()):
        raise InputError(f"memory {record_id!r} no longer holds; add what holds now")
    if _plain(text) == old.record.output:
        raise InputError("this says the same as before")
    learnt = _held(store, user_id, text, ctx, closes=(old.record.id,))
    written = _keep(store, user_id, _correcting(learnt, old.record, ctx.clock()), ctx)
    fallen = written.artifacts
    if not written.new:  # another memory says it already: the wrong one is over
        fallen = (*fallen, *close(store, user_id, old.record.id, ctx.clock())[1])
    if old.state.pinned:
        set_state(store, user_id, written.kept.record.id, pinned=True)
    kept = memory(store, user_id, written.kept.record.id)
    return replace(written, kept=kept, closed=tuple({*written.closed, old.record.id}), artifacts=fallen)


def close(store: Store, user_id: str, record_id: str, now: float) -> tuple[Kept, tuple[str, ...]]:
    """Mark a memory as no longer true; return it, and the ids of the artifacts that rested on it and went."""
    kept = memory(store, user_id, record_id)
    if not kept.state.holds(now):
        return kept, ()
    state = set_state(store, user_id, record_id, closed=now, closed_by="")
    return Kept(kept.record, state), _drop_resting(store, user_id, [record_id])


def reopen(store: Store, user_id: str, record_id: str) -> Kept:
    """Let a memory that was closed hold again."""
    kept = memory(store, user_id, record_id)
    return Kept(kept.record, set_state(store, user_id, record_id, closed=math.inf, closed_by=""))


def pin(store: Store, user_id: str, record_id: str, pinned: bool = True) -> Kept:
    """Keep a memory always in mind, or no longer."""
    kept = memory(store, user_id, record_id)
    return Kept(kept.record, set_state(store, user_id, record_id, pinned=pinned))


def wish(
    store: Store, user_id: str, *, mute: Iterable[str] = (), unmute: Iterable[str] = (), never: Iterable[str] = (),
    allow: Iterable[str] = (),
) -> Wishes:  # fmt: skip
    """Mute or unmute topics and words, and set or lift rules of what is never to be kept; return what is wished now.

    Raises :class:`NotFound` for lifting what was not wished.
    """
    before = wishes_of(store, user_id)
    after = Wishes(_changed(before.muted, mute, unmute, "muted"), _changed(before.never, never, allow, "a rule"))
    if after != before:
        set_wishes(store, user_id, after)
    return after


def put_wishes(store: Store, user_id: str, wishes: Wishes) -> Wishes:
    """Set all wishes at once."""
    after = Wishes(_changed((), wishes.muted, (), ""), _changed((), wishes.never, (), ""))
    set_wishes(store, user_id, after)
    return after


def _changed(before: Sequence[str], more: Iterable[str], fewer: Iterable[str], what: str) -> tuple[str, ...]:
    after = {_plain(phrase).lower(): phrase for phrase in before}
    for phrase in map(_plain, more):
        if not terms(phrase):
            raise InputError(f"{phrase!r} names nothing: a topic or some words are needed")
        after.setdefault(phrase.lower(), phrase)
    for phrase in map(_plain, fewer):
        if after.pop(phrase.lower(), None) is None:
            raise NotFound(f"{phrase!r} is not {what}; there is: {', '.join(before) or 'nothing'}")
    return tuple(after.values())


def _held(store: Store, user_id: str, text: str, ctx: Context, closes: tuple[str, ...] = ()) -> Learnt:
    """Hold a statement against what is known."""
    text, now = _plain(text), ctx.clock()
    if not text:
        raise InputError("a memory needs some text")
    turn, seen = Turn(({"role": "user", "content": text},), "", now), view(store, user_id, asked=now)
    candidate = replace(_candidate(text, now), closes=closes)
    proposal = gate.pass_on(Proposal((candidate,)), turn, seen.wishes)
    for reason in proposal.dropped:
        raise InputError(f"not kept: {_REFUSED[reason]}")
    return reconcile(proposal, "", turn, seen, ctx)


def _candidate(text: str, now: float) -> Candidate:
    """Return a statement with what the rules read of it; the person wants it kept whatever they find."""
    for said in (text, f"Remember: {text}"):
        found = statements.candidates(Turn(({"role": "user", "content": said},), "", now))
        if len(found) == 1 and set(terms(text)) <= set(terms(found[0].text)):
            return replace(found[0], text=text, said_by="user", scope="always", confidence=1.0)
    return Candidate(text)


def _correcting(learnt: Learnt, old: Record, now: float) -> Learnt:
    """Return what was learnt as a correction of one memory, which it closes in any case.

    What else it closes is what it would have closed if said; in conversation a ``corrected`` statement closes whatever
    is near, because nobody says there which memory is meant. What was put right stays closed even when the correction
    is forgotten: it is not among what this record ``closes``.
    """
    if not learnt.records:
        return learnt
    record = learnt.records[0]
    meta = {**record.meta, "said_by": "corrected", "corrects": old.id}
    meta["closes"] = [rid for rid in meta.get("closes", ()) if rid != old.id]
    record = replace(record, meta={name: value for name, value in meta.items() if value != []})
    news = State(closed=max(now, old.time), closed_by=record.id)
    return replace(learnt, records=(record,), states={**learnt.states, old.id: news})


def _keep(store: Store, user_id: str, learnt: Learnt, ctx: Context) -> Written:
    closed = tuple(rid for rid, state in learnt.states.items() if state.closed_by)
    store.learn(user_id, learnt)
    artifacts = _drop_resting(store, user_id, closed)
    wanted = learnt.records[0].id if learnt.records else next(rid for rid in learnt.states)
    return Written(memory(store, user_id, wanted), bool(learnt.records), closed, artifacts)


def _drop_resting(store: Store, user_id: str, record_ids: Sequence[str]) -> tuple[str, ...]:
    """Delete what was learnt from memories that no longer hold; it is learnt anew from what does."""
    gone = [a.id for a in store.artifacts(user_id) if {*record_ids} & {*a.record_ids}]
    if gone:
        store.delete_artifacts(user_id, gone)
    return tuple(gone)


def _with_states(store: Store, user_id: str, records: Sequence[Record]) -> list[Kept]:
    states = states_of(store, user_id, [record.id for record in records])
    return [Kept(record, states.get(record.id, State())) for record in records]


def _found(store: Store, user_id: str, record_id: str) -> list[Record]:
    try:
        return [store.find(user_id, record_id)]
    except NotFound:  # it was deleted, or the operator keeps no exchanges
        return []


def _plain(text: str) -> str:
    return " ".join(text.split())
