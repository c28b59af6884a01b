"""What a person does not want brought up stays out of the prompt, whichever method offers it."""

from __future__ import annotations

from dataclasses import replace

from idiolect.text.mentions import mentions
from idiolect.text.terms import terms
from idiolect.types import Block, Call, Item, User

_NEAREST, _SAME = 3, 0.8
"""A learnt statement is that of a record when so much of the shorter one's terms are in both; so many are compared."""


def without_muted(call: Call, user: User) -> Call:
    """Return the call without the items that speak of something muted; the same call where nothing is.

    An item goes when its text or header has the words of a muted phrase, or its record a muted topic; one of an
    artifact when it says the same as a memory with a muted topic.
    """
    drafts = call.choose.alternatives if call.choose is not None else ()
    if not (call.context or drafts) or not user.wishes.muted:
        return call
    if call.choose is not None and drafts:
        written = tuple(without_muted(one, user) for one in drafts)
        call = replace(call, choose=replace(call.choose, alternatives=written))
    blocks = tuple(_kept(block, user) for block in call.context)
    return replace(call, context=tuple(block for block in blocks if block.items))


def _kept(block: Block, user: User) -> Block:
    return replace(block, items=tuple(item for item in block.items if not _is_muted(item, user)))


def _is_muted(item: Item, user: User) -> bool:
    return mentions(f"{item.header}\n{item.text}", user.wishes.muted) or bool(_topics(item, user) & _muted(user))


def _muted(user: User) -> set[str]:
    return {phrase.strip().lower() for phrase in user.wishes.muted}


def _topics(item: Item, user: User) -> set[str]:
    if item.used.owner:
        return set()
    if item.used.what == "record":
        records = user.neighbours(item.used.id, 0, 0)
    else:
        hits = user.search(item.text, _NEAREST, kinds=("profile",))
        records = [hit.record for hit in hits if _says(item.text, hit.record.output)]
    return {str(record.meta.get("topic", "")).lower() for record in records}


def _says(text: str, statement: str) -> bool:
    a, b = set(terms(text)), set(terms(statement))
    return len(a & b) >= max(1.0, _SAME * min(len(a), len(b)))
