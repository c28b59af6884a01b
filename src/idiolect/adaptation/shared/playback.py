"""Data playback: instructions for texts that answer nothing, so that they can be learnt from (Panza, arXiv:2407.10994).

A mail or a post has no question before it. The model writes the instruction whose answer it could be; a person who
asks for such a text later asks in that way. An instruction that quotes the text would teach copying: it is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from idiolect.text.rendering import shorten
from idiolect.types import Artifact, Body, Call, Context, Record, Sampling, User

PLAYBACK = "playback"
"""Artifacts that hold a person's instructions by record, in their body: only training reads them."""
NGRAM = 8
"""So many words in a row must not stand in both."""
MARK = "Instruction:"
_CHARS, _LONGEST, _SENTENCES = 2000, 600, 3
_SAMPLING = Sampling(temperature=0.7, top_p=0.7, max_tokens=160, seed=0)
_ASK = (
    "Below is a text that somebody wrote. Write the instruction that the author would have given to an assistant to "
    "have it written: one to three sentences, as an order, with what the text is about and to whom it goes. Use words "
    f"of your own. Answer with '{MARK} ' and the instruction, and nothing else.\n\nText:\n"
)
_WORD = re.compile(r"\w+")
_END = re.compile(r"[.!?]+(?:\s|$)")


@dataclass(frozen=True)
class Played:
    """A person's instructions by record id; an empty one was refused, for the reason that is counted."""

    instructions: Mapping[str, str]
    counts: Mapping[str, int]

    def over(self, records: Sequence[Record]) -> list[Record]:
        """Return records with the instruction for an input where there is one; the others as they are."""
        found = self.instructions
        return [replace(one, input=found[one.id]) if found.get(one.id) else one for one in records]


def played(user: User, records: Sequence[Record], method: str, ctx: Context) -> tuple[Played, Artifact | None]:
    """Return instructions for the records without input, and the artifact to keep where some of them are new.

    Each text is asked about once: refused ones too.
    """
    wanted = [record for record in records if not record.input.strip()]
    kept = _kept(user, method)
    new = [record for record in wanted if record.id not in kept]
    answers = (ctx.helper or ctx.model).generate([_call(record) for record in new]) if new else []
    made = dict(kept)
    for record, answer in zip(new, answers, strict=True):
        made[record.id] = read(answer.text, record.output)
    mine = {record.id: made[record.id] for record in wanted}
    found = Played({rid: text for rid, (text, _) in mine.items()}, Counter(why for _, why in mine.values()))
    return found, _artifact(user, {**kept, **mine}, method, ctx) if new else None


def read(answer: str, text: str) -> tuple[str, str]:
    """Return the instruction in an answer and ``"made"``; or nothing, and why: ``"malformed"`` or ``"copied"``."""
    before, mark, after = answer.partition(MARK)
    instruction = " ".join(after.split())
    sentences = len(_END.findall(instruction if _END.search(instruction[-1:]) else f"{instruction}."))
    if not mark or MARK in after or before.strip() or not instruction:
        return "", "malformed"
    if len(instruction) > _LONGEST or sentences > _SENTENCES:
        return "", "malformed"
    return ("", "copied") if _runs(instruction) & _runs(text) else (instruction, "made")


def _runs(text: str) -> set[tuple[str, ...]]:
    words = [word.lower() for word in _WORD.findall(text)]
    return {tuple(words[at : at + NGRAM]) for at in range(len(words) - NGRAM + 1)}


def _call(record: Record) -> Call:
    return Call(({"role": "user", "content": _ASK + shorten(record.output, _CHARS)},), sampling=_SAMPLING)


def _kept(user: User, method: str) -> dict[str, tuple[str, str]]:
    mine = (a for a in user.artifacts if a.kind == PLAYBACK and a.method == method and a.user_id == user.id)
    artifact = next(mine, None)
    if artifact is None or artifact.body is None:
        return {}
    return {rid: (text, why) for rid, (text, why) in orjson.loads(artifact.body.read()).items()}


def _artifact(user: User, made: Mapping[str, tuple[str, str]], method: str, ctx: Context) -> Artifact:
    times = {record.id: record.time for record in user.history if record.id in made}
    own = {rid: found for rid, found in made.items() if rid in times}
    counts = Counter(why for _, why in own.values())
    return Artifact.new(
        user.id, PLAYBACK, method=method, payload=orjson.dumps(counts), record_ids=own, time=max(times.values()),
        base_model=(ctx.helper or ctx.model).fingerprint, body=Body.of(orjson.dumps(own)),
    )  # fmt: skip
