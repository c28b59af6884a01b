"""What is worth keeping: about the user, lasting, theirs, not a secret, not an order to the assistant.

Each reason for which something is left out is counted, so that an operator sees what the gate does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from idiolect.memory import sameness
from idiolect.memory.candidate import Candidate, Proposal
from idiolect.text.mentions import mentions
from idiolect.types import Turn, Wishes, text_of

HIDDEN = "[left out]"
_SECRETS = (
    re.compile(
        r"\b(?:pass(?:word|phrase|code)|pin(?: code)?|secret|api[ _-]?key|token|cvv|cvc)\b"
        r"[^\n.]{0,30}?(?:\bis\b|:|=)[\s:=]*[^\s:=]\S*",
        re.IGNORECASE,
    ),
    re.compile(
        r"\b(?:password|passcode|passphrase|token|secret|login|api[ _-]?key)\b[^\n]{0,40}?\s"
        r"(?=\S{0,40}\d)(?=\S{0,40}[A-Za-z])(?=\S{0,40}(?:[^a-zA-Z0-9\s.,:;?]|[?.,:;]\w))\S{8,}",
        re.IGNORECASE,
    ),
    re.compile(  # of a door, a safe, an alarm
        r"(?<!zip )(?<!post )(?<!postal )(?<!area )(?<!error )(?<!status )(?<!country )(?<!exit )"
        r"\b(?:code|combination|combo)\b(?: (?:for|of|to|at|on) [^\n.:=]{1,40}?)?"
        r"(?: is\b| was\b|:| ?=)\s*[#*]?\d{3,}[#*]?",
        re.IGNORECASE,
    ),
    re.compile(r"\b(?:sk|pk|rk|ghp|gho|xox[abp]|AKIA|AIza)[-_A-Za-z0-9]{12,}"),
    re.compile(r"\b(?:\d[ -]?){13,19}\b"),  # card numbers
    re.compile(r"\b\d{3}-\d{2}-\d{4}\b"),  # social security
    re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}\b"),  # bank accounts
    re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|$)", re.DOTALL),
)  # fmt: skip
_ORDER = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:instruction|rule|prompt|previous|above|prior)"
    r"|\byou (?:must|shall|will|should|are to|have to) (?:always|never|now|only|from)\b"
    r"|\b(?:system|developer) (?:prompt|message)\b|\byou are now\b|\bact as\b",
    re.IGNORECASE,
)
LONGEST = 400


def without_secrets(text: str) -> tuple[str, int]:
    """Return a text with what looks like a password, key, card or account number taken out, and how many there were."""
    count = 0
    for pattern in _SECRETS:
        text, n = pattern.subn(HIDDEN, text)
        count += n
    return text, count


def unwanted(text: str, wishes: Wishes) -> bool:
    """Whether a text speaks of what the person wants never to be kept."""
    return bool(wishes.never) and mentions(text, wishes.never)


def pass_on(proposal: Proposal, turn: Turn, wishes: Wishes) -> Proposal:
    """Return what may be kept; why the rest may not is counted."""
    others = [text_of(m) for m in turn.messages if m.get("role") != "user"]
    own = [text_of(m) for m in turn.messages if m.get("role") == "user"]
    kept, dropped = list[Candidate](), Counter(proposal.dropped)
    for candidate in proposal.candidates:
        reason = _reason(candidate, own, [*others, turn.answer], wishes)
        if reason:
            dropped[reason] += 1
        else:
            kept.append(candidate)
    return replace(proposal, candidates=tuple(kept), dropped=dropped)


def _reason(candidate: Candidate, own: Sequence[str], others: Sequence[str], wishes: Wishes) -> str:
    text = candidate.text
    if without_secrets(text)[1] or HIDDEN in text:
        return "secret"
    if _ORDER.search(text):
        return "order"
    if unwanted(text, wishes):
        return "never"
    if not text.strip() or len(text) > LONGEST:
        return "length"
    wanted = sameness.key(text)
    if any(wanted in sameness.key(one) for one in others) and not any(wanted in sameness.key(one) for one in own):
        return "assistant"
    return ""
