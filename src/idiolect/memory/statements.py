"""Finding what a person says about themselves, by rules: no model call, English.

A clause counts when it is the person's own words (not quoted, pasted or played), a plain statement (not a question, an
order, a wish or a supposition), and a rule reads something lasting in it (:mod:`idiolect.memory.attributes`), or when
they ask for it to be remembered. A short answer counts with the question before it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from math import isinf

from idiolect.memory import answers, attributes, dating
from idiolect.memory.candidate import Candidate
from idiolect.memory.clauses import Clause, clauses
from idiolect.memory.own_words import LEFT_OUT, own, writes_fiction
from idiolect.memory.sameness import key
from idiolect.text import validity
from idiolect.types import Turn, text_of

MAX_CHARS = 300
MOST_CHARS = 8_000
"""So much of a message is read; what is longer is pasted."""
_REMEMBER = re.compile(
    r"(?:^|[.!?\n]\s*)(?:please |and |also |oh |so |can you |could you |ok(?:ay)?,? |just |pls "
    r"|hey,? |reminder for me: )*"
    r"(?:remember(?! (?:when|how|what|me|the time|if))|note(?= that|:|,)|make a note|keep in mind"
    r"|bear in mind|don'?t forget|save (?:this|that)|for (?:the|your) (?:record|memory)"
    r"|reminder for me|for future reference|memo(?:ri[sz]e)?|write (?:down )?in (?:my|your) memory"
    r"|(?:add|put) (?:this )?(?:in|to) (?:my|your) memory"
    r"|fyi for (?:the )?future|store)(?: (?:that|this|for me|for later|please|about me|for (?:the "
    r")?(?:future|next time)))*\s*[:,]?\s+(?P<body>[^.!?\n]+(?:[.!]|$))",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"\b(?:i|we)(?:'d| would| might| could| may(?! only)| should)\b(?! (?:rather|prefer))"
    r"|\b(?:some ?day|one day|i wish|maybe i|dream of|if only"
    r"|thinking (?:of|about|i)|considering|tempted to|wondering|once i)\b|^(?:would|might|could|should|may|unless)\b",
    re.IGNORECASE,
)
_IF = re.compile(
    r"^(?:(?:and|but|so|ok|well|hey)[\s,]+)*(?:if|suppose|supposing|imagine|say (?:i|we)|were (?:i"
        r"|we)|had (?:i|we)|what if|let'?s say|assume"
    r"|assuming|hypothetically)\b|\bif (?:i|we) (?:was|were|had|could|won|lived|moved|ever|would"
        r"|got|bought|quit|sold|did)\b",
    re.IGNORECASE,
)  # fmt: skip
_MAYBE_REAL = re.compile(
    r"^(?:if you must know|if it helps|if it matters|if you remember|in case you|in case it)\b", re.I
)
_PASSING = re.compile(
    r"\bi(?:'m| feel| am)(?: so| really| very| just| kind of| pretty| still| a bit| totally| "
    r"absolutely)* (?:tired|exhausted|hungry|starving|knackered|bored"
    r"|stressed|busy|sad|happy|angry|annoyed|sleepy|dead|wrecked|hungover|cold|hot|lost|stuck"
    r"|confused|late|sorry|sick of|ready|done"
    r"|nervous|excited|fine|ok|okay|good|great|here|back|off to|about to|going crazy|at work|at "
    r"the|on the (?:train|bus|way|phone)|in a (?:hurry|rush|meeting)|trying|looking|working on"
    r"|wondering|asking|reading|not sure|sure|making|curious|talking)\b"
    r"|\b(?:tonight|right now|at the moment|this (?:morning|evening|afternoon|minute)|today|for "
    r"(?:lunch|dinner) today|atm)\b",
    re.IGNORECASE,
)
_EVENTFUL = frozenset({"age", "name", "home", "work", "pets", "minor", "relationship", "possession", "study"})
_EVENT_WORD = re.compile(
    r"\b(?:moved|turned|born|bought|sold|died|adopted|started|quit|diagnosed|got|come|came|signed"
    r"|last day|first day|since|signed|retired|from today|stopped)\b",
    re.I,
)
_KNOWN = re.compile(
    r"\b(?:as (?:you know|i (?:said|mentioned|told you|believe i mentioned|keep saying)|usual"
    r"|always|before|ever)|you know (?:that |how )?(?:i|my|im|we)\b|i (?:already )?told you"
    r"|like i said|remember i|still,|again tonight|i (?:believe i )?mentioned|you(?:'ll)? remember)\b",
    re.IGNORECASE,
)
_GIVEN = re.compile(r"^(?:since|as|because|being|given that|in my capacity|with)\b", re.IGNORECASE)
_CHAT = re.compile(
    r"\b(?:have|had|got)(?: a| an| another| one| no| this| some)* (?:quick |small |stupid |silly "
    r"|weird |follow-?up )?(?:question|idea|problem|doubt|request|clue|feeling|favou?r|thought"
    r"|issue|error|bug|meeting today|headache)\b"
    r"|\b(?:ignore|disregard) (?:all|any|the|previous|prior)\b|\bsystem prompt\b|\bprevious instructions\b"
    r"|\bi (?:do |really |just )*(?:love|like|appreciate|hate|enjoy) (?:how|it|that|this|your|you"
    r"|these|those|the way|the (?:first|second|third|last|idea))\b|\bi(?:'d| would) (?:like"
    r"|love)\b"
    r"|\bi owe you\b|\bi (?:need|want|wish)(?: you)? to\b|\bi (?:guess|bet|hope|doubt)\b",
    re.IGNORECASE,
)
_TOLD_AT_LENGTH = frozenset({"home", "work", "health", "allergy", "relationship", "addiction"})
_CONTINUES = re.compile(
    r"^(?:(?:his|her|their|its|the (?:other|older|younger|big|little) one(?:'s)?) names?\b"
    r"|names?\b|name of|called|named|he's|she's|they're|it's (?:a|an)|he is|she is|they are|he was"
    r"|she was|one is|calling)\b",
    re.IGNORECASE,
)
_ADVICE = re.compile(r"^(?:no|must(?: not|n't)?|not allowed|can't|both|mustn't|never) [\w ]+$", re.IGNORECASE)
_FIRST_SENTENCE = re.compile(r"[^\n]+?(?:[.!?](?=\s)|$|(?=\n))")
_SOMEBODY = re.compile(r"\b(?:he|she|him|her|his|they|them)\b", re.IGNORECASE)
_MINE = re.compile(r"\b(?:i|i'm|my|me|our|we)\b", re.IGNORECASE)
_CALLED = re.compile(r"(?<=[a-z,] )(?!I\b)([Mm]y \w+|[A-ZÀ-Þ][a-zà-þ]+)(?:'s)?(?=[ ,.!])")
_BREED = re.compile(r"^(?:a |an )?[\w-]+(?: [\w-]+)?$")


def statements(text: str) -> list[str]:
    """Return the clauses of a user's message that say something lasting about them, in order, each once."""
    return [candidate.text for candidate in found(text, "", float("nan"))]


def candidates(turn: Turn) -> list[Candidate]:
    """Return what the user's latest message says about them, with the question that it answers."""
    at = next((n for n in range(len(turn.messages) - 1, -1, -1) if turn.messages[n].get("role") == "user"), -1)
    if at < 0:
        return []
    before = turn.messages[at - 1] if at and turn.messages[at - 1].get("role") == "assistant" else {}
    return found(text_of(turn.messages[at]), text_of(before), turn.time)


def unread(turn: Turn, known: Sequence[Candidate]) -> list[str]:
    """Return the plain statements of the user's latest message in which no rule reads anything, and that are not known.

    Whether one is worth keeping is for :mod:`idiolect.memory.trained` to say.
    """
    taken = [key(one.text) for one in known]
    out = dict[str, str]()
    for clause in clauses(own(turn.said[:MOST_CHARS])):
        if clause.orders and writes_fiction(clause.whole):
            break
        text = key(clause.text)
        if _plainly_said(clause) and not any(text in one or one in text for one in taken):
            out.setdefault(text, clause.text)
    return list(out.values())


def _plainly_said(clause: Clause) -> bool:
    text = clause.plain
    left_out = clause.asks or clause.orders or LEFT_OUT in text or not 8 <= len(text) <= MAX_CHARS
    return not (
        left_out or _SUPPOSED.search(text) or _within_if(clause) or _KNOWN.search(clause.whole)
        or attributes.others_fact(text)
    )  # fmt: skip


def found(text: str, question: str, moment: float) -> list[Candidate]:
    """Return what a message says of its writer; ``question`` is the assistant's message before it."""
    mine = own(text[:MOST_CHARS])
    parts = clauses(mine)
    out: dict[str, Candidate] = {}
    told = _told(mine)
    said = [one for one in _said(parts) if not any(key(other.text) in key(one.text) for other in told)]
    for candidate in (*_answered(question, mine), *told, *said):
        if len(candidate.text) <= MAX_CHARS:
            out.setdefault(key(candidate.text), candidate)
    kept = [one for k, one in out.items() if not any(k != other and k in other for other in out)]
    return [placed(one, moment) for one in kept]


def _told(text: str) -> list[Candidate]:
    """Return what the person asks to be remembered."""
    out = []
    for match in _REMEMBER.finditer(text):
        body = match["body"].strip()
        if body and LEFT_OUT not in body and len(body.split()) > 1:
            out.append(_candidate(body, attributes.read(body)))
    return out


def _answered(question: str, text: str) -> list[Candidate]:
    """Return what the first sentence of an answer says with the question before it."""
    first = _FIRST_SENTENCE.match(text.strip())
    if not question or first is None:
        return []
    told = answers.statement(question, first[0])
    about = attributes.read(told) if told else None
    return [_candidate(told, about)] if about else []


def _said(parts: Sequence[Clause]) -> list[Candidate]:
    out, before = list[Candidate](), None
    corrected = False
    for n, clause in enumerate(parts):
        if clause.orders and writes_fiction(clause.whole):
            break
        corrected = (corrected and parts[n - 1].sentence >= clause.sentence - 1) or _puts_right(clause)
        if before is not None and out and clause.sentence <= before.sentence + 1 and _continues(clause, out[-1]):
            out[-1] = replace(out[-1], text=f"{_open(out[-1].text)}, {clause.text}")
            before = clause
            continue
        about = _read(clause)
        if about is None:
            continue
        candidate = _candidate(_whose(clause, about, parts[:n]), about)
        if corrected:
            candidate = replace(candidate, said_by="corrected")
        if _KNOWN.search(clause.whole) or _GIVEN.search(clause.lead) or _GIVEN.search(clause.plain) or clause.asks:
            candidate = replace(candidate, given=True)
        if before is not None and out and _belong_together(out[-1], candidate, before, clause):
            out[-1] = _joined(out[-1], candidate)
        else:
            out.append(candidate)
        before = clause
    return out


def _whose(clause: Clause, about: attributes.Attributes, before: Sequence[Clause]) -> str:
    """Return a clause, with a name before it where it tells the illness of a "she" alone."""
    if about.topic not in ("health", "allergy") or not _SOMEBODY.search(clause.plain) or _MINE.search(clause.plain):
        return clause.text
    named = [name[1] for one in before for name in _CALLED.finditer(one.whole)]
    return f"{named[-1]}: {clause.text}" if named else clause.text


def _belong_together(first: Candidate, second: Candidate, before: Clause, clause: Clause) -> bool:
    """Whether two clauses in a row tell one thing: a move, a change of work, an illness."""
    if first.topic != second.topic or clause.asks or before.asks:
        return False
    near = clause.sentence == before.sentence
    return (near and first.topic in _TOLD_AT_LENGTH) or (
        first.topic == "home" and clause.sentence <= before.sentence + 1
    )


def _joined(first: Candidate, second: Candidate) -> Candidate:
    """Return one candidate for two clauses; what holds now gives the slot."""
    main = first if second.ends or not second.slot or second.value.startswith("left ") else second
    after = second.text if re.match(r"I\b", second.text) else second.text[:1].lower() + second.text[1:]
    text = f"{_open(first.text)}, {after}"
    return replace(main, text=text, news=first.news or second.news)


def _read(clause: Clause) -> attributes.Attributes | None:
    text = clause.plain
    supposed = bool(_SUPPOSED.search(text))
    if LEFT_OUT in text or not 3 <= len(text) <= MAX_CHARS or _CHAT.search(text) or _within_if(clause):
        return None
    about = _asked(clause) if clause.asks or supposed else attributes.read(clause.text)
    if about is None:
        return None
    lasting = about.topic in ("age", "minor", "name") or (
        about.topic in _EVENTFUL and (about.news or _EVENT_WORD.search(text))
    )
    if _PASSING.search(text) and not lasting:
        return (
            about
            if about.topic in ("health", "allergy", "addiction", "style", "minor") and "i'm " not in text
            else None
        )
    return about


def _asked(clause: Clause) -> attributes.Attributes | None:
    """Return what a question or an order says: what it takes as given, and how the person wants to be answered."""
    if clause.orders:
        about = attributes.read(clause.text)
        if about is not None and about.topic in ("style", "name"):
            return about
    return attributes.read(clause.text, asked=True)


def _within_if(clause: Clause) -> bool:
    return bool(_IF.search(clause.whole) and not _MAYBE_REAL.search(clause.whole))


def _puts_right(clause: Clause) -> bool:
    return (
        attributes.corrects(f"{clause.lead} {clause.text}".strip()) or clause.lead.strip(" :,.").lower() == "correction"
    )


def _continues(clause: Clause, last: Candidate) -> bool:
    """Whether a clause names or describes what the one before it spoke of."""
    if clause.asks or last.topic not in ("pets", "family", "relationship", "home", "health", "allergy"):
        return False
    if last.topic in ("health", "allergy"):
        return bool(_ADVICE.search(clause.plain))
    return bool(_CONTINUES.search(clause.plain)) or (last.topic == "pets" and bool(_BREED.match(clause.plain)))


def _candidate(text: str, about: attributes.Attributes | None) -> Candidate:
    text = text.strip()
    text = text[:1].upper() + text[1:]
    if about is None:
        return Candidate(text)
    return Candidate(text, topic=about.topic, slot=about.slot, value=about.value, ends=about.ends, news=about.news)


def _open(text: str) -> str:
    return text.rstrip(" .!,;")


def placed(candidate: Candidate, moment: float) -> Candidate:
    """Return the candidate with its relative dates resolved, and from and until when it holds."""
    ahead = candidate.topic in ("plan", "schedule") or candidate.slot.startswith("when:")
    text = dating.complete(candidate.text, moment, ahead=ahead)
    since, until = validity.holds_from(candidate.text, moment), validity.until(candidate.text, moment)
    return replace(
        candidate, text=text, holds_from=None if since == moment else since, until=None if isinf(until) else until
    )
