"""What a statement is about: its topic, what a person has one of at a time (the slot) and what is said of it.

The rules stand in ``rules_*``, those for safety first; the first that applies to a clause decides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from idiolect.memory import clauses, lexicon
from idiolect.memory.rule import Rule
from idiolect.memory.rules_events import EVENTS
from idiolect.memory.rules_life import LIFE
from idiolect.memory.rules_likes import LIKES
from idiolect.memory.rules_open import OPEN
from idiolect.memory.rules_safety import SAFETY
from idiolect.memory.rules_work import WORK

RULES: Sequence[Rule] = (*SAFETY, *LIFE, *WORK, *EVENTS, *LIKES, *OPEN)

_FIRST = re.compile(r"\b(?:i|i'm|i've|i'd|i'll|me|my|mine|we|we're|we've|our|us)\b", re.IGNORECASE)
_SECOND_OR_THIRD = re.compile(
    r"\b(?:you|your|he|she|they|his|their|her(?! name)|people|one|someone|somebody|everyone|it's|it)\b", re.IGNORECASE
)
_OTHERS = re.compile(
    rf"\b(?:(?:my|our|a|an|the|his|her|their|some|this|that|another|one|your|me) (?:[\w'-]+ ){{0,2}}?|^)"
    rf"(?P<who>{lexicon.OTHERS})s?\b(?!'s? (?:advice|orders))",
    re.IGNORECASE,
)
_KIN_FIRST = re.compile(
    r"^(?:mum|mom|mother|dad|father|wife|husband|hubby|grandma|grandad|granny|nan|missus)(?:'s)?\b", re.IGNORECASE
)
_KIN_SUBJECT = re.compile(rf"\b(?:my|our|me) (?:[\w-]+ ){{0,3}}?(?:{lexicon.KIN})\b", re.IGNORECASE)
_NOT_THIS = re.compile(
    r"\b(?P<be>is |are |am |was |i'm )not [\w:]+,? (?:but|it's|it is|they're|i'm) |(?<=[\w]), "
    r"(?:and )?not (?:the |on the |at |in |a |an )?[\w:]+$",
    re.IGNORECASE,
)
"""What is put right: of "not this but that" and "that, not this" only that counts."""
_A_PERSON = re.compile(
    r"^(?:an?|one|this|that|some|the|another) (?:[\w'-]+ )?(?:mum|mom|mother|dad|father|man|woman"
    r"|girl|boy|lad|child|kid|baby|person"
    r"|couple|family|user|member|parent|owner|lady|gentleman|author|speaker)\b",
    re.IGNORECASE,
)
_DRINK = frozenset("alcohol drinking booze drink gargle bottle sauce".split())
_NEWS = re.compile(
    r"\b(?:now|these days|nowadays|from (?:now|today|tomorrow|this|next|monday|tuesday|wednesday"
    r"|thursday|friday|saturday"
    r"|sunday|january|february|march|april|may|june|july|august|september|october|november|december)|again|instead"
    r"|changed?|switch\w*|moved|no longer|any ?more|new|newly|lately|finally|just (?:got|started"
    r"|moved|bought|became|turned)"
    r"|since (?:this|last)|this (?:year|month|week)|started|quit|gave up|stopped|turned|became|replaced|no more)\b",
    re.IGNORECASE,
)
_CORRECTS = re.compile(
    r"^(?:correction|scratch that)\b|\bi (?:meant|misspoke|mistyped|erred|made a mistake|got "
        r"(?:that|it) wrong|was wrong"
    r"|should have said|said .* but)\b|\bactually (?:it's|it is|it was|i'm|my|i meant|i live|i "
        r"work|the|we)\b|, not (?:the |on the |in |at |a )?[\w:]+$"
    r"|\bnot [\w:]+,? (?:but|it's|it is)\b|^(?:it's|it is|i'm) [\w:]+,? not \w+|^sorry,",
    re.IGNORECASE,
)  # fmt: skip
_PLAIN_VALUE = re.compile(
    r"^(?:a|an|the|my|our|in|at|on|to|from|now|with|and|some|any|as|for|me|old|new|there|here) ", re.I
)
_VALUE_END = re.compile(
    r"\b(?:so|and (?:i|we|it|need|have|my)|but|because|since|for (?:a while|now|\d+|many|the last"
        r"|years)|these days|now|again"
    r"|any ?more|with|who|which|if|when|where|btw|right now|at the moment)\b.*$",
    re.I,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a clause says of a person; ``rule`` is the one that found it."""

    topic: str
    slot: str
    value: str
    ends: bool
    news: bool
    rule: Rule


def read(text: str, *, asked: bool = False) -> Attributes | None:
    """Return what a clause says of the person, ``None`` where it says nothing lasting of them.

    ``asked`` limits it to what a question presupposes ("is my husband Andrés ...").
    """
    form = _NOT_THIS.sub(lambda m: m["be"] or "", clauses.plain(text).rstrip(" .!"))
    for rule in RULES:
        if asked and not rule.asked:
            continue
        match = rule.match(form)
        if match and _about_the_person(form, rule, match):
            return Attributes(rule.topic, *_slot(rule, match), rule.ends, rule.news or is_news(form), rule)
    return None


def is_news(text: str) -> bool:
    """Whether a statement is told as a change."""
    return bool(_NEWS.search(text))


def corrects(text: str) -> bool:
    """Whether a statement puts right what was said before."""
    return bool(_CORRECTS.search(clauses.plain(text).rstrip(" .!")))


def others_fact(plain: str) -> bool:
    """Whether a clause in normal form speaks of somebody who is not the person and no near relation."""
    if _A_PERSON.search(plain):
        return True
    for other in _OTHERS.finditer(plain):
        before, after = plain[: other.start()], plain[other.end() :]
        if (
            not _FIRST.search(before)
            and not re.match(r"[^.]{0,20}\b(?:me|us)\b", after)
            and not _KIN_SUBJECT.search(before)
        ):
            return other["who"].lower() != "ex"
    return False


def _about_the_person(plain: str, rule: Rule, match: re.Match[str]) -> bool:
    if others_fact(plain[: max(match.end(), 1)]):
        return False
    if not rule.own:
        return True
    if _FIRST.search(plain) or _KIN_FIRST.search(plain):
        return True
    return not _SECOND_OR_THIRD.search(plain[: match.end()])


def _slot(rule: Rule, match: re.Match[str]) -> tuple[str, str]:
    groups = {name: tidy(value or "") for name, value in match.groupdict().items()}
    for name in "abcdefghijklmnopqrstuvwxyz":
        groups.setdefault(name, "")
    if rule.topic == "addiction" and groups["x"].split()[-1:] and groups["x"].split()[-1] in _DRINK:
        groups["x"] = "drink"
    slot, value = rule.slot.format(**groups).strip(), rule.value.format(**groups).strip()
    return ("" if slot.endswith(":") else slot), value


def tidy(value: str) -> str:
    """Return the core of a value: lower case, without articles in front and asides behind."""
    value = _VALUE_END.sub("", value.lower()).strip(" ,.;:!?'\"")
    while (shorter := _PLAIN_VALUE.sub("", value)) != value:
        value = shorter
    return " ".join(value.split()[:6])
