"""The manner of a text, by rules: what of its form a person changed when they made an answer their own.

No model call; the words it knows are English. A trait has a value for every text (``greeting`` is ``yes`` or ``no``);
a :class:`Change` says that an edit gave a trait another value, and how that wish reads in a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_TOKEN = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_SENTENCE_END = re.compile(r"[.!?…]+[\"')”’]*(?=\s|$)|\n+")
_BULLET = re.compile(r"^\s*[-*•–]\s+\S")
_NUMBER = re.compile(r"^\s*\d+[.)]\s+\S")
_LIST_MARK = re.compile(r"^\s*(?:[-*•–]|\d+[.)])\s+")
_HEADING = re.compile(r"^\s*(?:#{1,6}\s+\S|\*\*[^*]+\*\*:?\s*$)")
_GREETING = re.compile(
    r"^\s*(?:hi|hello|hey|dear|greetings|good (?:morning|afternoon|evening|day))\b[^.?\n]{0,40}$", re.I
)
_CLOSING = re.compile(
    r"^\s*(?:(?:best|kind|warm|many)\s+(?:regards|wishes)|regards|best|sincerely|yours\b.*|cheers|all the best"
    r"|take care|many thanks|thanks|thank you|with (?:best|kind) .*|respectfully)\b[^.?\n]{0,30}$",
    re.I,
)
_OPENER = re.compile(
    r"^\s*(?:(?:sure|certainly|of course|absolutely|okay|ok)\b|here(?:'s|’s| is| are)\b|the following\b|subject:)", re.I
)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")
_EMOJI = re.compile("[\u2600-\u27bf\U0001f300-\U0001faff]|(?<!\\w)[:;]-?[)(DP](?!\\w)")
_CONTRACTION = re.compile(r"\b\w+(?:n['’]t|['’](?:re|ve|ll|m|d))\b|\b(?:it|that|there|what|here|let)['’]s\b", re.I)
_SPELT_OUT = re.compile(
    r"\b(?:(?:do|does|did|is|are|was|were|can|could|will|would|should|has|have|had) ?not|(?:i|you|we|they) (?:am|are"
    r"|will|have|would)|(?:it|that|there) is)\b",
    re.I,
)
_FIRST = re.compile(r"\b(?:i|me|my|mine|myself|we|us|our|ours)\b(?!\.)", re.I)
_HEDGE = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|might|seems?|somewhat|arguably|i think|i guess|i believe|sort of|kind of)\b",
    re.I,
)
_FENCE = re.compile(r"```.*?(?:```|\Z)", re.S)
_SHORTER, _LONGER = 0.8, 1.25
_FEW = 5
"""A length of at most so many sentences or points is named in them, a greater one in words."""


@dataclass(frozen=True, slots=True)
class Change:
    """A trait that an edit gave another value, and the short wish that asks for it."""

    trait: str
    value: str
    phrase: str


@dataclass(frozen=True, slots=True)
class _Trait:
    """How a trait is read off a text, and how each of its values is asked for."""

    read: Callable[[str], str]
    ask: Callable[[str, str], str]
    """``(value, the person's text) -> phrase``."""


def changes(answer: str, wanted: str) -> tuple[Change, ...]:
    """Return what a person changed of an answer's form; an edit of content alone changes nothing.

    The length counts without greeting and closing, so that leaving these out does not read as a wish for brevity.
    """
    before, after = traits(answer), traits(wanted)
    turned = [(name, value) for name, value in after.items() if value not in (before[name], "neither")]
    found = tuple(Change(name, value, _TRAITS[name].ask(value, wanted)) for name, value in turned)
    length = _length(answer, wanted)
    return (*found, length) if length else found


def preferred(chosen: str, rejected: Sequence[str]) -> tuple[Change, ...]:
    """Return in what form a chosen draft differs from every draft that was passed over."""
    if not rejected:
        return ()
    first, *rest = ({(c.trait, c.value.split(":")[0]): c for c in changes(other, chosen)} for other in rejected)
    return tuple(change for key, change in first.items() if all(key in other for other in rest))


def traits(text: str) -> dict[str, str]:
    """Return every trait's value; the length is told only of two texts (:func:`changes`)."""
    return {name: trait.read(text) for name, trait in _TRAITS.items()}


def has(text: str, trait: str, value: str) -> bool:
    """Return whether a text is as a change asks; a length is kept within a fifth."""
    if trait != "length":
        return _TRAITS[trait].read(text) == value
    side, unit, number = value.split(":")
    count = _count(unit, text)
    return count * _SHORTER <= int(number) if side == "short" else count * _LONGER >= int(number)


def opposed(trait: str, one: str, other: str) -> bool:
    """Return whether two values of a trait cannot both be wished for; two lengths on one side are one wish."""
    return one.split(":")[0] != other.split(":")[0] if trait == "length" else one != other


def tokens(text: str) -> list[str]:
    """Return words and marks in order, as edits are counted; a line's end is a token, for lists are made of lines."""
    lines = [_TOKEN.findall(line) for line in text.split("\n") if line.strip()]
    return [token for at, line in enumerate(lines) for token in (*(["\n"] if at else []), *line)]


def edits(one: str, other: str) -> int:
    """Return the Levenshtein distance of two texts in tokens (Levenshtein 1966; CIPHER's cost of an edit)."""
    a, b = tokens(one), tokens(other)
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        above, row = row, [i]
        for j, right in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (left != right)))
    return row[-1]


def distance(draft: str, wanted: str) -> float:
    """Return :func:`edits` over the tokens of what was wanted; above 1 where a draft is much too long."""
    return edits(draft, wanted) / max(1, len(tokens(wanted)))


def unlike(one: str, other: str) -> float:
    """Return :func:`edits` over the tokens of the longer text, from 0 to 1: a text of next to nothing is far off."""
    return edits(one, other) / max(1, len(tokens(one)), len(tokens(other)))


def body(text: str) -> str:
    """Return a text without its greeting, closing and signature."""
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and _GREETING.match(lines[0]):
        lines = lines[1:]
    at = _closing_at(lines)
    return "\n".join(lines if at is None else lines[:at])


def sentences(text: str) -> list[str]:
    """Return the sentences of a text without list marks; a line's end ends one."""
    plain = "\n".join(_LIST_MARK.sub("", line) for line in text.splitlines())
    return [part.strip() for part in _SENTENCE_END.split(plain) if _WORD.search(part)]


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _closing_at(lines: Sequence[str]) -> int | None:
    """Return where a letter's closing begins: one of the last three lines."""
    places = range(max(1, len(lines) - 3), len(lines))
    return next((at for at in places if _CLOSING.match(lines[at])), None)


def _count(unit: str, text: str) -> int:
    plain = body(text)
    if unit == "points" and (points := sum(bool(_LIST_MARK.match(line)) for line in _lines(plain))):
        return points
    return len(sentences(plain)) if unit != "words" else len(_WORD.findall(plain))


def _length(answer: str, wanted: str) -> Change | None:
    before, after = _count("words", answer), _count("words", wanted)
    if not before or not after or _SHORTER < after / before < _LONGER:
        return None
    short = after < before
    unit = "sentences" if _layout(wanted) == "prose" else "points"
    count = _count(unit, wanted)
    if not short or count > _FEW or (unit == "sentences" and count >= _count(unit, answer)):
        unit, count = "words", _round(after)
    side, bound = ("short", "At most") if short else ("long", "At least")
    noun = unit if count != 1 else unit[:-1]
    return Change("length", f"{side}:{unit}:{count}", f"{bound} {count} {noun}")


def _round(words: int) -> int:
    step = 5 if words < 50 else 10 if words < 200 else 50
    return max(step, round(words / step) * step)


def _layout(text: str) -> str:
    lines = _lines(text)
    for name, form in (("bullets", _BULLET), ("numbers", _NUMBER)):
        if 2 * sum(bool(form.match(line)) for line in lines) >= max(2, len(lines)) > 1:
            return name
    return "prose"


def _letter_case(text: str) -> str:
    letters = [c for c in _FENCE.sub("", text) if c.isalpha()]
    upper = sum(c.isupper() for c in letters)
    if len(letters) < 3 or 2 * upper > len(letters):
        return "upper" if len(letters) >= 3 else "normal"
    return "normal" if upper else "lower"


def _code(text: str) -> str:
    if "```" not in text:
        return "none"
    return "explained" if _WORD.search(_FENCE.sub("", text)) else "only"


def _contractions(text: str) -> str:
    if _CONTRACTION.search(text):
        return "yes"
    return "no" if _SPELT_OUT.search(text) else "neither"


def _if(found: Callable[[str], object]) -> Callable[[str], str]:
    return lambda text: "yes" if found(text) else "no"


def _either(yes: str, no: str) -> Callable[[str, str], str]:
    return lambda value, _: yes if value == "yes" else no


def _greeting(value: str, wanted: str) -> str:
    return f'Start with a greeting like "{_lines(wanted)[0].strip()}"' if value == "yes" else "No greeting"


def _closing(value: str, wanted: str) -> str:
    lines = _lines(wanted)
    at = _closing_at(lines)
    return "No closing words" if at is None else f'End with a closing like "{lines[at].strip()}"'


def _first_line(form: re.Pattern[str]) -> Callable[[str], object]:
    return lambda text: (lines := _lines(text)) and form.match(lines[0])


_LAYOUTS = {"bullets": "Use bullet points", "numbers": "Number the steps", "prose": "Write plain prose, no list"}
_CASES = {"lower": "Write in lower case only", "upper": "Write in capitals", "normal": "Use normal capital letters"}
_CODES = {"only": "Give the code alone", "explained": "Explain the code", "none": "No code block"}
_SHORT_FORMS = {"yes": "Use short forms like don't and it's", "no": "No short forms: do not instead of don't"}

_TRAITS = {
    "layout": _Trait(_layout, lambda value, _: _LAYOUTS[value]),
    "greeting": _Trait(_if(_first_line(_GREETING)), _greeting),
    "closing": _Trait(_if(lambda text: _closing_at(_lines(text)) is not None), _closing),
    "opener": _Trait(_if(_first_line(_OPENER)), _either("Say first what follows", "Begin at once, no opening remark")),
    "heading": _Trait(
        _if(lambda text: any(map(_HEADING.match, _lines(text)))), _either("Put a heading above it", "No headings")
    ),
    "case": _Trait(_letter_case, lambda value, _: _CASES[value]),
    "exclamation": _Trait(_if(lambda text: "!" in text), _either("Use an exclamation mark", "No exclamation marks")),
    "emoji": _Trait(_if(_EMOJI.search), _either("Add an emoji", "No emoji")),
    "bold": _Trait(_if(_BOLD.search), _either("Use bold for what matters", "No bold")),
    "contractions": _Trait(_contractions, lambda value, _: _SHORT_FORMS[value]),
    "first_person": _Trait(
        _if(_FIRST.search), _either("Write in the first person", "Do not write in the first person")
    ),
    "question": _Trait(
        _if(lambda text: body(text).rstrip().endswith("?")), _either("End with a question", "No question at the end")
    ),
    "hedges": _Trait(_if(_HEDGE.search), _either("Say where you are not sure", "No maybe, perhaps or I think")),
    "code": _Trait(_code, lambda value, _: _CODES[value]),
}
