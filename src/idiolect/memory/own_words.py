"""What of a message is the person's own: what they quote, paste, or say in a part they play, is not about them."""

from __future__ import annotations

import re

LEFT_OUT = "«»"
"""Stands where something was taken out."""

_FENCE = re.compile(r"```.*?(?:```|$)", re.DOTALL)
_QUOTED = re.compile(
    r"[\"“„«](?!\s)[^\"“”„«»]{2,}(?:[\"”»]|$)|(?<![\w])[‘'](?=[^\W\d_])(?:[^'\n]|'(?=\w)){6,}?['’](?!\w)", re.DOTALL
)
_SHOUTED_LINE = re.compile(r"^\s*>.*$", re.MULTILINE)
_LETTER = re.compile(
    r"^(?:dear|to whom it may concern|hi|hello) ?[^\n,]{0,30},\s*\n.*?(?:^(?:(?:best|kind|warm|with) )?"
    r"(?:regards|wishes|sincerely|yours|love|cheers|thanks)\b[^\n]*(?:\n[^\n]{1,30}$)?|\Z)",
    re.DOTALL | re.IGNORECASE | re.MULTILINE,
)
_HEADERS = re.compile(r"^(?:from|to|subject|date|cc): .*$(?:\n.*)*", re.IGNORECASE | re.MULTILINE)
_WORK_ON = (
    r"proof-?read\w*|correct(?! me)|fix|translat\w+|summari[sz]\w+|tl;?dr|rewrite|reword|rephrase|paraphrase|edit"
    r"|polish|revise|refactor|shorten|tidy|check|review|improve|spell-?check|grammar|clean up|convert|classify"
    r"|simplify|analy[sz]e|annotate|extract|continue|finish|complete|feedback on|respond to|reply to|comment on"
    r"|explain|critique|format|turn (?:this|these|it)|make (?:this|it|these)|modern(?:ise|ize)|subtitle|caption"
    r"|here(?:'s| is| are)|this is (?:the|a|an|my|his|her) (?:text|e-?mail|letter|draft|message|paragraph|post|bio"
    r"|abstract|song|poem|chapter|scene|story|review|ad|profile)|reads?|says?|wrote|posted|sent|text|letter|message"
    r"|mail|email|draft|paragraph|lyrics|verse|poem|story|chorus|transcript|dialogue|sentence|sentences|error|log"
)
_TASK_COLON = re.compile(rf"\b(?:{_WORK_ON})\b[^:\n]{{0,80}}:(?!\d|//)[ \t]*(?=\S)[^\n]{{12,}}$", re.I | re.M)
_BLOCK_COLON = re.compile(r":[ \t]*\n+(?=\S)", re.MULTILINE)
_ABOUT_ME = re.compile(
    r"\b(?:me|my|mine|i|myself|remember|note|notes|facts?|context|background|info|situation|points?|details?|list"
    r"|know|reminder|update|news|summary of us|family)\b[^:\n]{0,30}$",
    re.IGNORECASE,
)
_ON_WORK = re.compile(rf"\b(?:{_WORK_ON})\b[^.!?\n]*$", re.IGNORECASE)
_PART = re.compile(
    r"\b(?:role ?-?play(?:ing)?|(?:let'?s|lets|wanna|can we|lemme) rp\b|in character|pretend|make-believe|improv\b"
    r"|you(?:'re| are|r)? (?:be |play )?(?:a |an |the |my )[\w' ]{2,30}(?:,| and|&|;| -)+ ?(?:and "
    r"|& )?i(?:'m| am|m| play| will be)"
    r"|(?:i|i'll|i will) (?:be|play) (?:a|an|the) [\w' ]+(?:,| and| &) ?you|u r the|you are now|dungeon master"
    r"|text adventure|stay in character|as if you were|act as|my character|mock interview)\b",
    re.IGNORECASE,
)
_WRITING = re.compile(
    r"^\W*(?:(?:please|pls|can you|could you|kindly|hey|hi|ok|now|would you|help me)[ "
    r",]+)*(?:write|compose|make up|invent|give me)\b"
    r"[^.\n]{0,40}\b(?:story|poem|song|lyrics|monologue|scene|diary|novel|dialogue|sketch|rap|limerick|haiku|sonnet)\b",
    re.IGNORECASE,
)


def own(text: str) -> str:
    """Return a message without what is quoted, pasted or played in it; ``LEFT_OUT`` stands in its place."""
    if _PART.search(text):
        return ""
    for pattern in (_FENCE, _QUOTED, _SHOUTED_LINE, _HEADERS):
        text = pattern.sub(LEFT_OUT, text)
    text = _LETTER.sub(LEFT_OUT, text)
    text = _without_blocks(text)
    return _TASK_COLON.sub(_kept_before_colon, text)


def writes_fiction(sentence: str) -> bool:
    """Whether a sentence asks for a story, a poem or a song: what stands after it is about nobody."""
    return bool(_WRITING.search(sentence))


def _without_blocks(text: str) -> str:
    """Take out what follows a colon at a line's end, unless the line says that it is about the person."""
    for match in _BLOCK_COLON.finditer(text):
        line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        if _ON_WORK.search(line) or not _ABOUT_ME.search(line):
            return text[: match.start() + 1] + LEFT_OUT
    return text


def _kept_before_colon(match: re.Match[str]) -> str:
    return match[0][: match[0].index(":") + 1] + LEFT_OUT
