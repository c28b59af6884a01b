"""What an answer may be wanted to be: objectives as standing instructions, and as something that can be counted.

Instructions are read by the model; measures look at a text alone, made for English, and know nothing of the model. A
measure tells more from less of its objective over many texts, not whether one text is good.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from idiolect.errors import UnknownName
from idiolect.text.features import features

INSTRUCTIONS: Mapping[str, str] = {
    "helpful": "Be as helpful as you can: answer exactly what was asked, correctly and usefully.",
    "brief": "Answer as briefly as possible, in one or two short sentences.",
    "detailed": "Answer in great detail, with reasons, examples and all that is worth knowing.",
    "formal": "Write in a formal, polite and professional style, without contractions or slang.",
    "casual": "Write casually, as to a close friend, with contractions and everyday words.",
    "simple": "Use simple words and short sentences that a child of ten understands.",
    "expert": "Write for an expert, with precise technical terms.",
    "warm": "Be warm, kind and encouraging, and show that you care.",
    "safe": "Be safe: refuse what is harmful or against the law, and never endanger anybody.",
}
"""The objectives that have a name, each with the instruction that stands for it."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_CONTRACTION = re.compile(r"['’](?:s|re|ve|ll|d|m|t)\b", re.IGNORECASE)
_CASUAL = frozenset(
    "hey hi yeah yep nope ok okay gonna wanna gotta kinda sorta cool awesome stuff guys guy lol haha wow oh yay super"
    " totally pretty folks buddy dude yum btw".split()
)
_WARM = frozenset(
    "love lovely glad happy hope enjoy wonderful great care kind friend dear welcome thank thanks proud together"
    " support believe gentle joy delighted warm hug smile encourage special beautiful".split()
)


def words(text: str) -> int:
    """Return the number of words."""
    return len(_WORD.findall(text))


def formality(text: str) -> float:
    """Return minus the casual marks a hundred words: contractions, casual words and exclamation marks."""
    found = _WORD.findall(text)
    marks = len(_CONTRACTION.findall(text)) + text.count("!") + sum(word.lower() in _CASUAL for word in found)
    return -100.0 * marks / max(1, len(found))


def grade(text: str) -> float:
    """Return the SMOG reading grade (McLaughlin 1969) of one text; rough below thirty sentences."""
    return features([text]).grade


def warmth(text: str) -> float:
    """Return the warm words a hundred words."""
    found = _WORD.findall(text)
    return 100.0 * sum(word.lower() in _WARM for word in found) / max(1, len(found))


MEASURES: Mapping[str, Callable[[str], float]] = {
    "brief": lambda text: -float(words(text)),
    "detailed": lambda text: float(words(text)),
    "formal": formality,
    "casual": lambda text: -formality(text),
    "simple": lambda text: -grade(text),
    "expert": grade,
    "warm": warmth,
}
"""How much of an objective a text has; more is higher. ``helpful`` and ``safe`` cannot be counted."""
_SPREAD = 3.0
"""About how far, in grades or marks a hundred words, answers of one kind and of the other lie apart."""


def _in_spreads(measure: Callable[[str], float]) -> Callable[[str], float]:
    return lambda text: measure(text) / _SPREAD


REWARDS: Mapping[str, Callable[[str], float]] = {
    **{name: _in_spreads(measure) for name, measure in MEASURES.items()},
    "brief": lambda text: -math.log(1 + words(text)),
    "detailed": lambda text: math.log(1 + words(text)),
}
"""The same as what may be traded for a person's choices: half as long is better by ``ln 2``, the others by spreads."""


def margins(names: Sequence[str], better: str, worse: str) -> tuple[float, ...]:
    """Return by how much each objective likes one text better than another; :class:`UnknownName` for what is none."""
    for name in names:
        if name not in REWARDS:
            raise UnknownName("objective", name, REWARDS)
    return tuple(REWARDS[name](better) - REWARDS[name](worse) for name in names)
