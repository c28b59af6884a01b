"""How an expression of time is read: which days it means, where it stands, for someone who says it on a given day."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from idiolect.text import tense
from idiolect.text.dates import (
    CYCLES,
    MONTHS,
    SHORT_DAYS,
    SHORT_MONTHS,
    UNITS,
    WEEKDAYS,
    Cycle,
    Period,
    day_in,
    wider,
    yearly,
)

NUMBERS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "fifteen": 15, "eighteen": 18, "twenty": 20, "thirty": 30, "forty": 40,
    "fifty": 50,
}  # fmt: skip
_VAGUE = {"couple": (2, 2), "few": (2, 5), "several": (3, 7)}
_LAST_WORD = re.compile(r"([\w'’]+)[ -]$")
_LIKE = re.compile(r"\b(?:like(?: it was)?(?: just| only)?|usa) $", re.I)
_COUNTED = re.compile(
    r" (?:\w+ )?(?:people|dollars|euros|pounds|bucks|miles|kilomet\w+|met\w+|words|calories|times|years|steps|pages|"
    r"points|followers|users|items|copies|kg|km|kcal)\b|[%$€£]|[-–,.:]\d", re.I,
)  # fmt: skip
_NOT_THE_PERIOD = re.compile(r" (?:of|roast|school|service)\b", re.I)
_NOT_THE_SEASON = re.compile(
    r" (?:water|from|off|down|on (?:me|my|the)|hurt|broke|(?:is|was) broken|coil|roll|onion|guy|in (?:price|demand))\b",
    re.I,
)
_POSSESSIVE = re.compile(r"['’]s\b")
_BOUNDS = {"over", "than", "least", "under", "to", "within", "or", "-"}
_RATES = {"once", "twice", "time", "times", "days", "weeks", "months", "hours"}
_ABLE = re.compile(r"\b(?:can|could|first|best|worst|there (?:are|is)|takes?)\b", re.I)
_DETERMINERS = {
    "my", "the", "your", "his", "her", "its", "our", "their", "a", "an", "one", "every", "each", "very", "whose",
    "these", "those", "at",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scene:
    """A text, and the day it was said on."""

    text: str
    today: date

    def before(self, match: re.Match[str]) -> str:
        """Return the word before a match in small letters; empty after a stop."""
        found = _LAST_WORD.search(self.text, max(0, match.start() - 24), match.start())
        return found[1].lower() if found else ""

    def after(self, match: re.Match[str], pattern: re.Pattern[str]) -> bool:
        """Whether the text goes on like this after a match."""
        return pattern.match(self.text, match.end()) is not None

    def leaning(self, match: re.Match[str]) -> int:
        """Return -1 where the words around a match look back, 1 where they look forward."""
        return tense.leaning(self.text, *match.span())


# -- dates that stand for themselves


def numeric(orders: tuple[str, ...], match: re.Match[str], scene: Scene) -> list[Period]:
    """2023-05-04, 4.5.2023, and 5/6/2023, which is read in both ways."""
    numbers = [int(part) for part in re.findall(r"\d+", match[0])]
    found = []
    for order in orders:
        place = dict(zip(order, numbers, strict=True))
        try:
            days = yearly(place["m"], place["d"]).nth(place["y"])
        except ValueError:
            continue
        found.append((days, UNITS["day"].grain))
    return sorted(set(found))


def named(match: re.Match[str], scene: Scene) -> list[Period]:
    """A day, a month, a season or a holiday with its year."""
    cycle = _cycle(match["name"])
    return [(cycle.nth(int(match["year"])), cycle.grain)]


def bare_year(match: re.Match[str], scene: Scene) -> list[Period]:
    """In 2019; not so many people or metres."""
    return [] if scene.after(match, _COUNTED) else [(UNITS["year"].nth(int(match["name"])), "year")]


# -- near days and counted periods


def near(by: int, match: re.Match[str], scene: Scene) -> list[Period]:
    """Yesterday, tonight, the day after tomorrow."""
    if _LIKE.search(scene.text, max(0, match.start() - 24), match.start()):  # "it feels like yesterday"
        return []
    at = scene.today.toordinal() + by
    return [(UNITS["day"].nth(at), "day")]


def amount(words: str) -> tuple[int, int]:
    """Return the least and the most that a number means."""
    words = words.lower()
    for vague, amount in _VAGUE.items():
        if vague in words:
            return amount
    number = int(words) if words.isdecimal() else NUMBERS[words]
    return number, number


def stretch(unit: str, today: date, low: int, high: int) -> list[Period]:
    """Return the ``low``-th to the ``high``-th unit from today's; those before it have negative numbers."""
    unit = unit.lower().removesuffix("s")
    if unit == "fortnight":
        unit, low, high = "week", 2 * low, 2 * high
    elif unit == "decade":
        unit, low, high = "year", 10 * low - 1, 10 * high + 1
    cycle = CYCLES[unit]
    at = cycle.index(today)
    if unit not in UNITS:  # "two Fridays ago": the last one, and one more
        at = cycle.last(today) + 1 if low < 0 else cycle.next(today) - 1
    days = cycle.nth(at + low)[0], cycle.nth(at + high)[1]
    return [(days, cycle.grain if low == high else wider(cycle.grain))]


def ago(match: re.Match[str], scene: Scene) -> list[Period]:
    """Two years ago; not "over two years ago", which is only a bound."""
    if scene.before(match) in _BOUNDS:
        return []
    low, high = amount(match["num"])
    return stretch(match["unit"], scene.today, -max(high, _more(match)), -low)


def _more(match: re.Match[str]) -> int:
    return amount(match["more"])[1] if match["more"] else 0


def ahead(match: re.Match[str], scene: Scene) -> list[Period]:
    """In two weeks, two weeks from now."""
    title = match[0][0].islower() and match["unit"][0].isupper()  # Around the World in 80 Days
    if title or ("from" not in match[0] and not _to_come(match, scene)):
        return []
    low, high = amount(match["num"])
    return stretch(match["unit"], scene.today, low, max(high, _more(match)))


def _to_come(match: re.Match[str], scene: Scene) -> bool:
    """Whether "in two weeks" is a time to come, and not how long something took."""
    if scene.before(match) in _RATES or _ABLE.search(tense.clause(scene.text, *match.span())):
        return False
    lean = scene.leaning(match)
    return lean > 0 or (lean == 0 and match.groupdict().get("num", "a").lower() not in ("a", "an"))


def half(match: re.Match[str], scene: Scene) -> list[Period]:
    """A year and a half ago, in half a year: no more exact than such words are."""
    past = match[0].lower().endswith("ago")
    if scene.before(match) in _BOUNDS or not (past or "from" in match[0] or _to_come(match, scene)):
        return []
    number = amount(match["num"])[0] if "num" in match.re.groupindex else 0
    unit, sign = match["unit"].lower().removesuffix("s"), -1 if past else 1
    if unit == "year":
        at = UNITS["month"].index(scene.today) + sign * (12 * number + 6)
        return [((UNITS["month"].nth(at - 1)[0], UNITS["month"].nth(at + 1)[1]), "season")]
    size, slack = (30.44, 4) if unit == "month" else (7, 2)
    at = scene.today.toordinal() + sign * round((number + 0.5) * size)
    return [((day_in(at - slack), day_in(at + slack + 1)), "week")]


def trailing(match: re.Match[str], scene: Scene) -> list[Period]:
    """Over the last two weeks, the past year, in the next few days: today is part of it."""
    unit = match["unit"].lower()
    number = sum(amount(match.groupdict().get("num") or ("few" if unit.endswith("s") else "one"))) // 2
    unit = unit.removesuffix("s")
    unit, times = {"week": ("day", 7), "fortnight": ("day", 14), "decade": ("year", 10)}.get(unit, (unit, 1))
    if unit == "year" and number * times == 1:
        unit, times = "month", 12
    cycle = UNITS[unit]
    at, by = cycle.index(scene.today), number * times
    first, last = (at, at + by) if match["mod"].lower() in ("next", "coming") else (at - by, at)
    return [((cycle.nth(first)[0], cycle.nth(last)[1]), wider(cycle.grain))]


def other(match: re.Match[str], scene: Scene) -> list[Period]:
    """The other day: within the last week; the other week: within the last four."""
    unit, most = ("week", 4) if match[0].lower().endswith("week") else ("day", 7)
    return stretch(unit, scene.today, -most, -1)


# -- periods with a name


def _cycle(name: str) -> Cycle:
    """Return the cycle of a name as it stands in a text; raises ``ValueError`` for no such day of the year."""
    name = name.lower().replace("’", "'").removeprefix("the ").strip(". ")
    if name in CYCLES:
        return CYCLES[name]
    if name in SHORT_DAYS:
        return CYCLES[WEEKDAYS[SHORT_DAYS[name]]]
    month, day = next(word for word in re.findall("[a-z]+", name) if word[:3] in SHORT_MONTHS), re.search(r"\d+", name)
    number = SHORT_MONTHS[month[:3]]
    if day is None:
        return CYCLES[MONTHS[number - 1]]
    return yearly(number, int(day[0]))


def _is_verb(name: str, mark: str) -> bool:
    """Whether "may" or "march" in small letters is not a month here."""
    return name in ("may", "march") and mark not in ("last", "in", "since")


def modified(match: re.Match[str], scene: Scene) -> list[Period]:
    """Last, this or next such period."""
    name, mark, before = match["name"], match["mod"].lower(), scene.before(match)
    if before in _DETERMINERS or before.endswith(("'s", "’s")) or _is_verb(name, mark) or name in ("sat", "sun"):
        return []
    if scene.after(match, _NOT_THE_PERIOD) or (
        name.lower() in ("spring", "fall") and scene.after(match, _NOT_THE_SEASON)
    ):
        return []
    cycle = _cycle(name)
    return [(cycle.nth(i), cycle.grain) for i in _which(cycle, mark, match, scene)]


def _which(cycle: Cycle, mark: str, match: re.Match[str], scene: Scene) -> list[int]:
    """Return the numbers of the periods that "last", "this" or "next" may mean here."""
    today, here = scene.today, cycle.index(scene.today)
    if mark.endswith(("past", "last")):
        return [cycle.last(today)]
    if mark.endswith("coming"):
        return [cycle.next(today)]
    if mark == "next":  # on a Tuesday, "next Friday" is the coming one for some and the one after for others
        first = cycle.next(today)
        return [first, first + 1] if first == here else [first]
    if cycle.index is not UNITS["week"].index or cycle.nth(here)[0] <= today < cycle.nth(here)[1]:
        return [here]
    lean = scene.leaning(match)  # "this Friday" and "this weekend" are of this week, unless the sentence looks away
    if cycle.nth(here)[0] > today:
        return [here - 1] if lean < 0 else [here]
    return {-1: [here], 1: [here + 1]}.get(lean, [here, here + 1])


def before_last(match: re.Match[str], scene: Scene) -> list[Period]:
    """The week before last, the Friday after next."""
    cycle = _cycle(match["name"])
    at = cycle.last(scene.today) - 1 if match[0].lower().endswith("last") else cycle.next(scene.today) + 1
    return [(cycle.nth(at), cycle.grain)]


def within(unit: str, match: re.Match[str], scene: Scene) -> list[Period]:
    """A named period of last, this or next year; a weekday of last, this or next week."""
    by = {"last": -1, "this": 0, "next": 1}[match["mod"].lower()]
    cycle = _cycle(match["name"])
    return [(cycle.nth(UNITS[unit].index(scene.today) + by), cycle.grain)]


def yearless(match: re.Match[str], scene: Scene) -> list[Period]:
    """Since March, on Friday, on 5 May: the last one or the next one, where the sentence says which."""
    name, mark = match["name"], (match["prep"] or "").lower()
    if _is_verb(name, mark) or tense.recurs(scene.text, *match.span()) or scene.after(match, _POSSESSIVE):
        return []
    lean = -1 if mark == "since" else scene.leaning(match) or int(mark in ("until", "till"))
    cycle, today = _cycle(name), scene.today
    if lean == 0:
        return []
    if lean > 0:
        at = next(i for i in _count(cycle.index(today) - 1, 1) if cycle.nth(i)[1] > today and not _now(cycle, i, today))
    elif name.lower() in WEEKDAYS:
        at = cycle.last(today)
    else:
        at = next(i for i in _count(cycle.index(today) + 1, -1) if cycle.nth(i)[0] <= today)
    return [(cycle.nth(at), cycle.grain)]


def _now(cycle: Cycle, i: int, today: date) -> bool:
    return cycle.grain == "day" and cycle.nth(i)[0] == today


def _count(start: int, step: int) -> Iterator[int]:
    while True:
        yield start
        start += step
