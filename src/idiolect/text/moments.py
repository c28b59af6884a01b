"""When a text speaks of: "last month", "two weeks ago", "since March", resolved against the moment it was said.

Times are UTC, weeks begin on Monday, seasons are those of the north. Precision goes first: what has no clear reading
is left alone, and what has two ("next Friday", said on a Tuesday) gives both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from math import inf

from idiolect.text import tense
from idiolect.text.dates import (
    LABEL,
    MONTHS,
    WEEKDAYS,
    Grain,
    Period,
    Range,
    date_ranges,
    day_of,
    label,
    read_label,
    seconds,
)
from idiolect.text.phrases import may_speak_of_time, phrases
from idiolect.text.rendering import DATED_AFTER

_LATEST = 2.0**37  # in the year 6325; sums of days stay within the calendar
_SOME_DAY = date(2000, 1, 1)
_BRACKET = re.compile(rf" ?\(({LABEL})\)")
_DIGITS = re.compile(r"\d+[-/.]\d+[-/.]\d+")
_BEHIND = re.compile(r"\b(?:last|past)\b", re.I)
_EDGE = re.compile(r"(?:([\w'’]+) )?\b(since|after|before|until|till) (?:the )?$", re.I)
_PERIOD = re.compile(rf"(?:day|week|weekend|month|year|night|morning|evening|{'|'.join(WEEKDAYS)})s?", re.I)
_YEARLESS = re.compile(rf"(?!.*\b(?:last|this|next)\b).*\b(?:{'|'.join(MONTHS)})\b", re.I)


@dataclass(frozen=True, slots=True)
class Moment:
    """A time that a text names: half-open ``[start, end)`` in seconds since the epoch, UTC.

    ``span`` is where the expression stands in the text. Two moments with one span are two readings of it.
    """

    start: float
    end: float
    text: str
    span: tuple[int, int]
    grain: Grain


@dataclass(frozen=True, slots=True)
class Name:
    """An expression of time and its readings; a ``labelled`` one has its date behind it, in brackets."""

    span: tuple[int, int]
    periods: tuple[Period, ...]
    relative: bool = False
    labelled: bool = False


def resolve(text: str, moment: float) -> list[Moment]:
    """Return the times that a text names, in the order of the text.

    ``moment`` is when it was said, in seconds since the epoch. Where that is no date (it is not finite, or the order
    number of a source without dates), relative expressions are left alone. A date that :func:`dated` has written
    behind an expression counts for it, whatever the moment.
    """
    return [
        Moment(*seconds(days), text[slice(*name.span)], name.span, grain)
        for name in names(text, moment)
        for days, grain in name.periods
    ]


def dated(text: str, moment: float) -> str:
    """Return the text with the date of each relative expression behind it, in brackets: "last month (October 2026)".

    Absolute dates stay as they are. Doing it again, at whatever moment, changes nothing.
    """
    out, at = "", 0
    for name in names(text, moment):
        if name.relative and not name.labelled:
            out += f"{text[at : name.span[1]]} ({' or '.join(label(*period) for period in name.periods)})"
            at = name.span[1]
    return out + text[at:]


def today_of(moment: float) -> date | None:
    """Return the day of a moment, ``None`` where it is no date: an order number, or not finite."""
    return day_of(moment) if DATED_AFTER <= moment < _LATEST else None


def names(text: str, moment: float) -> list[Name]:
    """Return what :func:`resolve` does, one for each expression."""
    if not may_speak_of_time(text):
        return []
    today = today_of(moment)
    brackets = list(_BRACKET.finditer(text)) if "(" in text else []
    found = []
    for phrase in phrases(_without(text, brackets), today or _SOME_DAY):
        if not phrase.periods:
            continue
        span = _placed(phrase.span, brackets)
        mark = next((one for one in brackets if phrase.relative and one.start() == span[1]), None)
        readings = mark and read_label(mark[1])
        if mark and readings:
            found.append(Name(span, tuple(readings), relative=True, labelled=True))
        elif today or not phrase.relative:
            found.append(Name(span, phrase.periods, phrase.relative))
    taken = {name.span[1] for name in found if name.labelled}
    for mark in brackets:
        if mark.start() not in taken and not mark[1].isdecimal():  # a year alone may be anything
            found.append(Name(mark.span(1), tuple(read_label(mark[1]))))
    return sorted((name for name in found if name.periods), key=lambda name: name.span)


def _without(text: str, brackets: Sequence[re.Match[str]]) -> str:
    """Return a text without its bracketed dates, so that it reads as it did before they were written."""
    at, out = 0, ""
    for mark in brackets:
        out, at = out + text[at : mark.start()], mark.end()
    return out + text[at:]


def _placed(span: tuple[int, int], brackets: Sequence[re.Match[str]]) -> tuple[int, int]:
    """Return where a span of the text without brackets lies in the text with them; it ends before one, not after."""
    start, end = span
    for mark in brackets:
        size = mark.end() - mark.start()
        start += size if mark.start() <= start else 0
        end += size if mark.start() < end else 0
    return start, end


def asked_ranges(query: str, years: Sequence[int], moment: float) -> list[Range]:
    """Return the ranges that a question put at ``moment`` asks about.

    Dates without a year mean each of ``years``, as :func:`date_ranges` has it; relative ones are resolved. After
    "since", "after", "before" and "until" a range goes on to the edge of the history. What lasts still ("today", "this
    year") counts only where the question looks back: "what shall I cook today" does not ask for what was said today.
    """
    if not may_speak_of_time(query):
        return []
    out: list[Range] = []
    rest = query
    for name in names(query, moment):
        first, last = name.span
        edge = _edge(query[:first])
        yearless = name.relative and _YEARLESS.match(query, first, last)
        if not (edge or _DIGITS.fullmatch(query, first, last) or (name.relative and not yearless)):
            continue
        rest = rest[:first] + " " * (last - first) + rest[last:]
        for days, _ in name.periods:
            start, end = seconds(days)
            if edge:
                out.append(_to_edge(edge, start, end))
            elif end <= moment or not name.relative or _BEHIND.search(query, first, last) or tense.looks_back(query):
                out.append((start, end))
    return out + date_ranges(rest, years)


def _edge(before: str) -> str:
    """Return the word that makes a range open at one side; not of "the week before 5 May", which is near that day."""
    found = _EDGE.search(before)
    return "" if found is None or _PERIOD.fullmatch(found[1] or "") else found[2].lower()


def _to_edge(word: str, start: float, end: float) -> Range:
    if word in ("before", "until", "till"):
        return -inf, start if word == "before" else end
    return (start if word == "since" else end), inf
