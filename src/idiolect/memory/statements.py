"""Finding what a person says about themselves, by rules: no model call, English.

A sentence counts when it is a plain statement in the first person about something lasting (taste, name, home, work,
family, health, habit), or an explicit wish to be remembered. Questions, commands and passing states do not.
"""

from __future__ import annotations

import re

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_REMEMBER = re.compile(r"^(?:please |and |also |oh |so |ok(?:ay)?,? )*(?:remember|note|keep in mind|don'?t forget)(?: that)?[:,]? (.+)$", re.I)
_LASTING = re.compile(
    r"""\b(?:
      (?:i|we)\ (?:really\ |also\ |always\ |usually\ |often\ |never\ |mostly\ |absolutely\ |still\ |only\ |don'?t\ |do\ not\ |can'?t\ |cannot\ |used\ to\ )*
        (?:like|love|enjoy|prefer|hate|dislike|adore|detest|avoid|eat|drink|cook|read|watch|play|live|work|study|speak|own|drive|collect|teach|grew\ up|moved\ to|run|cycle|travel|smoke|take|wear|use|stand)\b
      | i(?:'m|\ am)\ (?:not\ )?(?:an?\b|the\b|from\b|allergic|vegetarian|vegan|lactose|gluten|diabetic|celiac|coeliac|pregnant|married|single|divorced|engaged|retired|afraid|scared|into\b|fond|interested|named|called|learning|studying|working|based|living|\d+\ years|colou?r)
      | i\ (?:have|'ve\ got|had)\ (?:an?\b|two|three|four|five|six|no\b|\d+|asthma|diabetes|arthritis|allerg|been\b)
      | i'?ve\ (?:been|got|always|never)
      | my\ (?:\w+\ ){1,4}(?:is|are|was|were|has|have|works?|lives?|likes?|loves?|hates?)\b
      | call\ me\b
      | as\ an?\ [a-z]+
      | i\ was\ (?:born|raised)
    )""",
    re.I | re.X,
)
_PASSING = re.compile(
    r"^(?:can|could|would|will|do|does|did|is|are|what|when|where|who|why|how|should|please|tell|show|give|write|make|help|suggest|recommend|ignore|forget|pretend)\b"
    r"|\b(?:i have (?:a|an|no|another|one) (?:question|idea|problem|doubt|request|clue|feeling)|i(?:'d| would) like (?:you|to know|to ask)"
    r"|ignore (?:all|any|the|previous|prior)|system prompt|previous instructions)\b",
    re.I,
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


def key(statement: str) -> str:
    """Return what two wordings of the same statement share: lower case, no punctuation."""
    return " ".join(re.findall(r"[^\W_]+", statement.lower()))
