"""The expressions of time of English: where a text has them, and what they mean on a given day."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from functools import partial

from idiolect.text import readings
from idiolect.text.dates import HOLIDAYS, MONTHS, SEASONS, SHORT_DAYS, SHORT_MONTHS, WEEKDAYS, Days, Period
from idiolect.text.readings import NUMBERS, Scene


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
    words = {*_LETTER_RUN.findall(scene.text.lower())}
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


def lasting(text: str, today: date) -> Days | None:
    """Return when began what has gone on "for two years" by today; ``None`` where a text does not say so."""
    match = _LASTING.search(text.translate(_LETTERS))
    if match is None:
        return None
    low, high = readings.amount(match["num"])
    try:
        return readings.stretch(match["unit"], today, -high, -low)[0][0]
    except ValueError:  # before the calendar begins
        return None


# -- the expressions


def _any(names: Iterable[str]) -> str:
    return "|".join(sorted(names, key=len, reverse=True)).replace("'", "['’]")


def _rule(
    needs: str, pattern: str, read: Callable[[re.Match[str], Scene], list[Period]], relative: bool = True
) -> Rule:
    return Rule(re.compile(pattern, re.I), read, frozenset(needs.split()), relative)


_LETTERS = {0x130: "I", 0x131: "i", 0x17F: "s", 0x212A: "K"}  # what else matches these where case is ignored
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
_NUM = rf"\d{{1,3}}|(?:a )?couple(?: of)?|(?:(?:quite )?a )?few|several|{_any(NUMBERS)}"
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
_LASTING = re.compile(
    r"\b(?:have|has|haven't|hasn't|\w+['’]ve|(?:he|she|it|who)['’]s) (?:[^.!?;]*? )?"
    rf"for (?P<num>{_NUM}) {_PLAIN}\b(?! of\b)",
    re.I,
)
_THAT = r"(?P<mod>last|this|next)"
_IN_YEAR = " ".join([*MONTHS, *SHORT_MONTHS, "sept", *SEASONS, "christmas", "halloween", "new", "valentine"])
_START = r"(?<![\w,.$€£-])"

RULES = (
    _rule("", r"(?<![\w/.-])\d{4}-\d\d-\d\d(?![\d-])", partial(readings.numeric, ("ymd",)), relative=False),
    _rule("", r"(?<![\w/.-])\d\d?\.\d\d?\.\d{4}(?!\w|\.\d)", partial(readings.numeric, ("dmy",)), relative=False),
    _rule("", r"(?<![\w/.-])\d\d?/\d\d?/\d{4}(?![\w/])", partial(readings.numeric, ("dmy", "mdy")), relative=False),
    _rule(
        _IN_YEAR,
        rf"\b(?P<name>{_MONTHDAY}|{_ABBR}|{_SEASON}|{_HOLIDAY})(?:,? of|,)? (?P<year>(?:1[89]|20)\d\d)\b(?![-:,.]\d)",
        readings.named,
        relative=False,
    ),
    _rule("yesterday", rf"\b(?:the )?day before yesterday{_PART}", partial(readings.near, -2)),
    _rule("tomorrow", rf"\b(?:the )?day after tomorrow{_PART}", partial(readings.near, 2)),
    _rule("yesterday night", rf"\b(?:yesterday{_PART}|last night){_OWN}(?!\w)", partial(readings.near, -1)),
    _rule("tomorrow", rf"\btomorrow{_PART}{_OWN}(?!\w)", partial(readings.near, 1)),
    _rule(
        "today tonight this",
        rf"\b(?:today|tonight|this (?:morning|afternoon|evening)){_OWN}(?!\w)",
        partial(readings.near, 0),
    ),
    _rule(
        "before after",
        rf"\b(?:the )?(?P<name>{_WEEKDAY}|weekend|week|month|year|{_SEASON}|{_MONTH}) (?:before last|after next)\b",
        readings.before_last,
    ),
    _rule("year", rf"\b(?P<name>{_OF_YEAR})(?:,? of|,)? {_THAT} year\b", partial(readings.within, "year")),
    _rule("year", rf"\b{_THAT} year,? (?:in|on|at) (?:the )?(?P<name>{_OF_YEAR})\b", partial(readings.within, "year")),
    _rule("week", rf"\b(?P<name>{_WEEKDAY})(?: of|,)? {_THAT} week{_PART}\b", partial(readings.within, "week")),
    _rule("week", rf"\b{_THAT} week,?(?: on)? (?P<name>{_WEEKDAY}){_PART}\b", partial(readings.within, "week")),
    *(_rule("half", rf"{_START}{half} (?:ago|from now)\b", readings.half) for half in _HALVES),
    *(_rule("half", rf"\bin {half}(?! of\b)\b", readings.half) for half in _HALVES),
    _rule("ago back", rf"{_START}{_COUNT} {_UNIT} (?:ago|back(?=[.,;!?)]|$| (?:i|we|when|and)\b))(?!\w)", readings.ago),
    _rule("from", rf"{_START}{_COUNT} {_UNIT} from (?:now|today)\b", readings.ahead),
    _rule(
        "in", rf"\bin {_COUNT} {_UNIT}(?:['’]? time| from now)?\b(?! of\b| or\b| and a half\b| old\b)", readings.ahead
    ),
    _rule(
        "last past next coming",
        rf"\b(?:the|these|this) (?P<mod>last|past|next|coming) (?P<num>{_NUM}) {_PLAIN}\b(?! of\b)",
        readings.trailing,
    ),
    _rule("past", rf"\b(?:the|this) (?P<mod>past) {_PLAIN}\b(?! of\b)", readings.trailing),
    _rule(
        "last next coming",
        rf"\b(?:over|during|within|in|throughout|for) the (?P<mod>last|next|coming) {_PLAIN}\b(?! of\b)",
        readings.trailing,
    ),
    _rule("other", r"\bthe other (?:day|night|morning|evening|afternoon|week)\b", readings.other),
    _rule(
        "last this next coming",
        rf"\b(?P<mod>this (?:past|last|(?:up)?coming)|the coming|last|next|this) (?P<name>{_NAME}){_PART}{_OWN}(?!\w)",
        readings.modified,
    ),
    _rule(_IN_YEAR, rf"\b(?:(?P<prep>since|until|till) )?(?P<name>{_MONTHDAY})(?!\w)", readings.yearless),
    _rule(_IN_YEAR, rf"\b(?P<prep>{_PREPS}|in|during|early|late|mid) (?P<name>{_MONTH})\b", readings.yearless),
    _rule(
        " ".join(WEEKDAYS),
        rf"\b(?P<prep>{_PREPS}|on|from|starting|beginning) (?P<name>{_WEEKDAY})\b",
        readings.yearless,
    ),
    _rule(_IN_YEAR, rf"\b(?P<prep>{_PREPS}|on|at|over) (?P<name>{_HOLIDAY})\b", readings.yearless),
    _rule("since until till", rf"\b(?P<prep>since|until|till) (?:the )?(?P<name>{_SEASON})\b", readings.yearless),
    _rule(
        "",
        rf"\b(?P<prep>{_PREPS}|in|during|from|around|circa|early|late|mid|year) (?P<name>(?:19|20)\d\d)\b",
        readings.bare_year,
        relative=False,
    ),
)
