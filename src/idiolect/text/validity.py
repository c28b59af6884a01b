"""From when and until when a statement holds, by what it says itself."""

from __future__ import annotations

import re
from math import inf

from idiolect.text import tense
from idiolect.text.dates import seconds
from idiolect.text.moments import Moment, resolve, today_of
from idiolect.text.phrases import lasting

_SINCE = re.compile(r"\b(?:since|as of|starting|beginning|effective)(?: from| on| in)?(?: the)? $", re.I)
_FROM = re.compile(r"\bfrom(?: the)? $", re.I)
_UNTIL = re.compile(r"\b(?:until|till|through|up to)(?: the)?(?: end of)?(?: the)? $|\bfor $", re.I)
_NOT_FROM = re.compile(r"\b(?:until|till|through|up to|by|before|for)(?: the)?(?: end of)?(?: the)? $", re.I)
_NOT = re.compile(r"\b(?:not|never|cannot|\w+n['’]t)\b", re.I)
_CHANGE = re.compile(
    r"\b(?:mov(?:e|es|ing)|start(?:s|ing)?|begin(?:s|ning)?|leav(?:e|es|ing)|quit(?:s|ting)?|chang(?:e|es|ing)|"
    r"switch(?:es|ing)?|becom(?:e|es|ing)|join(?:s|ing)?|retir(?:e|es|ing)|stop(?:s|ping)?|get(?:s|ting)? married|"
    r"(?:will|['’]ll|going to) (?:be|have|live|work|study))\b",
    re.I,
)


def holds_from(text: str, moment: float) -> float:
    """Return since when a statement made at ``moment`` holds, both in seconds since the epoch.

    That is ``moment`` itself unless the statement says otherwise. "Since March I work nights" holds from the start of
    March, "I moved last month" from the start of that month, "I have lived here for two years" for so long. "I am
    moving next week" is true of next week on; "I have an exam next week" is true already. Of two readings the earlier
    one counts.
    """
    found = resolve(text, moment)
    for one in found:
        if _SINCE.search(text, 0, one.span[0]):
            return one.start
    today = today_of(moment)
    if today and (days := lasting(text, today)):
        return seconds(days)[0]
    for one in found:
        if not _NOT_FROM.search(text, 0, one.span[0]) and _begins(text, one, moment):
            return one.start
    return moment


def _begins(text: str, one: Moment, moment: float) -> bool:
    """Whether what a text says begins with a time that it names."""
    if one.start <= moment and tense.leaning(text, *one.span) < 0:
        return True
    if _FROM.search(text, 0, one.span[0]):
        return one.grain == "day" or one.start > moment  # "films from 1987" are another matter
    return _CHANGE.search(tense.clause(text, *one.span)) is not None


def until(text: str, moment: float) -> float:
    """Return until when a statement made at ``moment`` holds, infinite unless it says so.

    "I'm in Rome until Friday" holds until Friday is over, "I'm away for the next two weeks" until these are. "Not until
    Friday" sets no end. Of two readings the later one counts.
    """
    ends = [
        one.end
        for one in resolve(text, moment)
        if (_UNTIL.search(text, 0, one.span[0]) or one.text.lower().startswith(("for the next", "for the coming")))
        and not _NOT.search(tense.clause(text, *one.span))
    ]
    return max(ends, default=inf)
