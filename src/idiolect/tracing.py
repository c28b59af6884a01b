"""The trace of an answer: what shaped it and why, and the prompt with one of these things left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from idiolect import registry
from idiolect.prompting.assembly import Named, write
from idiolect.store.store import Store
from idiolect.types import Block, Call, Item, Message, Used

NOT_KEPT = "[another person's record, not kept in the trace]"
PASSED = "[a guess about this person, made for one answer and not kept]"


def trace_of(
    store: Store, base: Call, planned: Call, offered: Sequence[Block], chosen: Sequence[Named]
) -> dict[str, Any]:
    """Return what shaped a planned call; of what may not be kept, only that it was there."""
    entered = {(u.id, u.slot) for u in planned.used}
    trace = {
        "methods": [{"name": name, **registry.settings_of(method)} for name, method in chosen],
        "embedder": "" if store.embedder is None else store.embedder.fingerprint,
        "used": [_used_json(store, u) for u in (*planned.used, *_of_drafts(planned))],
        "left_out": sum((i.used.id, i.used.slot) not in entered for b in offered for i in b.items),
        "base": list(base.messages),
        "messages": list(planned.messages),
        "slots": [{"slot": b.slot, "title": b.title, "stable": b.stable} for b in offered],
    }
    if any(used.owner or used.ephemeral for used in planned.used):  # the prompt, without what is not kept
        trace["messages"] = list(rebuild(trace, leave_out=None))
    return trace


def _used_json(store: Store, used: Used) -> dict[str, Any]:
    """Return the fields as a mapping; ``dataclasses.asdict`` copies deeply and takes ten times as long.

    Of another person's record the text is not kept, and its owner only as a pseudonym that dies with their key;
    nor is the text of what is ephemeral.
    """
    shown = {
        "what": used.what, "id": used.id, "method": used.method, "slot": used.slot, "score": used.score,
        "parts": dict(used.parts), "text": used.text, "header": used.header,
    }  # fmt: skip
    if used.owner:
        key = store.key(used.owner)
        shown |= {"text": NOT_KEPT, "owner": "" if key is None else key.mac("peer").hex()[:12]}
    elif used.ephemeral:
        shown["text"] = PASSED
    return shown


def _of_drafts(call: Call) -> list[Used]:
    """Return what shaped the alternatives among which a draft is chosen; what several share, once."""
    found = [used for one in (call.choose.alternatives if call.choose else ()) for used in one.used]
    return list({(used.id, used.slot): used for used in found}.values())


def rebuild(trace: Mapping[str, Any], leave_out: int | None) -> tuple[Message, ...]:
    """Write a trace's prompt again without one of the things it used."""
    kept = [u for i, u in enumerate(trace["used"]) if i != leave_out]
    blocks = []
    for slot in trace["slots"]:
        items = [
            Item(u["text"], Used(u["what"], u["id"], u["method"], u["slot"]), header=u["header"])
            for u in kept
            if u["slot"] == slot["slot"]
        ]
        if items:
            blocks.append(Block(slot["slot"], slot["title"], tuple(items), stable=slot["stable"]))
    blocks.sort(key=lambda block: not block.stable)
    return write(trace["base"], blocks) if blocks else tuple(trace["base"])
