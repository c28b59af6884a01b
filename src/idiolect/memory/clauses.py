"""The clauses of a message: where one ends and the next begins, which of them ask, and their normal form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from idiolect.memory.lexicon import JOBS

_ABBREVIATED = (
    r"(?<!\bmr)(?<!\bdr)(?<!\bmrs)(?<!\bms)(?<!\bst)(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\bprof)(?<!\ba\.m)(?<!\bp\.m)"
)
_SENTENCE = re.compile(
    rf"{_ABBREVIATED}(?<=[.!?…])[\"'”»)\]]*\s+|\n+|(?<=[\U0001F300-\U0001FAFF\u2600-\u27bf])\s+", re.I
)
_SUBJECT = (
    r"(?:i|i'?m|i'?ve|i'?d|i'?ll|we|we'?re|we'?ve|my|our|me and|he|he'?s|she|she'?s|they|they'?re"
    r"|they'?ve|there(?:'?s| is)"
    r"|it|it'?s|its|you|you'?re|that'?s|this is|who|nobody|everyone|doc|doctor|the (?!«)\w+ (?:is|are|was|has|says?))"
)
_ASK = (
    r"(?:wh(?:at|ats|at's|ich|ere|en|y|o|ose)|how|hows|how's|any|can|could|would|will|should|shall|do|does|did|is|are"
    r"|give|need|tell|suggest|recommend|show|help|write|make|explain|find|list|please|pls|plz|best|got any|ideas"
    r"|draft|rewrite|translate|plan|keep|fix|change|update|add|compare)"
)
_FINITE = (
    r"(?:am|was|work|live|have|had|need|want|play|moved|bought|sold|started|stopped|quit|got|love"
    r"|hate|like|prefer|study"
    r"|teach|run|drive|eat|speak|carry|carries|has|is|takes?|own|use|just|now|can'?t|cannot|don'?t"
    r"|never|only|also|works"
    r"|studies|lives|plays|left|became|turned|no longer|still|switched|gave|broke|said|says)"
)
_BREAK = re.compile(
    rf"\s*(?:;|\s[-–—]+\s|[–—]|\s*\.\.\.+|…|\((?=[^)]*\s)|:\s(?!\w+$))\s*"
    r"|,?\s+(?=(?:and|but|so|because|coz|cause|cuz|since|though|although|while|anyway|then|plus"
    r"|also|as|cos|which|where"
    r"|except|yet|n|&)\s+(?:now |then |also |just |really |still |even |actually |honestly "
    rf"|please )*(?:{_SUBJECT}|{_ASK})\b)"
    rf"|,\s+(?=(?:{_SUBJECT}|{_ASK})\b)"
    rf"|,\s+(?=(?:and )?(?:the )?[\w'-]+ (?:is|are|was) (?:on|at|in|now|gone|dead|healed|low|bad|closed|sold)\b)"
    rf"|(?<=[a-zà-þ]),\s+(?=(?:an? |the )?(?:[\w-]+ )?(?:{JOBS}|founder|owner)\b (?:in|at|for|of|from|by|on)\b)"
    rf"|\s+(?=(?:and|but)\s+{_FINITE}\b)"
    rf"|,\s+(?=(?:and |but |or )?(?:{_FINITE})\b)",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"^(?:[\s\W]*\b(?:and|but|so|ok(?:ay)?|well|oh|ah|uh|um|uff|ugh|hey|hi|hello|yo|hiya|right(?! "
    r"now)|now|anyway|also|btw|by the way"
    r"|fyi|plus|then|honestly|actually|basically|look|listen|yeah|yes|yep|yup|sure"
    r"|no(?=\s*[,.!;–-])|nope|nah|exactly|correct|true|lol"
    r"|haha\w*|thanks|thank you|please|pls|big news|good news|bad news|guess what|update|for context|context"
    r"|just so you know|for the record|as you know|fun fact|real talk|ok real talk|bro|dude|man|mate|morning|evening"
    r"|good morning|good afternoon|good evening|salaam|sorry|correction|note|as it happens|turns "
    r"out|because|cause|coz|cuz"
    r"|cos|since|though|although|while|n|cheers|wait|hmm+|omg|great|cool|nice|perfect|ps|p\.s|you know|first|firstly"
    r"|secondly|thirdly|lastly|one more thing|to be clear|reminder(?: for me)?|except|yet"
    r"|that said|on second thought|in case it matters|if it helps|if it matters|before i "
    r"forget)(?!['’\w-])[\s,.:!…–-]*)+",
    re.IGNORECASE,
)
_TAIL = re.compile(
    r"(?:[\s,.!…-]*\b(?:btw|by the way|lol|haha\w*|lmao|thanks|thank you|thx|please|pls|though|tho|fyi|anyway|yay|ugh"
    r"|you know|as you know|by now|thank god|if that helps|if it matters|in case it matters|xx?"
    r"|mate|lads|man|bro))+[\s.!]*$"
    r"|[\s,;:.!–-]+$|\s*\($",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"^(?:(?:and|but|so|ok|okay|well|oh|hey|hi|hello|now|then|also|btw|or|please|pls|plz|yo|just"
    r"|anyway|kindly|right)[\s,]+)*"
    r"(?:wh(?:at|ats|at's|ich|ere|en|y|o|ose|o's|om|ere's)|how|hows|how's|can|could|would|will"
    r"|should|shall|do(?! not)|does|did"
    r"|is|are|am|was|were|has|may|might|any (?:idea|tip|advice|chance|good)\w*|ideas?|tips?"
    r"|which)\b(?! (?:i|we) (?:live|work)\b)",
    re.IGNORECASE,
)
_ORDERS = re.compile(
    r"^(?:(?:please|pls|plz|kindly|now|then|so|and|just|ok|hey|can you|could you)[\s,]+)*"
    r"(?:give|tell|show|write|make|draft|suggest|recommend|explain|summari[sz]e|translate|rewrite|rephrase|proofread"
    r"|correct|check|fix|help|find|list|compare|create|plan|compose|refactor|convert|define|describe|calculate|shorten"
    r"|polish|edit|remind|turn|add|put|change|improve|ignore|pretend|imagine|tidy|revise|generate|design|need|want|look"
    r"|let|lemme|gimme|read|review|pick|choose|come up|send|schedule|book|estimate|level|carry on|continue)\b",
    re.IGNORECASE,
)
_HEADLESS = re.compile(rf"^(?:and |but |or )?{_FINITE}\b(?! (?:i|we|my)\b)", re.IGNORECASE)
_PAIR = re.compile(
    r"^(?:(?:so|well|ok|oh|but|and|also|hey|hi)[, ]+)?(?:(?:my|our|me) [\w'-]+(?: [\w'-]+)?|[A-ZÀ-Þ][\w'-]+)$"
)
_AND_I = re.compile(r"^(?:and|&|n) (?:i|me)\b", re.IGNORECASE)
_NOT_BUT, _IT_IS = re.compile(r"\bnot [\w:]+$", re.IGNORECASE), re.compile(r"^(?:it's|it is|its)\b", re.IGNORECASE)
_CAN_YOU = re.compile(
    r"^(?:(?:and|but|so|ok|please|also|hey)[\s,]+)*(?:can|could|would|will) (?:you|u|ya)\b", re.IGNORECASE
)
_STOP = re.compile(r"[.!][\s)\"'!.]*$")
_REASON = re.compile(
    r"^(?:and )?(?:since|because|cause|coz|cuz|given that) (?:i|i'?m|i'?ve|we|my|our)\b", re.IGNORECASE
)
_HE_SHE = re.compile(
    r"^(?:and |but |so |because |though )*(?:he|he's|she|she's|they|they're|hes|shes)\b", re.IGNORECASE
)
_SPEAKER = re.compile(r"\b(?:i|i'?m|i'?ve|we|we'?re|we'?ve)\b", re.IGNORECASE)
_QUESTION_END = re.compile(r"\?[\s)\"'!?]*$")
_NOT_THAT = re.compile(r"(?<=\w)\.\s+(?=not (?:the )?[\w:]+\s*[.!]?\s)", re.IGNORECASE)
_PLAIN = {
    "im": "i'm",
    "ive": "i've", "dont": "don't", "cant": "can't", "doesnt": "doesn't", "isnt": "isn't", "wont": "won't",
    "didnt": "didn't",
    "wasnt": "wasn't", "arent": "aren't", "havent": "haven't", "hasnt": "hasn't", "couldnt": "couldn't",
    "ur": "your", "u": "you", "tmrw": "tomorrow", "tmr": "tomorrow", "gonna": "going to", "wanna": "want to",
    "gotta": "have to", "bday": "birthday", "cuz": "because", "coz": "because", "cos": "because", "yrs": "years",
    "yr": "year", "w": "with", "&": "and", "wifes": "wife's", "husbands": "husband's", "hes": "he's", "shes": "she's",
    "theyre": "they're", "thats": "that's", "cannot": "can't", "tho": "though", "rn": "right now", "n": "and",
    "xmas": "christmas", "wks": "weeks", "hrs": "hours", "lbs": "pounds", "weve": "we've", "wouldnt": "wouldn't",
    "ppl": "people", "smth": "something", "uni": "university", "i'd": "i'd",
}  # fmt: skip
_TOKEN = re.compile(r"[^\W_][\w'’-]*|&")
_AM = re.compile(
    r"\b(i) am\b|\b(we) are\b|\b(i|we) have(?= (?:been|got|had|just|always|never|recently|\w+ed"
    r"|become|taken|given|quit|sold|bought|left|moved)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause of a message.

    ``text`` is in the person's words, without what leads in and out; ``plain`` its normal form. ``asks`` says that it
    is a question or an order, ``orders`` that it is an order; ``lead`` what led into it; ``sentence`` the number of its
    sentence, and
    ``whole`` that sentence.
    """

    text: str
    plain: str
    asks: bool
    orders: bool
    lead: str
    sentence: int
    whole: str


def plain(text: str) -> str:
    """Return the normal form that rules are matched against: written-out short forms, single spaces, case as it is."""
    low = " ".join(text.replace("’", "'").split())
    low = _TOKEN.sub(lambda match: _PLAIN.get(match[0].lower(), match[0]), low)
    return _AM.sub(lambda m: "I'm" if m[1] else "we're" if m[2] else f"{m[3]}'ve", low)


def clauses(text: str) -> list[Clause]:
    """Return the clauses of a text in order."""
    found = []
    text = _NOT_THAT.sub(", ", f"{text} ")
    for number, sentence in enumerate(filter(None, (one.strip() for one in _SENTENCE.split(text)))):
        found += list(_of_sentence(sentence, number))
    return found


def _of_sentence(sentence: str, number: int) -> Iterator[Clause]:
    pieces = [piece for piece in _pieces(sentence) if re.search(r"\w", piece)]
    for at, piece in enumerate(pieces):
        last = at == len(pieces) - 1
        orders = bool(_ORDERS.search(piece) or _CAN_YOU.search(piece))
        asks = (
            orders
            or bool(_ASKS.search(piece))
            or (last and not _REASON.match(piece) and bool(_QUESTION_END.search(sentence)))
        )
        lead = _LEAD.match(piece)
        body = piece[lead.end() :] if lead else piece
        body = _TAIL.sub("", _TAIL.sub("", body)).strip(" ,;:\"'")
        body = f"{body}." if body and last and _STOP.search(sentence) else body
        if body:
            yield Clause(body, plain(body.rstrip(".")), asks, orders, plain(lead[0]) if lead else "", number, sentence)


def _pieces(sentence: str) -> Iterator[str]:
    """Cut a sentence; what has no subject of its own stays with a subject that is not the speaker."""
    start = at = 0
    for match in _BREAK.finditer(sentence):
        head, tail = sentence[start : match.start()], sentence[match.end() :]
        if match.start() <= at or _one(head, tail):
            continue
        yield head
        start = at = match.end()
    yield sentence[start:]


def _one(head: str, tail: str) -> bool:
    """Whether what follows a break belongs to the clause before it."""
    if _PAIR.search(head) and _AND_I.match(tail):
        return True
    if _NOT_BUT.search(head) and _IT_IS.match(tail):
        return True
    if _HEADLESS.match(tail) and not _SPEAKER.search(head):
        return True
    return bool(_HE_SHE.match(tail) and not _ASKS.search(head) and not _ORDERS.search(head))
