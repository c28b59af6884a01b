"""Which way a sentence looks: back at what was, or forward to what will be."""

from __future__ import annotations

import re

_CLAUSE = re.compile(r"[.!?;:\n,]|\b(?:and|but|so|then|while|because|though|although)\b", re.I)
_SENTENCE = re.compile(r"[.!?\n]")
_PAST = re.compile(
    r"\b(?:was|were|wasn't|weren't|did|didn't|had|hadn't|been|went|saw|got|met|came|took|made|said|told|began|bought|"
    r"left|gave|found|felt|knew|thought|heard|kept|lost|won|ran|read|wrote|spoke|sent|spent|slept|ate|drank|drove|"
    r"flew|fell|broke|built|caught|chose|grew|held|led|paid|rode|sold|sang|stood|swam|taught|wore|became|happened|"
    r"haven't|hasn't|(?:(?:have|has)|\w+['’]ve)(?= (?!(?:got|to|a|an|my|our|the|another|some)\b)\w))\b",
    re.I,
)
_ED = re.compile(
    r"(\S+) (?:\w+ly )?(?!need|feed|seed|speed|breed|exceed|proceed|succeed|hundred|indeed)\w\w+ed\b", re.I
)
_ED_FIRST = re.compile(r"(?:^|[^\w\s])\s*(?!need|feed|speed|proceed|indeed)\w\w+ed\b", re.I)
_STATE = re.compile(r"(?:\b(?:am|is|are|be|being|get|gets|getting|the|a|an|my|our|his|her|their|very|so|too|really)|"
                    r"['’](?:m|re|s))$", re.I)  # fmt: skip
_FUTURE = re.compile(
    r"\b(?:will|won't|going to|gonna|shall|tomorrow|about to|look(?:ing)? forward|can't wait|upcoming|deadline|"
    r"(?:plan|plans|hope|hopes|want|wants|need|needs|expect|intend|have|has|aim)(?:s|ning|ing)? to|"
    r"(?:am|is|are|['’](?:m|re|s)) (?:(?:not|also|still|finally|probably|\w+ly) )?(?:\w+ing|due|scheduled|booked|"
    r"planned|expected|supposed)|(?:have|has|['’]ve got) (?:a|an|my|our|the|another|some)|"
    r"(?:start|leave|begin|arrive|return|open|close|finish|move|fly|graduate|turn)s?)\b|['’]ll\b",
    re.I,
)
_AGAIN = re.compile(r"\b(?:every|each|always|usually|often|normally|generally|annual(?:ly)?|yearly|birthdays?|never|"
                    r"anniversary)\b", re.I)  # fmt: skip


def clause(text: str, start: int, end: int) -> str:
    """Return the clause around a place in a text."""
    return _between(_CLAUSE, text, start, end)


def sentence(text: str, start: int, end: int) -> str:
    """Return the sentence around a place in a text."""
    return _between(_SENTENCE, text, start, end)


def leaning(text: str, start: int, end: int) -> int:
    """Return -1 where what surrounds a place looks back, 1 where it looks forward, 0 where neither is clear."""
    return _lean(clause(text, start, end)) or _lean(sentence(text, start, end))


def looks_back(text: str) -> bool:
    """Whether a text speaks of what was."""
    return bool(_PAST.search(text) or _ED_FIRST.search(text)) or any(
        not _STATE.search(match[1]) for match in _ED.finditer(text)
    )


def recurs(text: str, start: int, end: int) -> bool:
    """Whether the sentence around a place speaks of what comes again and again."""
    return bool(_AGAIN.search(sentence(text, start, end)))


def _lean(text: str) -> int:
    return bool(_FUTURE.search(text)) - looks_back(text)


def _between(edge: re.Pattern[str], text: str, start: int, end: int) -> str:
    first = 0
    for match in edge.finditer(text, 0, start):
        first = match.end()
    after = edge.search(text, end)
    return text[first : after.start() if after else len(text)]
