"""The shape of a task: what stays of a question's wording when the case at hand is taken out (MemPrompt's key).

"What is akin to < flair >?" and "what is akin to 'vital'" have one shape. The distance of two shapes counts words and
is divided by their number: a fixed number of letters, as in the published code, makes any two short keys one.
"""

from __future__ import annotations

import re

from idiolect.text.terms import STOP_WORDS, terms

Shape = tuple[str, ...]

SLOT = "_"
"""Stands in a shape for whatever changes from case to case."""
_MOST_WORDS = 40
_SHORT_PARAGRAPH = 400
_TYPO = 6
"""A word of so many letters may have one wrong; in a shorter one a letter makes another word."""

_KEPT = frozenset("what which who whom whose when where why how not no before after into over".split())
_POLITE = frozenset("please hey hi hello ok okay thanks kindly just".split())
_DENIALS = frozenset("no not never without except".split())
_DROPPED = (STOP_WORDS | _POLITE) - _KEPT

_CASES = re.compile(
    r"""```.*?(?:```|$) | `[^`\n]+`
      | <[^<>\n]{1,300}>
      | "[^"\n]{1,300}" | \u201c[^\u201d\n]{1,300}\u201d | \u00ab[^\u00bb\n]{1,300}\u00bb
      | (?<!\w)['\u2018][^'\u2018\u2019\n]{1,200}['\u2019](?!\w)
      | \{[^{}\n]{1,300}\}
      | \bhttps?://\S+ | \S+@\S+ | (?<![\w/])[\w.~-]*/[\w./~-]{3,}
      | [$\u20ac\u00a3]?\b\d[\w.,:%/-]*""",
    re.VERBOSE | re.DOTALL,
)
_GIVEN = re.compile(r"(?<=\w):\s+(?=\S)")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_DENIED = re.compile(r"n['\u2019]t\b")
_CLITIC = re.compile(r"(?<=\w)['\u2019](?:s|re|ve|ll|d|m)\b", re.IGNORECASE)
_WORD = re.compile(rf"{SLOT}|[^\W_]+")


def frame(text: str, focus: str = "") -> str:
    """Return a question's instruction with what changes from case to case written as :data:`SLOT`.

    Taken out are ``focus`` (the part a caller knows to be the case at hand), quoted, bracketed and numeric parts,
    names, what follows the colon of an instruction, and long paragraphs beside a short one.
    """
    text, focus = _plain(text), _plain(focus)
    if focus and focus != text:
        text = text.replace(focus, f" {SLOT} ")
    text = _instruction(_CASES.sub(f" {SLOT} ", text))
    return " ".join(_without_names(sentence) for sentence in _SENTENCE.split(text))


def shape(framed: str) -> Shape:
    """Return the words of a :func:`frame` that the frames of its like share, in lower case.

    Function words, politeness and punctuation are dropped; words that make a question or deny it stay.
    """
    out: list[str] = []
    for word in _WORD.findall(framed.lower()):
        if word not in _DROPPED and not (word == SLOT and out[-1:] == [SLOT]):
            out.append(word)
    return tuple(out[:_MOST_WORDS])


def _plain(text: str) -> str:
    """Write short forms out as far as they deny something; no slot stands in a text of the person's own."""
    return _CLITIC.sub("", _DENIED.sub(" not", text.replace(SLOT, " "))).strip()


def _instruction(text: str) -> str:
    """Return the part of a text that says what to do: a short paragraph beside long ones, what precedes a colon."""
    paragraphs = [p for p in (" ".join(part.split()) for part in re.split(r"\n\s*\n|\n", text)) if p]
    if len(paragraphs) > 1:
        told = next((p for p in (paragraphs[0], paragraphs[-1]) if len(p) <= _SHORT_PARAGRAPH), paragraphs[0])
        text = f"{told} {SLOT}"
    else:
        text = paragraphs[0] if paragraphs else ""
    parts = _GIVEN.split(text, maxsplit=1)
    if len(parts) == 2 and len(_WORD.findall(parts[0])) >= 2:
        return f"{parts[0]} {SLOT}"
    return text


def _without_names(sentence: str) -> str:
    """Return a sentence with the names in it as slots; where most words are in capitals they are not names."""
    inner = _WORD.findall(sentence)[1:]
    capitals = {word for word in inner if word[0].isupper() and word != "I"}
    if sum(word in capitals for word in inner) > sum(word[0].islower() for word in inner):
        return sentence
    first = _WORD.search(sentence)
    at = first.end() if first else 0
    return sentence[:at] + _WORD.sub(lambda word: SLOT if word[0] in capitals else word[0], sentence[at:])


def key(one: Shape) -> str:
    """Return a shape as text without its slots: what a search reads."""
    return " ".join(word for word in one if word != SLOT)


def distance(one: Shape, other: Shape) -> float:
    """Return the edit distance over words, divided by the longer shape's number of words: 0 (same) to 1.

    Words of one stem are one word, a slip of one letter in a long word is half an edit. A shape of slots and question
    words alone is like no other, itself neither; nor is one that denies something like one that does not.
    """
    if not terms(key(one)) or not terms(key(other)) or _DENIALS & {*one} != _DENIALS & {*other}:
        return 1.0
    row = [float(n) for n in range(len(other) + 1)]
    for i, mine in enumerate(one, 1):
        corner, row[0] = row[0], float(i)
        for j, theirs in enumerate(other, 1):
            best = min(row[j] + 1, row[j - 1] + 1, corner + _apart(mine, theirs))
            corner, row[j] = row[j], best
    return row[-1] / max(len(one), len(other))


def _apart(one: str, other: str) -> float:
    """Return 0 for the same word, one half for a likely slip of the finger, else 1."""
    if one == other:
        return 0.0
    if SLOT in (one, other):
        return 1.0
    stems = terms(one)
    if stems and stems == terms(other):
        return 0.0
    return 0.5 if min(len(one), len(other)) >= _TYPO and one[0] == other[0] and _one_slip(one, other) else 1.0


def _one_slip(one: str, other: str) -> bool:
    """Whether one letter was added, left out or changed, or two neighbours were swapped."""
    if len(one) > len(other):
        one, other = other, one
    at = next((n for n, letter in enumerate(one) if letter != other[n]), len(one))
    if len(one) < len(other):
        return one[at:] == other[at + 1 :]
    swapped = one[at : at + 2] == other[at : at + 2][::-1] and one[at + 2 :] == other[at + 2 :]
    return one[at + 1 :] == other[at + 1 :] or swapped


def letters(one: str, other: str) -> int:
    """Return the plain edit distance of two texts in letters, as the published lookup uses it."""
    row = list(range(len(other) + 1))
    for i, mine in enumerate(one, 1):
        corner, row[0] = row[0], i
        for j, theirs in enumerate(other, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (mine != theirs))
    return row[-1]
