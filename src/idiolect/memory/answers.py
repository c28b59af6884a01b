"""Short answers: "Two, 5 and 8." says something only with the question that stood before it."""

from __future__ import annotations

import re

_QUESTION = re.compile(r"[^.!?\n]*\?")
_YES = re.compile(
    r"^\W*(?:(?:yes|yeah|yep|yup|ya|aye|correct|exactly|right|indeed|true|of course|sure|i do|i am|i "
    r"have|that's right|thats right|it is|they are|absolutely|definitely|affirmative|spot on|still"
    r"|i think so|she does|he does)\b[\s,.!]*)+",
    re.I,
)
_NO = re.compile(
    r"^\W*(?:no|nope|nah|not really|never|none|not any ?more|i don't|i'm not|neither|not at all"
    r"|no longer)\b[\s,.!]*",
    re.I,
)
_NOT_AN_ANSWER = re.compile(
    r"\?\s*$|^\W*(?:please|pls|just|no emojis?|both|either|the (?:first|second|third|last)|go on"
    r"|carry on|next|more|another"
    r"|thanks|thx|thank you|ok|okay|great|fine|perfect|good|cool|nice|price|make|give|show|write"
    r"|never ?mind|skip|what|how|why|which)\b",
    re.I,
)
_ABOUT_TASK = re.compile(
    r"\b(?:shall i|should i|do you want|would you like|can i|may i|want me|like me to|anything "
    r"else|prefer me|which (?:one|version)"
    r"|do you need|have you tried|did you (?:try|mean)|are you (?:sure|looking|thinking|asking)"
    r"|how (?:long|many (?:words|people|guests)))\b",
    re.I,
)
_FORMS = (
    (re.compile(r"\b(?:so|then|and|i take it|i guess|i assume|am i right that)?,? ?you(?:'re| are) "
        r"(?P<x>[^?]+)\?", re.I), "I am {x}", "I am not {x}"),
    (re.compile(r"\bare (?:you|the two of you|you two)(?: the one| both| all| still| now| also| yourself| "
        r"already| by any chance)* (?P<x>[^?]+)\?", re.I), "I am {x}", "I am not {x}"),
    (re.compile(r"\bdo you(?: still| also| yourself| by any chance| happen to| usually| actually)? "
        r"(?P<x>[^?]+)\?", re.I), "I {x}", "I do not {x}"),
    (re.compile(r"\bhave you(?: got| ever| already)? (?P<x>[^?]+)\?", re.I), "I have {x}", "I have not {x}"),
    (re.compile(r"\b(?:so|then)?,? ?you(?: still| also)? (?P<x>(?:live|work|have|own|play|eat|drink|study"
        r"|speak|like|love|smoke|run|teach|drive)\b[^?]*)\?", re.I), "I {x}", "I do not {x}"),
    (re.compile(r"\b(?:is|are) (?P<y>(?:your|the) [\w' ]+?) (?P<x>(?:still |also |really )?(?:in|at|a|an|on"
        r"|near|vegetarian|vegan|healed|called|named|from)\b[^?]*)\?", re.I), "{y} is {x}", "{y} is not {x}"),
)  # fmt: skip
_OPEN = (
    (re.compile(r"\bhow old are you\b", re.I), "I am {a} years old"),
    (re.compile(r"\bhow old (?:is|are) your (?P<x>\w+)", re.I), "My {x} is {a}"),
    (re.compile(r"\bwhere (?:do you live|are you (?:based|living)|is home|do you call home)\b", re.I), "I live in {a}"),
    (re.compile(r"\bwhere (?:are you|do you come) (?:from|originally)\b", re.I), "I am from {a}"),
    (re.compile(r"\b(?:which|what) (?:city|town|country|region|part of \w+|area|neighbou?rhood) (?:are you in"
        r"|do you live in|are you based in|is that)\b"
        r"|\b(?:which|what) (?:city|town|country)\?", re.I), "I live in {a}"),
    (re.compile(r"\bwhat(?:'s| is| was) your name\b|\bwhat (?:should|shall|may|can) i call you\b|\bwho am i "
        r"(?:talking|speaking) (?:to|with)", re.I), "My name is {a}"),
    (re.compile(r"\bwhat(?:'s| is) (?:your|the) (?P<x>dog|cat|puppy|kitten|wife|husband|partner|son|daughter"
        r"|baby|horse|pup|boy|girl)(?:'s)? (?:name|called)", re.I), "My {x} is called {a}"),
    (re.compile(r"\bwhat do you do(?: for (?:a living|work))?\?|\bwhat(?:'s| is) your (?:job|profession|line "
        r"of work|occupation|role)\b|\bwhat (?:kind of )?work do you do\b", re.I), "I work as {a}"),
    (re.compile(r"\bwhere do you work\b|\bwho do you work for\b", re.I), "I work at {a}"),
    (re.compile(r"\bwhat (?:do|are) you stud(?:y|ying)\b", re.I), "I study {a}"),
    (re.compile(r"\bwhat (?:instrument|games?|sports?|music)? ?do you (?P<x>play|like|watch|drive|ride|read"
        r"|cook with|eat|drink|speak|grow|teach)\b|\bwhich (?:instrument|game|sport|language|car)s? "
        r"do you (?P<y>\w+)\b", re.I), "I {x}{y} {a}"),
    (re.compile(r"\bhow many (?P<x>[\w ]+?) (?:do you have|have you got|are there at home)\b", re.I), "I have {a} {x}"),
    (re.compile(r"\bwhat(?:'s| is| are) your (?P<x>favou?rite [\w ]+|allerg\w+|diet|age|birthday|job title"
        r"|hobby|hobbies|budget|native language|mother tongue|pronouns)\b", re.I), "My {x}: {a}"),
    (re.compile(r"\b(?:any|have you any|do you have any|are there any) (?P<x>allerg\w+|food allerg\w+|medical "
        r"conditions?|health (?:issues|problems|conditions?)|injur\w+|dietary (?:restrictions|needs"
        r"|requirements)|medicines?|medications?|pets|kids|children|siblings)\b", re.I), "My {x}: {a}"),
)  # fmt: skip
SHORT = 8
"""So many words are a short answer; longer ones say themselves what they mean."""


def statement(question: str, first: str) -> str:
    """Return what the first sentence of an answer says with the question before it, in the first person, or nothing."""
    asked = [one.strip() for one in _QUESTION.findall(question) if not _ABOUT_TASK.search(one)]
    if not asked or re.search(r"\?\s*$", first):
        return ""
    for one in reversed(asked):
        told = _told(one, first)
        if told:
            return told
    return ""


def _told(question: str, first: str) -> str:
    yes, no = _YES.match(first), _NO.match(first)
    rest = first[(yes or no).end() :].strip(" .,!") if (yes or no) else first.strip(" .,!")  # type: ignore[union-attr]
    short = len(rest.split()) <= SHORT
    if not (yes or no) and (_NOT_AN_ANSWER.search(first) or not short):
        return ""
    for pattern, form in _OPEN:
        match = pattern.search(question)
        if match and rest and short and not yes:
            return _filled(form, match, a=rest)
    for pattern, positive, negative in _FORMS:
        match = pattern.search(question)
        if not match:
            continue
        if yes or no:
            said = _filled(positive if yes else negative, match)
            return f"{said}, {rest}" if rest and short else said
        place = re.match(r"(?:in|from|at|near) \w+$", match.groupdict().get("x") or "")
        if place and re.match(r"[A-Z]\w+$", rest):
            return f"I am {match['x'].split()[0]} {rest}"
        if re.match(r"(?:have|eat|drink|play|own|speak|like|take|keep)\b", match.groupdict().get("x") or ""):
            return f"{_filled(positive, match)}: {rest}"
    return ""


def _filled(form: str, match: re.Match[str], **more: str) -> str:
    groups = {name: (value or "").strip() for name, value in match.groupdict().items()}
    said = form.format(**{**dict.fromkeys("axy", ""), **groups, **more})
    said = re.sub(r"\byour\b", "my", said)
    said = re.sub(r"\b(?:or|and) (?:not|are you|do you|is it|would|any)\b.*$", "", said).strip(" ,")
    return said[0].upper() + said[1:]
