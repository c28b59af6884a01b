"""Finding what a person says about themselves, by rules: no model call, English.

A sentence counts when it is a plain statement in the first person about something lasting (taste, name, home, work,
family, health, habit), or an explicit wish to be remembered. Questions, commands and passing states do not.
"""

from __future__ import annotations

import re

from idiolect.memory.candidate import Candidate
from idiolect.memory.sameness import key
from idiolect.types import Turn, text_of

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_REMEMBER = re.compile(
    r"^(?:please |and |also |oh |so |ok(?:ay)?,? )*"
    r"(?:remember|note|keep in mind|don'?t forget)(?: that)?[:,]? (.+)$",
    re.IGNORECASE,
)


def _words(text: str) -> str:
    return "|".join(text.split()).replace("_", r"\ ")


_ADVERBS = _words(
    "really also always usually often never mostly absolutely still only don'?t do_not can'?t cannot used_to"
)
_VERBS = _words(
    "like love enjoy prefer hate dislike adore detest avoid eat drink cook read watch play live work study speak own"
    " drive collect teach grew_up moved_to run cycle travel smoke take wear use stand"
)
_STATES = _words(
    "an? the from allergic vegetarian vegan lactose gluten diabetic coeliac celiac pregnant married single divorced"
    r" engaged retired afraid scared into fond interested named called learning studying working based living \d+_years"
)
_HAVING = _words(r"an? two three four five six no \d+ asthma diabetes arthritis allergies been")
_LASTING = re.compile(
    rf"""\b(?:
      (?:i|we)\ (?:(?:{_ADVERBS})\ )*(?:{_VERBS})\b
      | i(?:'m|\ am)\ (?:not\ )?(?:{_STATES})\b
      | i\ (?:have|'ve\ got|had)\ (?:{_HAVING})\b
      | i'?ve\ (?:been|got|always|never)\b
      | my\ (?:\w+\ ){{1,4}}(?:is|are|was|were|has|have|works?|lives?|likes?|loves?|hates?)\b
      | call\ me\b
      | i\ was\ (?:born|raised)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_ASKING = _words(
    "can could would will do does did is are what when where who why how should please tell show give write make help"
    " suggest recommend ignore forget pretend"
)
_PASSING = re.compile(
    rf"^(?:{_ASKING})\b"
    r"|\bi have (?:a|an|no|another|one) (?:question|idea|problem|doubt|request|clue|feeling)\b"
    r"|\bi(?:'d| would) like (?:you|to know|to ask)\b"
    r"|\bignore (?:all|any|the|previous|prior)\b|\bsystem prompt\b|\bprevious instructions\b",
    re.IGNORECASE,
)
MAX_CHARS = 300


def statements(text: str) -> list[str]:
    """Return the sentences of a user's message that say something lasting about them, in order, each once."""
    found: dict[str, str] = {}
    for raw in _SENTENCE.split(text):
        sentence = " ".join(raw.split()).strip(" -*>\t")
        told = _REMEMBER.match(sentence)
        body = told[1] if told else sentence
        if not body or len(body) > MAX_CHARS or body.endswith("?") or _PASSING.search(body):
            continue
        if told or _LASTING.search(body):
            found.setdefault(key(body), body[0].upper() + body[1:])
    return list(found.values())


def candidates(turn: Turn) -> list[Candidate]:
    """Return what the user's latest message says about them."""
    said = next((text_of(m) for m in reversed(turn.messages) if m.get("role") == "user"), "")
    return [Candidate(text) for text in statements(said)]
