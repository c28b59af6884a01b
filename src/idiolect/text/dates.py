"""The calendar: days and periods as half-open ranges, what they are called, and the dates that a question names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

MONTHS = "january february march april may june july august september october november december".split()
WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
SHORT_MONTHS = {name[:3]: i for i, name in enumerate(MONTHS, 1)}
SHORT_DAYS = {"mon": 0, "tue": 1, "tues": 1, "wed": 2, "thu": 3, "thur": 3, "thurs": 3, "fri": 4, "sat": 5, "sun": 6}
SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
"""First months, as they are in the north."""
HOLIDAYS = {
    "christmas": (12, 25), "christmas eve": (12, 24), "christmas day": (12, 25), "halloween": (10, 31),
    "new year's eve": (12, 31), "valentine's day": (2, 14),
}  # fmt: skip

Grain = Literal["day", "week", "month", "season", "year"]
Range = tuple[float, float]
Days = tuple[date, date]
"""Whole days: the first, and the one after the last."""
Period = tuple[Days, Grain]

_DAY = 86400
_EPOCH = date(1970, 1, 1).toordinal()
_NAMED = re.compile(
    rf"\b(?:(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? )?({'|'.join(MONTHS)})\b"
    r"(?: (\d{1,2})(?:st|nd|rd|th)?\b)?(?:,? ?(\d{4}))?"
)
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_CUES = "in|on|of|during|since|until|by|before|after|late|early|mid|last|this|next"
_AMBIGUOUS = {name: re.compile(rf"\b(?:{_CUES}) {name}\b") for name in ("may", "march")}
_ANY = re.compile(rf"{'|'.join(MONTHS)}|(?:19|20)\d\d")


def day_of(moment: float) -> date:
    """Return the day, UTC, of a moment in seconds since the epoch; raises ``ValueError`` outside the calendar."""
    try:
        return date.fromordinal(_EPOCH + int(moment // _DAY))
    except OverflowError as error:
        raise ValueError(f"{moment!r} is no moment of the calendar") from error


def seconds(days: Days) -> Range:
    """Return whole days as ``[start, end)`` in seconds since the epoch, UTC."""
    return float((days[0].toordinal() - _EPOCH) * _DAY), float((days[1].toordinal() - _EPOCH) * _DAY)


def shift(day: date, by: int) -> date:
    """Return the day so many days on; raises ``ValueError`` outside the calendar."""
    try:
        return day + timedelta(by)
    except OverflowError as error:
        raise ValueError(f"{by} days from {day} lie outside the calendar") from error


def months(first: int, count: int = 1) -> Days:
    """Return ``count`` months from month number ``first``, which is 12 times the year plus 0 for January."""
    return date(first // 12, first % 12 + 1, 1), date((first + count) // 12, (first + count) % 12 + 1, 1)


@dataclass(frozen=True, slots=True)
class Cycle:
    """A period that comes again: a weekday every week, a season every year, the week itself.

    ``nth(index(day))`` is the period that belongs to the larger one ``day`` lies in. It raises ``ValueError`` where
    there is none (29 February).
    """

    grain: Grain
    index: Callable[[date], int]
    nth: Callable[[int], Days]

    def last(self, today: date) -> int:
        """Return the number of the newest period that is over before today."""
        i = self.index(today)
        while self.nth(i)[1] > today:
            i -= 1
        return i

    def next(self, today: date) -> int:
        """Return the number of the first period that begins after today."""
        i = self.index(today)
        while self.nth(i)[0] <= today:
            i += 1
        return i


def _week(day: date) -> int:
    return (day.toordinal() - 1) // 7  # day 1 of the calendar was a Monday


def _month(day: date) -> int:
    return 12 * day.year + day.month - 1


def _year(day: date) -> int:
    return day.year


def _in_week(first: int, length: int) -> Callable[[int], Days]:
    def nth(i: int) -> Days:
        return day_in(7 * i + 1 + first), day_in(7 * i + 1 + first + length)

    return nth


def day_in(ordinal: int) -> date:
    """Return a day by its number; raises ``ValueError`` outside the calendar."""
    try:
        return date.fromordinal(ordinal)
    except OverflowError as error:
        raise ValueError(f"day {ordinal} lies outside the calendar") from error


def _in_year(first: int, count: int) -> Callable[[int], Days]:
    return lambda year: months(12 * year + first - 1, count)


def yearly(month: int, day: int) -> Cycle:
    """Return the cycle of a day of the year; in January the December before still counts as this year's."""
    lag = 31 if month == 12 else 0

    def nth(year: int) -> Days:
        start = date(year, month, day)
        return start, shift(start, 1)

    return Cycle("day", lambda today: shift(today, -lag).year, nth)


UNITS = {
    "day": Cycle("day", date.toordinal, lambda i: (day_in(i), day_in(i + 1))),
    "week": Cycle("week", _week, _in_week(0, 7)),
    "month": Cycle("month", _month, months),
    "year": Cycle("year", _year, _in_year(1, 12)),
}
CYCLES = {
    **UNITS,
    "weekend": Cycle("week", _week, _in_week(5, 2)),
    **{name: Cycle("day", _week, _in_week(i, 1)) for i, name in enumerate(WEEKDAYS)},
    **{name: Cycle("month", _year, _in_year(i, 1)) for i, name in enumerate(MONTHS, 1)},
    **{name: Cycle("season", _year, _in_year(first, 3)) for name, first in SEASONS.items()},
    "winter": Cycle("season", lambda day: shift(day, -90).year, _in_year(12, 3)),  # until March it is the last year's
    **{name: yearly(*when) for name, when in HOLIDAYS.items()},
}
"""Every period that has a name."""


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
        number = MONTHS.index(month) + 1
        out += [r for y in ([int(year)] if year else years) if (r := _range(y, number, day))]
    if not out:
        out = [r for match in _YEAR.finditer(low) if (r := _range(int(match[0]), 0, 0))]
    return out


def _range(year: int, month: int, day: int) -> Range | None:
    """Return the range of a day, of a month (``day`` 0) or of a year (``month`` 0); ``None`` for no such date."""
    try:
        if day:
            return seconds(yearly(month, day).nth(year))
        return seconds(months(12 * year + month - 1) if month else months(12 * year, 12))
    except ValueError:
        return None


# -- what ranges are called

_MONTH = "|".join(name.title() for name in MONTHS)
_PIECE = rf"(?:\d{{1,2}} )?(?:(?:{_MONTH}) )?[1-9]\d{{3}}"
_ONE = rf"(?:(?:\d{{1,2}} (?:(?:{_MONTH}) (?:\d{{4}} )?)?|(?:{_MONTH}) (?:\d{{4}} )?|\d{{4}} )to )?{_PIECE}"
LABEL = rf"{_ONE}(?: or {_ONE})*"
"""What :func:`label` writes, as a regular expression; several readings are joined by "or"."""


def label(days: Days, grain: Grain) -> str:
    """Return what whole days are called at a grain: "8 May 2023", "March to May 2026", "2021 to 2024"."""
    parts = {"day": 3, "week": 3, "month": 2, "season": 2, "year": 1}[grain]
    first, last = (_parts(day)[-parts:] for day in (days[0], shift(days[1], -1)))
    if first == last:
        return " ".join(last)
    for shared in range(parts - 1, 0, -1):
        if first[-shared:] == last[-shared:]:
            first = first[:-shared]
            break
    return f"{' '.join(first)} to {' '.join(last)}"


def read_label(text: str) -> list[Period]:
    """Return the readings that a label stands for; empty where there is no such date."""
    try:
        return [_read(one) for one in text.split(" or ")]
    except ValueError:
        return []


def wider(grain: Grain) -> Grain:
    """Return the grain of several days, months or years together."""
    return "week" if grain == "day" else "season" if grain == "month" else grain


def _read(text: str) -> Period:
    first, _, last = (part.split() for part in text.rpartition(" to "))
    end, grain = _piece(last)
    if not first:
        return end, grain
    start, _ = _piece(first + last[len(first) :])  # what both share is said once
    return (start[0], end[1]), wider(grain)


def _piece(parts: list[str]) -> Period:
    """Return the day, the month or the year that one, two or three words name."""
    year = int(parts[-1])
    if len(parts) == 1:
        return UNITS["year"].nth(year), "year"
    month = MONTHS.index(parts[-2].lower()) + 1
    if len(parts) == 2:
        return UNITS["month"].nth(12 * year + month - 1), "month"
    return yearly(month, int(parts[0])).nth(year), "day"


def _parts(day: date) -> list[str]:
    return [str(day.day), MONTHS[day.month - 1].title(), str(day.year)]
