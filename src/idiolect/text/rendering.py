"""Records as lines of a prompt."""

from __future__ import annotations

from datetime import UTC, datetime

from idiolect.types import Record

DATED_AFTER = 2 * 365 * 86400.0  # earlier times are order numbers of sources without dates


def date_header(time: float) -> str:
    """Return ``[8 May 2023]``, or nothing for a record without a real date."""
    if time < DATED_AFTER:
        return ""
    day = datetime.fromtimestamp(time, UTC)
    return f"[{day.day} {day:%B %Y}]"


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
    return f"{shorten(record.input, input_chars)} -> {said}"


# Angle brackets carry every delimiter of ours and every special token of the usual chat templates; the few that use
# square brackets are listed.
_DEFUSED = str.maketrans({"<": "\u2039", ">": "\u203a", "\u2028": " ", "\u2029": " "})
_SQUARE = ("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]")


def defuse(text: str) -> str:
    """Return stored text that can close no delimiter of ours and open no role of a chat template."""
    if text.isascii() and "<" not in text and ">" not in text and "[" not in text:
        return text  # by far the most frequent case
    text = text.translate(_DEFUSED)
    for token in _SQUARE:
        text = text.replace(token, token.replace("[", "(").replace("]", ")"))
    return text
