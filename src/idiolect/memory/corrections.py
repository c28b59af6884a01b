"""Corrections: what a person put right is recalled by the shape of the task, facts by what they are about.

MemPrompt (arXiv 2201.06009): feedback on a misunderstood question comes back with the next question of the same shape.
TeachMe (arXiv 2204.13074): a corrective fact comes back where its subject does, with its date. Both are feedback as
:mod:`idiolect.memory.feedback` keeps it, given through the interface or recognised in conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from idiolect.memory import remarks
from idiolect.memory.feedback import Feedback, Said, read, record_of
from idiolect.memory.shapes import SLOT, Shape, distance, frame, key, shape
from idiolect.registry import method
from idiolect.text.rendering import date_header, shorten
from idiolect.text.terms import terms
from idiolect.types import Block, Call, Context, Item, Learnt, Turn, Used, User, text_of

_NAME = "corrections"
_QUESTION_CHARS, _COMMENT_CHARS, _EDIT_CHARS = 160, 300, 400


@dataclass
class _Standing:
    """One correction as the records after it left it: how often an answer shown it was liked, or corrected again."""

    said: Said
    kept: int = 0
    failed: int = 0
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def confidence(self) -> float:
        """Return 1 for a new correction, 1/2 for one that a newer one contradicts."""
        return (1 + self.kept) / (1 + self.kept + self.failed)


@method(_NAME, level="input", paper="arXiv:2201.06009; arXiv:2204.13074")
@dataclass(frozen=True)
class Corrections:
    """Bring back what the person put right the last time a question of this shape, or on this subject, came up."""

    tau: float = 0.15
    """Two shapes are one below this part of words that differ (0.15: one word in seven)."""
    tau_bare: float = 0.25
    """The same where nothing in either question marks what changes from case to case."""
    near: float = 0.9
    """Without a like shape: cosine of the embedded wordings from which they count as one; above 1 is never."""
    k: int = 2
    """So many corrections of one shape are shown."""
    facts: int = 3
    """So many corrective facts are shown."""
    cover: float = 0.5
    """A fact whose subject is not named comes back where its own case covers more than this part of the question."""
    least: float = 0.6
    """Corrections with less confidence than this are not shown."""
    candidates: int = 64
    """So many feedback records are looked at."""
    share: float = 1.5
    """Part of the token budget relative to the other slots, of each of the two blocks."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the corrections of the question's shape, and the facts about its subject."""
        asked = _readings(call)
        said = self._said(asked, call.query, user)
        told = [one for one in said if _fact(one)]
        meant = self._meant(asked, [one for one in said if not _fact(one)], ctx)
        block = Block(
            _NAME, "What this person meant the last times something like this was asked; the newest counts:",
            tuple(_item(one, rank) for rank, one in enumerate(meant)), self.share,
        )  # fmt: skip
        return call.add(block).add(self._told(call.query, told))

    def observe(self, turn: Turn, user: User, ctx: Context) -> Learnt:
        """Keep a message that puts the answer before it right, as feedback on the question before it."""
        talk = [(str(m.get("role")), text_of(m)) for m in turn.messages if m.get("role") in ("user", "assistant")]
        last = len(talk) - 1
        if last < 2 or talk[last][0] != "user" or not _corrects(talk, last):
            return Learnt()
        first = last - 2
        while _corrects(talk, first):  # a correction of a correction is about the question they both put right
            first -= 2
        record = record_of(
            user.id, talk[first][1], talk[last - 1][1], Feedback(comment=talk[last][1].strip()),
            time=turn.time, trace="",
        )  # fmt: skip
        return Learnt(records=(record,))

    def _said(self, asked: Sequence[str], query: str, user: User) -> list[Said]:
        """Return what the person said of answers to questions like this one, oldest first."""
        queries = dict.fromkeys((*(key(shape(framed)) for framed in asked), query))
        hits = [hit for text in queries if text for hit in user.search(text, self.candidates, kinds=("preference",))]
        found = {hit.record.id: said for hit in hits if (said := read(hit.record)) is not None}
        return sorted(found.values(), key=lambda one: (one.record.time, one.record.id))

    # -- by shape

    def _meant(self, asked: Sequence[str], said: Sequence[Said], ctx: Context) -> list[_Standing]:
        """Return the corrections that hold for the question, the newest first."""
        alike = self._alike(asked, said, ctx)
        standing: list[_Standing] = []
        for one, parts in alike:
            shown = self._shown(standing)
            if _corrects_at_all(one):
                for other in shown:
                    other.failed += _words(other.said) != _words(one)
                standing.append(_Standing(one, parts=parts))
            elif _confirms(one):
                for other in shown:
                    other.kept += 1
        return self._shown(standing)

    def _shown(self, standing: Sequence[_Standing]) -> list[_Standing]:
        """Return what is shown of one shape's corrections: the newest ``k`` that are trusted, each wording once."""
        newest: dict[str, _Standing] = {}
        for one in reversed(standing):
            if one.confidence >= self.least:
                newest.setdefault(_words(one.said), one)
        return list(newest.values())[: self.k]

    def _alike(self, asked: Sequence[str], said: Sequence[Said], ctx: Context) -> list[tuple[Said, dict[str, float]]]:
        """Return the feedback on questions of the nearest shape, in the order it came."""
        shapes, corrected = [shape(framed) for framed in asked], [one for one in said if _corrects_at_all(one)]
        theirs = {one.record.id: shape(frame(one.question)) for one in said}
        apart = {rid: min(self._apart(mine, other) for mine in shapes) for rid, other in theirs.items()}
        least = min((apart[one.record.id] for one in corrected), default=1.0)
        if least < 1:
            return [(one, {"distance": least}) for one in said if apart[one.record.id] == least]
        best, cosine = self._nearest(asked, corrected, ctx)
        if best is None:
            return []
        like = theirs[best.record.id]
        return [(one, {"cosine": cosine}) for one in said if self._apart(theirs[one.record.id], like) == 0]

    def _apart(self, one: Shape, other: Shape) -> float:
        """Return the distance of two shapes; 1 where they are not one."""
        far = distance(one, other)
        if SLOT not in one and SLOT not in other:  # the words that differ may be the case itself
            return 0.0 if far <= self.tau_bare else 1.0
        return far if far <= self.tau else 1.0

    def _nearest(self, asked: Sequence[str], said: Sequence[Said], ctx: Context) -> tuple[Said | None, float]:
        """Return the correction whose question is worded nearest to this one, the newest of equals."""
        if ctx.embedder is None or self.near > 1 or not said:
            return None, 0.0
        embed = ctx.embedder.embed
        mine = [embed([_wording(framed)])[0] for framed in asked if _telling(framed)]
        best, cosine = None, self.near
        for one, framed in ((one, frame(one.question)) for one in said):
            if mine and _telling(framed):
                vector = embed([_wording(framed)])[0]  # one by one: the embedder remembers single texts
                close = max(float(vector @ own) for own in mine)
                best, cosine = (one, close) if close >= cosine else (best, cosine)
        return best, cosine

    # -- by subject

    def _told(self, query: str, said: Sequence[Said]) -> Block:
        """Return the facts whose subject the question names, or whose own case it repeats; newest of each subject."""
        asked = frozenset(terms(query))
        newest: dict[frozenset[int], Item] = {}
        for one in reversed(said):
            told = _fact(one)
            about, own = remarks.subject(told), asked & {*terms(told), *terms(one.question)}
            covered = len(own) / max(1, len(asked))
            if about and (about <= asked or covered > self.cover):
                score = 1.0 - len(newest) / 1e3
                used = Used("record", one.record.id, _NAME, "facts", score, {"covered": covered})
                date = date_header(one.record.time)
                newest.setdefault(about, Item(f"- {shorten(told, _COMMENT_CHARS)}", used, score, date, one.record.time))
        title = "Facts this person put right; where they differ, they count more than what you believe:"
        return Block("facts", title, tuple(newest.values())[: self.facts], self.share)


def _readings(call: Call) -> list[str]:
    """Return the question's frames: with what the caller marks as the case masked, and of what the search reads."""
    last = next((text_of(m) for m in reversed(call.messages) if m.get("role") == "user"), "")
    return list(dict.fromkeys((frame(last, call.focus), frame(call.query))))


def _wording(framed: str) -> str:
    """Return a frame as an embedder reads it: what changes from case to case is ``it``."""
    return framed.replace(SLOT, "it")


def _telling(framed: str) -> bool:
    """Whether a frame has a word of its own, by which it can be told from others."""
    return bool(terms(key(shape(framed))))


def _corrects(talk: Sequence[tuple[str, str]], at: int) -> bool:
    """Whether a message of a conversation puts the answer before it right."""
    return (
        at >= 2
        and [role for role, _ in talk[at - 2 : at + 1]] == ["user", "assistant", "user"]
        and remarks.corrects(talk[at][1], talk[at - 2][1], talk[at - 1][1])
    )


def _corrects_at_all(said: Said) -> bool:
    """Whether feedback says what was wrong: a comment or an edit on an answer that was not liked."""
    given = said.feedback
    return bool(given.edit.strip()) or bool(given.comment.strip() and not _confirms(said))


def _confirms(said: Said) -> bool:
    """Whether feedback says that the answer was good as it was."""
    given = said.feedback
    liked = given.rating is not None and given.rating > 0
    return not given.edit.strip() and (liked or remarks.praises(given.comment))


def _fact(said: Said) -> str:
    """Return the fact that feedback states, empty where it states none."""
    return remarks.fact(said.feedback.comment) if _corrects_at_all(said) else ""


def _words(said: Said) -> str:
    """Return what two corrections of the same content share."""
    return " ".join(map(str, terms(said.feedback.comment or said.feedback.edit)))


def _item(standing: _Standing, rank: int) -> Item:
    """Write a correction with the question it was about."""
    said, given = standing.said, standing.said.feedback
    told = [shorten(given.comment, _COMMENT_CHARS)] if given.comment.strip() else []
    if given.edit.strip():
        told.append(f'the answer should have been: "{shorten(given.edit, _EDIT_CHARS)}"')
    score = standing.confidence - rank / 1e3
    parts = {**standing.parts, "confidence": standing.confidence}
    return Item(
        f'Asked "{shorten(said.question, _QUESTION_CHARS)}": {"; ".join(told)}',
        Used("record", said.record.id, _NAME, _NAME, score, parts),
        score, date_header(said.record.time), said.record.time,
    )  # fmt: skip
