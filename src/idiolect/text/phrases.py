"""The expressions of time of English, and which days they mean for someone who says them on a given day."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial

from idiolect.text import tense
from idiolect.text.dates import (
    CYCLES,
    HOLIDAYS,
    MONTHS,
    SEASONS,
    SHORT_DAYS,
    SHORT_MONTHS,
    UNITS,
    WEEKDAYS,
    Cycle,
    Period,
    day_in,
    wider,
    yearly,
)  # fmt: skip

_NUMBERS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "fifteen": 15, "eighteen": 18, "twenty": 20, "thirty": 30, "forty": 40,
    "fifty": 50,
}  # fmt: skip
_VAGUE = {"couple": (2, 2), "few": (2, 5), "several": (3, 7)}


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


@dataclass(frozen=True, slots=True)
class Phrase:
    """An expression found: where it stands and its readings; ``relative`` ones depend on the day they are said."""

    span: tuple[int, int]
    periods: tuple[Period, ...]
    relative: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """A way to speak of time."""

    pattern: re.Pattern[str]
    read: Callable[[re.Match[str], Scene], list[Period]]
    needs: frozenset[str]
    """One of these words must be there; empty for no condition. It is quicker to look for them first."""
    relative: bool


def may_speak_of_time(text: str) -> bool:
    """Whether a text has any word or number that an expression of time could be made of; quick."""
    low = text.lower()
    return not _TELLING.isdisjoint(_LETTER_RUN.findall(low)) or _FOUR_DIGITS.search(low) is not None


def phrases(text: str, today: date) -> list[Phrase]:
    """Return the expressions of time in a text, in its order; one that says nothing clear has no periods."""
    scene = Scene(text.translate(_LETTERS), today)
    words = {*_LETTER_RUN.findall(text.lower())}
    found: list[Phrase] = []
    for rule in RULES:
        if rule.needs and rule.needs.isdisjoint(words):
            continue
        for match in rule.pattern.finditer(scene.text):
            span = match.span("name") if "prep" in rule.pattern.groupindex else match.span()
            if any(start < span[1] and span[0] < end for start, end in (phrase.span for phrase in found)):
                continue
            try:
                periods = rule.read(match, scene)
            except ValueError:  # no such date, or none that the calendar holds
                periods = []
            known = (p for p in periods if p[0][0].year >= 1000 and p[0][1].year < 9999)
            found.append(Phrase(span, tuple(known), rule.relative))
    return sorted(found, key=lambda phrase: phrase.span)


# -- dates that stand for themselves


def _numeric(orders: tuple[str, ...], match: re.Match[str], scene: Scene) -> list[Period]:
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


def _named(match: re.Match[str], scene: Scene) -> list[Period]:
    """A day, a month, a season or a holiday with its year."""
    cycle = _cycle(match["name"])
    return [(cycle.nth(int(match["year"])), cycle.grain)]


def _bare_year(match: re.Match[str], scene: Scene) -> list[Period]:
    return [] if scene.after(match, _COUNTED) else [(UNITS["year"].nth(int(match["name"])), "year")]


# -- near days and counted periods


def _near(by: int, match: re.Match[str], scene: Scene) -> list[Period]:
    """Yesterday, tonight, the day after tomorrow."""
    if _LIKE.search(scene.text, max(0, match.start() - 24), match.start()):  # "it feels like yesterday"
        return []
    at = scene.today.toordinal() + by
    return [(UNITS["day"].nth(at), "day")]


def _amount(words: str) -> tuple[int, int]:
    """Return the least and the most that a number means."""
    words = words.lower()
    for vague, amount in _VAGUE.items():
        if vague in words:
            return amount
    number = int(words) if words.isdecimal() else _NUMBERS[words]
    return number, number


def _stretch(unit: str, today: date, low: int, high: int) -> list[Period]:
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


def _ago(match: re.Match[str], scene: Scene) -> list[Period]:
    if scene.before(match) in _BOUNDS:
        return []
    low, high = _amount(match["num"])
    return _stretch(match["unit"], scene.today, -max(high, _more(match)), -low)


def _more(match: re.Match[str]) -> int:
    return _amount(match["more"])[1] if match["more"] else 0


def _ahead(match: re.Match[str], scene: Scene) -> list[Period]:
    """In two weeks, two weeks from now."""
    if "from" not in match[0] and not _to_come(match, scene):
        return []
    low, high = _amount(match["num"])
    return _stretch(match["unit"], scene.today, low, max(high, _more(match)))


def _to_come(match: re.Match[str], scene: Scene) -> bool:
    """Whether "in two weeks" is a time to come, and not how long something took."""
    if scene.before(match) in _RATES or _ABLE.search(tense.clause(scene.text, *match.span())):
        return False
    lean = scene.leaning(match)
    return lean > 0 or (lean == 0 and match.groupdict().get("num", "a").lower() not in ("a", "an"))


def _half(match: re.Match[str], scene: Scene) -> list[Period]:
    """A year and a half ago, in half a year: no more exact than such words are."""
    past = match[0].lower().endswith("ago")
    if scene.before(match) in _BOUNDS or not (past or "from" in match[0] or _to_come(match, scene)):
        return []
    number = _amount(match["num"])[0] if "num" in match.re.groupindex else 0
    unit, sign = match["unit"].lower().removesuffix("s"), -1 if past else 1
    if unit == "year":
        at = UNITS["month"].index(scene.today) + sign * (12 * number + 6)
        return [((UNITS["month"].nth(at - 1)[0], UNITS["month"].nth(at + 1)[1]), "season")]
    size, slack = (30.44, 4) if unit == "month" else (7, 2)
    at = scene.today.toordinal() + sign * round((number + 0.5) * size)
    return [((day_in(at - slack), day_in(at + slack + 1)), "week")]


def _trailing(match: re.Match[str], scene: Scene) -> list[Period]:
    """Over the last two weeks, the past year, in the next few days: today is part of it."""
    unit = match["unit"].lower()
    number = sum(_amount(match.groupdict().get("num") or ("few" if unit.endswith("s") else "one"))) // 2
    unit = unit.removesuffix("s")
    unit, times = {"week": ("day", 7), "fortnight": ("day", 14), "decade": ("year", 10)}.get(unit, (unit, 1))
    if unit == "year" and number * times == 1:
        unit, times = "month", 12
    cycle = UNITS[unit]
    at, by = cycle.index(scene.today), number * times
    first, last = (at, at + by) if match["mod"].lower() in ("next", "coming") else (at - by, at)
    return [((cycle.nth(first)[0], cycle.nth(last)[1]), wider(cycle.grain))]


def _other(match: re.Match[str], scene: Scene) -> list[Period]:
    """The other day: within the last week; the other week: within the last four."""
    unit, most = ("week", 4) if match[0].lower().endswith("week") else ("day", 7)
    return _stretch(unit, scene.today, -most, -1)


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


def _modified(match: re.Match[str], scene: Scene) -> list[Period]:
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


def _before_last(match: re.Match[str], scene: Scene) -> list[Period]:
    """The week before last, the Friday after next."""
    cycle = _cycle(match["name"])
    at = cycle.last(scene.today) - 1 if match[0].lower().endswith("last") else cycle.next(scene.today) + 1
    return [(cycle.nth(at), cycle.grain)]


def _within(unit: str, match: re.Match[str], scene: Scene) -> list[Period]:
    """A named period of last, this or next year; a weekday of last, this or next week."""
    by = {"last": -1, "this": 0, "next": 1}[match["mod"].lower()]
    cycle = _cycle(match["name"])
    return [(cycle.nth(UNITS[unit].index(scene.today) + by), cycle.grain)]


def _yearless(match: re.Match[str], scene: Scene) -> list[Period]:
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


# -- the expressions


def _any(names: Iterable[str]) -> str:
    return "|".join(sorted(names, key=len, reverse=True)).replace("'", "['’]")


def _rule(
    needs: str, pattern: str, read: Callable[[re.Match[str], Scene], list[Period]], relative: bool = True
) -> Rule:
    return Rule(re.compile(pattern, re.I), read, frozenset(needs.split()), relative)


_LETTERS = {0x130: "I", 0x131: "i", 0x17F: "s", 0x212A: "K"}  # what else matches these where case is ignored
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

_TELLING = frozenset([
    *MONTHS, *SHORT_MONTHS, "sept", *WEEKDAYS, *SEASONS, *(name.split()[0] for name in HOLIDAYS), "valentine",
    "yesterday", "today", "tonight", "tomorrow", "last", "this", "next", "past", "coming", "other", "ago", "back",
    *(f"{unit}{s}" for unit in ("day", "week", "weekend", "fortnight", "month", "year", "decade") for s in ("", "s")),
    "summers", "winters", "autumns", "springs",
])  # fmt: skip
_LETTER_RUN = re.compile("[a-z]+")
_FOUR_DIGITS = re.compile(r"\d{4}")

_WEEKDAY, _MONTH, _SEASON, _HOLIDAY = _any(WEEKDAYS), _any(MONTHS), _any(SEASONS), _any(HOLIDAYS)
_ABBR = rf"(?:{_any([*MONTHS, 'sept', *SHORT_MONTHS])})\b\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_MONTHDAY = (
    rf"(?:(?:the )?{_DAY}(?: of)? {_ABBR}|{_ABBR} (?:the )?{_DAY}\b(?!:|\.\d|,\d| ?%| ?[ap]\.?m\b| (?:people|times)))"
)
_OF_YEAR = rf"{_MONTHDAY}|{_MONTH}|{_SEASON}|{_HOLIDAY}"
_NAME = rf"weekend|week|month|year|{_WEEKDAY}|{_any(SHORT_DAYS)}|{_MONTH}|{_SEASON}|{_HOLIDAY}"
_NUM = rf"\d{{1,3}}|(?:a )?couple(?: of)?|(?:(?:quite )?a )?few|several|{_any(_NUMBERS)}"
_COUNT = rf"(?P<num>{_NUM})(?:(?: or | to | ?[-–] ?)(?P<more>{_NUM}))?"
_UNIT = rf"(?P<unit>(?:day|weekend|week|fortnight|month|year|decade|{_WEEKDAY}|summer|winter|autumn|spring)s?)"
_PLAIN = r"(?P<unit>(?:day|week|fortnight|month|year|decade)s?)"
_HALF = r"(?:year|month|week)s?"
_HALVES = (
    rf"(?P<num>{_NUM}) (?P<unit>{_HALF}) and a half",
    rf"(?P<num>{_NUM}) and a half (?P<unit>{_HALF})",
    rf"half an? (?P<unit>{_HALF})",
)
_PREPS = "since|until|till|by|before|after"
_PART = r"(?: (?:morning|afternoon|evening|night)\b)?"
_OWN = r"(?:['’]s\b)?"
_THAT = r"(?P<mod>last|this|next)"
_IN_YEAR = " ".join([*MONTHS, *SHORT_MONTHS, "sept", *SEASONS, "christmas", "halloween", "new", "valentine"])
_START = r"(?<![\w,.$€£-])"

RULES = (
    _rule("", r"(?<![\w/.-])\d{4}-\d\d-\d\d(?![\d-])", partial(_numeric, ("ymd",)), relative=False),
    _rule("", r"(?<![\w/.-])\d\d?\.\d\d?\.\d{4}(?!\w|\.\d)", partial(_numeric, ("dmy",)), relative=False),
    _rule("", r"(?<![\w/.-])\d\d?/\d\d?/\d{4}(?![\w/])", partial(_numeric, ("dmy", "mdy")), relative=False),
    _rule(
        _IN_YEAR,
        rf"\b(?P<name>{_MONTHDAY}|{_ABBR}|{_SEASON}|{_HOLIDAY})(?:,? of|,)? (?P<year>(?:1[89]|20)\d\d)\b(?![-:,.]\d)",
        _named,
        relative=False,
    ),
    _rule("yesterday", rf"\b(?:the )?day before yesterday{_PART}", partial(_near, -2)),
    _rule("tomorrow", rf"\b(?:the )?day after tomorrow{_PART}", partial(_near, 2)),
    _rule("yesterday night", rf"\b(?:yesterday{_PART}|last night){_OWN}(?!\w)", partial(_near, -1)),
    _rule("tomorrow", rf"\btomorrow{_PART}{_OWN}(?!\w)", partial(_near, 1)),
    _rule(
        "today tonight this",
        rf"\b(?:today|tonight|this (?:morning|afternoon|evening)){_OWN}(?!\w)",
        partial(_near, 0),
    ),
    _rule(
        "before after",
        rf"\b(?:the )?(?P<name>{_WEEKDAY}|weekend|week|month|year|{_SEASON}|{_MONTH}) (?:before last|after next)\b",
        _before_last,
    ),
    _rule("year", rf"\b(?P<name>{_OF_YEAR})(?:,? of|,)? {_THAT} year\b", partial(_within, "year")),
    _rule("year", rf"\b{_THAT} year,? (?:in|on|at) (?:the )?(?P<name>{_OF_YEAR})\b", partial(_within, "year")),
    _rule("week", rf"\b(?P<name>{_WEEKDAY})(?: of|,)? {_THAT} week{_PART}\b", partial(_within, "week")),
    _rule("week", rf"\b{_THAT} week,?(?: on)? (?P<name>{_WEEKDAY}){_PART}\b", partial(_within, "week")),
    *(_rule("half", rf"{_START}{half} (?:ago|from now)\b", _half) for half in _HALVES),
    *(_rule("half", rf"\bin {half}(?! of\b)\b", _half) for half in _HALVES),
    _rule("ago back", rf"{_START}{_COUNT} {_UNIT} (?:ago|back(?=[.,;!?)]|$| (?:i|we|when|and)\b))(?!\w)", _ago),
    _rule("from", rf"{_START}{_COUNT} {_UNIT} from (?:now|today)\b", _ahead),
    _rule("in", rf"\bin {_COUNT} {_UNIT}(?:['’]? time| from now)?\b(?! of\b| or\b| and a half\b| old\b)", _ahead),
    _rule(
        "last past next coming",
        rf"\b(?:the|these|this) (?P<mod>last|past|next|coming) (?P<num>{_NUM}) {_PLAIN}\b(?! of\b)",
        _trailing,
    ),
    _rule("past", rf"\b(?:the|this) (?P<mod>past) {_PLAIN}\b(?! of\b)", _trailing),
    _rule(
        "last next coming",
        rf"\b(?:over|during|within|in|throughout|for) the (?P<mod>last|next|coming) {_PLAIN}\b(?! of\b)",
        _trailing,
    ),
    _rule("other", r"\bthe other (?:day|night|morning|evening|afternoon|week)\b", _other),
    _rule(
        "last this next coming",
        rf"\b(?P<mod>this (?:past|last|(?:up)?coming)|the coming|last|next|this) (?P<name>{_NAME}){_PART}{_OWN}(?!\w)",
        _modified,
    ),
    _rule(_IN_YEAR, rf"\b(?:(?P<prep>since|until|till) )?(?P<name>{_MONTHDAY})(?!\w)", _yearless),
    _rule(_IN_YEAR, rf"\b(?P<prep>{_PREPS}|in|during|early|late|mid) (?P<name>{_MONTH})\b", _yearless),
    _rule(" ".join(WEEKDAYS), rf"\b(?P<prep>{_PREPS}|on) (?P<name>{_WEEKDAY})\b", _yearless),
    _rule(_IN_YEAR, rf"\b(?P<prep>{_PREPS}|on|at|over) (?P<name>{_HOLIDAY})\b", _yearless),
    _rule("since until till", rf"\b(?P<prep>since|until|till) (?:the )?(?P<name>{_SEASON})\b", _yearless),
    _rule(
        "",
        rf"\b(?P<prep>{_PREPS}|in|during|from|around|circa|early|late|mid|year) (?P<name>(?:19|20)\d\d)\b",
        _bare_year,
        relative=False,
    ),
)
