"""Lists to and from a model: numbered texts in a prompt, one statement a line in its answer."""

from __future__ import annotations

import re
from collections.abc import Iterable

from idiolect.text.rendering import defuse, shorten

_BULLET = re.compile(r"^\s*(?:[-*\u2022]|\d{1,2}[.)])\s+(\S.*?)\s*$")
_LONGEST = 300
"""Cut a statement at so many characters."""


def numbered(texts: Iterable[str], chars: int, before: str = "") -> str:
    """Write texts one a line, defused, as ``1. text``; ``before`` stands before the number."""
    return "\n".join(f"{before}{i}. {defuse(shorten(text, chars))}" for i, text in enumerate(texts, 1))


def bullets(answer: str, limit: int) -> list[str]:
    """Return the first ``limit`` lines of an answer that begin with a dash or a number, each once.

    Other lines are left out, and so are marks of emphasis. An answer of another form gives an empty list.
    """
    found: dict[str, None] = {}
    for line in answer.splitlines():
        match = _BULLET.match(line)
        text = shorten(match[1].replace("**", ""), _LONGEST) if match else ""
        if any(character.isalnum() for character in text):
            found.setdefault(text)
    return list(found)[:limit]
