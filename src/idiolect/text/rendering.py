"""Records as lines of a prompt."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from idiolect.types import Record

DATED_AFTER = 2 * 365 * 86400.0  # earlier times are order numbers of sources without dates


def date_header(time: float) -> str:
    """Return ``[8 May 2023]``, or nothing for a record without a real date."""
    return "" if time < DATED_AFTER else _day_header(int(time // 86400))


@lru_cache(maxsize=1 << 14)
def _day_header(day: int) -> str:
    date = datetime.fromtimestamp(day * 86400, UTC)
    return f"[{date.day} {date:%B %Y}]"


def shorten(text: str, chars: int) -> str:
    """Cut a text at a word boundary."""
    text = " ".join(text.split())
    return text if len(text) <= chars else text[:chars].rsplit(" ", 1)[0] + " ..."


def render(record: Record, input_chars: int, output_chars: int) -> str:
    """Write a record as one line: what stood before it, and what the user said, wrote or chose."""
    said = shorten(record.output, output_chars)
    speaker = record.meta.get("speaker")
    if speaker:
        said = f"{speaker}: {said}"
    if not record.input or not input_chars:
        return said
    return f"{shorten(record.input, input_chars)} → {said}"


# Angle brackets carry every delimiter of ours and every special token of the usual chat templates; the few that use
# square brackets are listed.
_DEFUSED = str.maketrans({"<": "\u2039", ">": "\u203a", "\u2028": " ", "\u2029": " "})
_SQUARE = re.compile(r"\[(/?(?:INST|SYSTEM_PROMPT)|TOOL_CALLS|AVAILABLE_TOOLS)\]")


_ROLE = re.compile(
    r"<[|\uff5c]|[|\uff5c]>|</?s>|<<?/?sys>>?|</?(?:start|end)_of_turn>|<(?:bos|eos|eot|pad|unk|sep)>|</?personal-data>",
    re.IGNORECASE,
)


def opens_role(text: str) -> bool:
    """Whether a text holds a special token of the usual chat templates, or a mark of ours."""
    return bool(_ROLE.search(text) or _SQUARE.search(text))


def defuse(text: str) -> str:
    """Return stored text that can close no delimiter of ours and open no role of a chat template."""
    if not text.isascii() or "<" in text or ">" in text:
        text = text.translate(_DEFUSED)
    return _SQUARE.sub(r"(\1)", text) if "[" in text else text
