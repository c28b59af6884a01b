"""Calendar ranges that a text names: "in May 2023", "on 7 August", "2021"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

_MONTHS = "january february march april may june july august september october november december".split()
_NAMED = re.compile(
    rf"\b(?:(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? )?({'|'.join(_MONTHS)})\b"
    r"(?: (\d{1,2})(?:st|nd|rd|th)?\b)?(?:,? ?(\d{4}))?"
)
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_CUES = "in|on|of|during|since|until|by|before|after|late|early|mid|last|this|next"
_AMBIGUOUS = {name: re.compile(rf"\b(?:{_CUES}) {name}\b") for name in ("may", "march")}
_ANY = re.compile(rf"{'|'.join(_MONTHS)}|(?:19|20)\d\d")

Range = tuple[float, float]


def date_ranges(text: str, years: Sequence[int]) -> list[Range]:
    """Return half-open ranges ``[start, end)`` in seconds since the epoch, UTC.

    ``years`` are tried for a date without a year. "may" and "march" count as months only beside a day, a year or a
    preposition.
    """
    low = text.lower()
    if not _ANY.search(low):
        return []
    out: list[Range] = []
    for match in _NAMED.finditer(low):
        first, month, second, year = match.groups()
        day = int(first or second or 0)
        if month in _AMBIGUOUS and not (day or year) and not _AMBIGUOUS[month].search(low):
            continue
        number = _MONTHS.index(month) + 1
        out += [r for y in ([int(year)] if year else years) if (r := _range(y, number, day))]
    if not out:
        out = [r for match in _YEAR.finditer(low) if (r := _range(int(match[0]), 0, 0))]
    return out


def _range(year: int, month: int, day: int) -> Range | None:
    """Return the range of a day, of a month (``day`` 0) or of a year (``month`` 0); ``None`` for no such date."""
    try:
        start = datetime(year, month or 1, day or 1, tzinfo=UTC)
        if day:
            return start.timestamp(), start.timestamp() + 86400
        end = datetime(year + (month + 1 > 12 or not month), month % 12 + 1 if month else 1, 1, tzinfo=UTC)
    except ValueError:
        return None
    return start.timestamp(), end.timestamp()
