"""What a person takes of the options they are shown, without an answer that it is about.

Each becomes one ``preference`` record with the options in its ``meta``, which every method that learns from choices
reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from idiolect.errors import InputError
from idiolect.memory import gate
from idiolect.types import Option, Record, User

SOURCE = "choice"
_LOOKED_AT = 50


def chosen(user: User, prompt: str, options: Sequence[Option], choice: int, now: float, item: str = "") -> Record:
    """Return the record of a choice among at least two options; the one that is there where it was made before.

    ``choice`` is a position in ``options``, from 0. ``item`` names what is asked about. Only the newest choice among
    the same options counts as made before: who changes their mind twice has said three things. Secrets are taken out.
    Raises :class:`InputError` where the choice cannot be, or speaks of what the person wants never to be kept.
    """
    check(options)
    if not 0 <= choice < len(options):
        raise InputError(f"'choice' is {choice}, but there are {len(options)} options, numbered from 0")
    texts = [gate.without_secrets(text_of(option))[0] for option in options]
    about = gate.without_secrets(prompt)[0]
    if gate.unwanted("\n".join((about, *texts)), user.wishes):
        raise InputError("not kept: it speaks of what the person wants never to be kept")
    items = [option.item for option in options]
    named = {"option_items": items if all(items) else [], "item": item}
    meta: dict[str, Any] = {"about": about, "options": texts, "choice": choice, **{k: v for k, v in named.items() if v}}
    new = Record.new(
        user.id, texts[choice], time=now, kind="preference", input=about, source=SOURCE, meta=meta,
        key=f"{now!r}|{sorted(meta.items())!r}",
    )  # fmt: skip
    before = _newest(user, new)
    return before if before is not None and before.output == new.output else new


def _newest(user: User, new: Record) -> Record | None:
    """Return the newest choice on the same prompt among the same options, in whatever order they stood."""
    hits = user.search(new.input or new.output, _LOOKED_AT, kinds=("preference",))
    among = sorted(new.meta["options"])
    found = [
        hit.record
        for hit in hits
        if hit.record.source == SOURCE and hit.record.input == new.input
        and sorted(map(str, hit.record.meta.get("options", ()))) == among
    ]  # fmt: skip
    return max(found, key=lambda record: (record.time, record.id), default=None)


def text_of(option: Option) -> str:
    """Return what an option says: its text, else its label."""
    return option.text or option.label


def check(options: Sequence[Option]) -> None:
    """Raise :class:`InputError` unless there are at least two options, none of them empty or twice there."""
    texts = [text_of(option).strip() for option in options]
    if len(options) < 2:
        raise InputError(f"a choice needs at least two options, there is {len(options) or 'none'}")
    for place, text in enumerate(texts):
        if not text:
            raise InputError(f"option {place} is empty")
        if text in texts[:place]:
            raise InputError(f"options {texts.index(text)} and {place} are the same")
