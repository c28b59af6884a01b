"""Telling by rules when a person puts an answer right: no model call, English, precision before recall.

Two kinds of corrective remark: what the person *meant* ("no, I meant a synonym"), which holds for questions of the same
shape, and a *fact* ("copper is not magnetic"), which holds where its subject comes up (TeachMe, arXiv 2204.13074).
"""

from __future__ import annotations

import re

from idiolect.text.terms import terms

_CHARS = 600
"""A longer message is a new task, whatever it begins with."""
_OPENING = r"(?:(?:no|nope|nah|sorry|oh|hm+|well|but|wait|actually|not quite|not really)\b[\s,.:;!\u2013-]*){0,3}"
_REFUSED = r"(?:no|nope|nah|wrong|not quite)\b\s*[,.:;!\u2013-]+\s*"

_MEANT = re.compile(
    rf"""^{_OPENING}(?:
      i\ (?:meant|mean)\b(?!,|\ (?:to|it|no|well|every|business|that\ (?:as|in)|by|what\ i\ sa(?:id|y)|come\ on))
      | (?:that|this|it)(?:\ is|\ was|'s)?\ ?(?:not|n't|isn't|wasn't)\ (?:at\ all\ )?(?:really\ |quite\ )?
        what\ i\ (?:asked|meant|mean|wanted|want|said|was\ (?:asking|after|looking)|am\ (?:asking|after|looking))
      | (?:that|this|it)\ (?:isn't|wasn't)\ (?:really\ |quite\ )?what\ i\ (?:asked|meant|mean|wanted|want|said|was|am)
      | i\ (?:did\ not|didn't)\ (?:ask|mean)\b(?!\ (?:to|it|that|any|you|yet|no|anything)\b)(?=.*\w)
      | i\ (?:asked|was\ asking)\ (?:for|about)\ .+?,?\ (?:and\ |but\ )?not\ (?:for\ |about\ )?\w+
      | i\ (?:said|wanted)\ [^.?!]+?,\ not\ (?!(?:too|so|very|sure|more|only|just|\w+ing)\b)\w+
      | you\ (?:have\ |'ve\ )?(?:completely\ |totally\ )?(?:misunderstood|misread|got\ (?:that|this|it|me)\ wrong)\b
      | you\ (?:did\ not|didn't)\ (?:answer|understand)\ (?:my|the|what)\b
      | (?:that|this|it)(?:\ is|'s)?\ (?:not|isn't)\ an\ answer\ to\ (?:my|the|what)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_WHENEVER = re.compile(r"^(?:when|if) i (?:ask|say|write)\b[^.?!]*\bi (?:mean|want|expect)\b(?! to\b)", re.IGNORECASE)
_RATHER = re.compile(
    rf"""^(?P<no>{_REFUSED})?not\ (?!(?:only|just|that|this|to|sure|bad|all)\b)
        (?P<this>[^,.;:?!]{{1,60}}?),?\ but\ (?:rather\ )?
        (?!(?:thanks?|thank|i|it|you|we|he|she|they|that|this|there|can|could|what|how|why|when|is|are|do|does|still
             |close|ok|okay|good|fine|maybe|perhaps)\b)\w""",
    re.IGNORECASE | re.VERBOSE,
)
_WRONG = re.compile(
    r"""^(?:
      (?:wrong|incorrect|not\ (?:right|correct|true))\s*[:,;.!\u2013-]+\s*(?!(?:number|place|way|thanks)\b)\w+\W+\w+
      | (?:no\b[\s,.:;!-]*)?(?:that|this|it)(?:\ is|'s|\ was)\ (?:just\ |simply\ |plain\ )?
        (?:wrong|incorrect|false|not\ (?:right|correct|true))\s*[:,;.!\u2013-]+\s*\w+\W+\w+
      | you(?:\ are|'re)\ (?:wrong|mistaken)\s*[:,;.!\u2013-]+\s*\w+\W+\w+
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_AGAINST = re.compile(rf"^(?:{_REFUSED}|(?:well,?\ )?actually,?\ )", re.IGNORECASE)

_WRONG_OPENING = re.compile(
    r"^(?:(?:that|this|it)(?: is|'s|'s not| was)|you(?: are|'re))? ?(?:just |simply )?"
    r"(?:wrong|incorrect|false|mistaken|not (?:right|correct|true))\s*[:,;.!\u2013-]+\s*",
    re.IGNORECASE,
)
_COPULA = r"(?:(?:is|are|was|were|has|have|does|do|had|can)(?:n't)?|cannot|can't)"
_FACT = re.compile(rf"^(?P<subject>(?:[^\W\d_][\w'-]*\ ){{1,5}}?){_COPULA}\ (?P<rest>\S.*)$", re.IGNORECASE)
_NOT_ABOUT_THINGS = re.compile(
    r"""^(?:(?:i|you|we|he|she|it|they|this|that|these|those|there|here|what|which|who|how|when|where|why|if|my|your
              |our|me|nothing|everything|something|all|none|please|thanks|not)\b
      | (?:the|its)\ (?:\w+\ )?(?:answers?|replies|reply|responses?|summary|text|tone|style|format|length|list|title
         |e-?mail|letter|code|results?|output|sentences?|words?|translation|table|draft|version|examples?|paragraphs?)\b)""",
    re.IGNORECASE | re.VERBOSE,
)
_ON_THE_ANSWER = re.compile(r"^(?:\w+ )?too \w+|^(?:way |much |far |a bit )*(?:too|longer|shorter)\b", re.IGNORECASE)
_PRAISE = frozenset(
    "great good perfect nice thanks thank excellent helpful correct right love done fine ok okay yes".split()
)
_AROUND_PRAISE = frozenset("very so really many just that this it is was s the a an answer you well much i".split())


def corrects(said: str, question: str, answer: str) -> bool:
    """Whether a message puts the answer before it right.

    ``question`` and ``answer`` are what came before. What the person meant counts by its wording alone. A plain "no,
    ..." counts only with a fact about what was spoken of, and not where the answer had asked something back.
    """
    text = _plain(said)
    if not text or len(text) > _CHARS:
        return False
    if _MEANT.match(text):
        return True
    if text.endswith("?"):
        return False
    if _WHENEVER.match(text):
        return True
    if answer.rstrip().endswith("?"):
        return False
    spoken_of = {*terms(question), *terms(answer)}
    rather = _RATHER.match(text)
    if rather and (rather["no"] or spoken_of & {*terms(rather["this"])}):
        return True
    return bool(_WRONG.match(text) or (_AGAINST.match(text) and spoken_of & {*terms(fact(text))}))


def fact(remark: str) -> str:
    """Return the statement about the world that a remark makes, empty where it is about the answer or the person."""
    body = _plain(remark)
    for opening in (_WRONG_OPENING, _AGAINST):
        body = opening.sub("", body, count=1)
    body = re.split(r"(?<=[.!?])\s", body)[0].rstrip(" .!")
    told = _FACT.match(body)
    if told is None or body.endswith("?") or _NOT_ABOUT_THINGS.match(body) or _ON_THE_ANSWER.match(told["rest"]):
        return ""
    return body if terms(told["subject"]) else ""


def subject(told: str) -> frozenset[int]:
    """Return the terms of what a :func:`fact` is about."""
    match = _FACT.match(told)
    return frozenset(terms(match["subject"])) if match else frozenset()


def praises(comment: str) -> bool:
    """Whether a comment says that the answer was good and nothing else."""
    words = {*re.findall(r"[^\W_]+", comment.lower())}
    return bool(words & _PRAISE) and words <= _PRAISE | _AROUND_PRAISE


def _plain(text: str) -> str:
    return " ".join(text.replace("\u2019", "'").split())
