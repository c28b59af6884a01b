"""Writing the year, or the day, behind a date that a statement leaves incomplete: "in September", "on Monday".

:mod:`idiolect.text.moments` leaves alone what has no clear reading. Of a statement more is known: plans and
appointments lie ahead, what has happened lies behind. What is said of neither, or comes again, stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from idiolect.text import tense
from idiolect.text.dates import (
    CYCLES,
    MONTHS,
    SEASONS,
    SHORT_MONTHS,
    WEEKDAYS,
    Cycle,
    Days,
    Grain,
    label,
    months,
    yearly,
)
from idiolect.text.moments import dated, today_of

_MONTH = "|".join((*MONTHS, *(name for name in SHORT_MONTHS if name not in ("mar", "may", "sep")), "sept"))
_CUE = r"(?:in|on|from|by|since|till|until|of|to|for|is|early|late|mid|due|starting|beginning|before|after|at)"
_DATE = re.compile(
    rf"\b(?:(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<month>{_MONTH})"
    rf"|(?P<month2>{_MONTH}) (?P<day2>\d{{1,2}})(?:st|nd|rd|th)?(?![\d:.]*\d)"
    rf"|(?P<cue>{_CUE}) (?:early |late |mid-?|the (?:first|end|last|start|beginning) of )?(?P<month3>{_MONTH})(?! \d)"
    rf"|(?P<cue2>{_CUE}) (?:the )?(?P<season>spring|summer|autumn|winter|christmas|xmas|new year(?:'s)?)"
    rf"|(?P<cue3>on|from|is|since|until|till|to|flight|trip) (?P<weekday>{'|'.join(WEEKDAYS)})"
    r"|(?P<cue4>on|to|from|is|until|till) the (?P<alone>\d{1,2})(?:st|nd|rd"
    r"|th))\b(?!s?\s*\()(?!,? (?:of )?\d{4}\b)(?! (?:and|or|to|&) )",
    re.IGNORECASE,
)
_AHEAD = re.compile(
    r"\b(?:will|shall|'ll|due|going|flying|moving|starting|opening|launching|getting|commencing"
    r"|flight|trip|is on|are on|is in"
    r"|deadline|next|accepted|signed up|training for|marathon in|start|starts|begin|begins|from|by"
    r"|until|till|hearing|booked|planning|plan)\b",
    re.IGNORECASE,
)
_AGAIN = re.compile(r"\b(?:every|each|always|usually|most|twice|once a|weekly|monthly|yearly)\b", re.IGNORECASE)
_APPOINTED = re.compile(
    r"\b(?:op|operation|surgery|appointment|scan|hearing|exam|wedding|flight) (?:is|to)\b", re.IGNORECASE
)
_PERIODS: dict[str, str] = {"xmas": "christmas", "sept": "september"}


def complete(text: str, moment: float, *, ahead: bool) -> str:
    """Return a statement with each date that is not complete followed by the whole one, in brackets.

    ``moment`` is when it was said, in seconds since the epoch; ``ahead`` says that the statement is of its kind one of
    what is to come. Relative expressions are resolved first (:func:`idiolect.text.moments.dated`).
    """
    today = today_of(moment)
    if today is None or _AGAIN.search(text):
        return dated(text, moment)
    ahead = ahead or bool(_APPOINTED.search(text))
    return dated(_completed(text, today, ahead), moment) if ahead else _completed(dated(text, moment), today, ahead)


def _completed(text: str, today: date, ahead: bool) -> str:
    out, at = "", 0
    for match, days, grain in _found(text, today, ahead):
        out += f"{text[at : match.end()]} ({label(days, grain)})"
        at = match.end()
    return out + text[at:]


def _found(text: str, today: date, ahead: bool) -> Iterator[tuple[re.Match[str], Days, Grain]]:
    for match in _DATE.finditer(text):
        way = _direction(text, match, ahead)
        cycle = _cycle(match, today)
        if way and cycle:
            days = _nearest(cycle, today, way)
            if days:
                yield match, days, cycle.grain


def _direction(text: str, match: re.Match[str], ahead: bool) -> int:
    """Return 1 where a date lies ahead, -1 where it lies behind, 0 where nothing says so."""
    cue = next((match[name] for name in ("cue", "cue2", "cue3", "cue4") if match[name]), "").lower()
    if cue == "since":
        return -1
    clause = tense.clause(text, *match.span())
    if cue in ("due", "until", "till", "next") or (_AHEAD.search(clause) and not tense.looks_back(clause)):
        return 1
    if ahead:
        return 1
    return -1 if tense.looks_back(clause) or _PAST.search(clause) else 0


_PAST = re.compile(
    r"\b(?:split|lost|wound|moved|died|started|left|turned|closed|sold|retired|married|born|quit)\b", re.IGNORECASE
)


def _cycle(match: re.Match[str], today: date) -> Cycle | None:
    month = match["month"] or match["month2"] or match["month3"]
    day = match["day"] or match["day2"]
    if month:
        number = SHORT_MONTHS[month[:3].lower()]
        try:
            return yearly(number, int(day)) if day else CYCLES[MONTHS[number - 1]]
        except ValueError:
            return None
    if match["alone"]:
        return _day_of_month(int(match["alone"]))
    name = (match["season"] or match["weekday"]).lower()
    if name.startswith("new year"):
        return yearly(1, 1)
    name = _PERIODS.get(name, name)
    return CYCLES[name] if name in CYCLES or name in SEASONS else None


def _day_of_month(day: int) -> Cycle | None:
    if not 1 <= day <= 31:
        return None

    def nth(i: int) -> Days:
        first = months(i)[0]
        start = first.replace(day=day)
        return start, date.fromordinal(start.toordinal() + 1)

    return Cycle("day", lambda when: 12 * when.year + when.month - 1, nth)


def _nearest(cycle: Cycle, today: date, way: int) -> Days | None:
    """Return the nearest period ahead that is not over, or behind that has begun."""
    here = cycle.index(today)
    for step in range(-2, 3) if way > 0 else range(2, -3, -1):
        try:
            days = cycle.nth(here + step)
        except ValueError:
            continue
        if (days[1] > today) if way > 0 else (days[0] <= today):
            return days
    return None
