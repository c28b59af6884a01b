"""Clues by rules: other wordings of a question that what answers it is likely to have. English, no model call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from idiolect.text.features import content_words
from idiolect.text.terms import STOP_WORDS

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_QUOTED = re.compile(r"[\"“]([^\"“”]{2,80})[\"”]")
_NAME = re.compile(r"[A-Z][\w'’-]*(?: (?:of |the )?[A-Z][\w'’-]*)*")
_LEAD = re.compile(
    r"^(?:please |hey |so |and )*(?:(?:can|could|would|will) you (?:please )?(?:tell|remind) me|(?:tell|remind) me"
    r"|do you (?:know|remember|recall))(?: about)?[ ,:]+",
    re.IGNORECASE,
)
_AUXILIARIES = "am is are was were has have had do does did will would can could should may might"
_ASKED = re.compile(
    r"^(?:(?P<object>(?:what|which|whose|how many|how much)(?: (?!(?:"
    + _AUXILIARIES.replace(" ", "|")
    + r")\b)[\w'’-]+){1,6})"
    r"|(?:what|which|who|whom|where|when|why|how(?: (?:long|often|much|far|old|big))?))?\s*"
    r"\b(?P<auxiliary>" + _AUXILIARIES.replace(" ", "|") + r")\b (?P<rest>.+)$",
    re.IGNORECASE,
)
_OPENING = re.compile(r"^(?:what|which|who|whom|whose|where|when|why|how(?: (?:long|often|much|many|far))?)\b ", re.I)
_QUANTITY = re.compile(r"^(?:what|which|whose|how (?:many|much)) ", re.IGNORECASE)
_SUBJECT = re.compile(
    r"(?:(?:I|we|you|he|she|it|they|there|this|that)\b"
    r"|(?:(?:my|our|your|his|her|their|the|a|an|[A-Z][\w-]*['’]s|[\w-]+s['’])(?: [A-Z][\w-]*['’]s)? )[\w'’-]+"
    r"|[A-Z][\w-]*(?:(?:,? and|,)? [A-Z][\w-]*)*)"
    r"(?: and (?:I|you|he|she|they|(?:my|our|your|his|her|their) [\w'’-]+))?"
)
_IRREGULAR = dict(
    pair.split(":") for pair in
    "be:was become:became begin:began break:broke bring:brought build:built buy:bought catch:caught choose:chose"
    " come:came cost:cost cut:cut do:did draw:drew drink:drank drive:drove eat:ate fall:fell feed:fed feel:felt"
    " fight:fought find:found fly:flew forget:forgot get:got give:gave go:went grow:grew hang:hung have:had hear:heard"
    " hide:hid hit:hit hold:held hurt:hurt keep:kept know:knew lead:led learn:learned leave:left lend:lent let:let"
    " lose:lost make:made mean:meant meet:met pay:paid put:put quit:quit read:read ride:rode run:ran say:said see:saw"
    " sell:sold send:sent set:set shoot:shot show:showed sing:sang sit:sat sleep:slept speak:spoke spend:spent"
    " stand:stood swim:swam take:took teach:taught tell:told think:thought throw:threw understand:understood wake:woke"
    " wear:wore win:won write:wrote".split()
)  # fmt: skip
_MONTHS = frozenset("January February March April May June July August September October November December".split())
_AGO = re.compile(r"\b(\d+|an?|two|three|four|five|six|seven|eight|nine|ten) (day|week|month|year)s? ago\b")
_NUMBERS = {word: n for n, word in enumerate("a two three four five six seven eight nine ten".split(), 1)} | {"an": 1}
_LATELY = re.compile(r"\b(?:(yesterday|today)|(last|this) (week|month|year))\b")


def content(question: str) -> str:
    """Return the question's words that carry a topic, in their order."""
    kept = content_words(question)
    return " ".join(dict.fromkeys(word for word in _WORD.findall(question) if word.lower() in kept))


def names(question: str) -> list[str]:
    """Return what a question names: quoted titles, and capitalised runs that do not open a sentence."""
    found = dict.fromkeys(_QUOTED.findall(question))
    question = _QUOTED.sub(" … ", question)
    for match in _NAME.finditer(question):
        words = re.sub(r"['’]s\b", "", match[0]).split()
        opens = not question[: match.start()].strip() or question[: match.start()].rstrip()[-1] in ".!?"
        words = words[1:] if opens else words
        while words and words[0].lower() in STOP_WORDS:
            words = words[1:]
        if words and words[0] not in _MONTHS:
            found.setdefault(" ".join(words))
    return list(found)


def statement(question: str) -> str:
    """Return what an answer would say, its gap left out, or nothing where the question has no such form.

    "When did I move to Berlin?" becomes "I moved to Berlin", "Where is my passport?" becomes "my passport is".
    """
    told = _LEAD.sub("", question.strip().split("\n")[-1]).rstrip("?!. ")
    led = told != question.strip().split("\n")[-1].rstrip("?!. ")
    match = _ASKED.match(told)
    subject = _SUBJECT.match(match["rest"]) if match else None
    if match is None or subject is None:
        opening = _OPENING.match(told)
        return told[opening.end() :] if opening and (led or match is None) else ""
    rest = match["rest"][subject.end() :].split()
    auxiliary = match["auxiliary"].lower()
    if auxiliary == "did" and rest:
        rest[0] = past(rest[0])
    if auxiliary not in ("did", "do", "does"):
        rest.insert(0, auxiliary)
    if match["object"]:
        rest.append(_QUANTITY.sub("", match["object"]))
    return " ".join([subject[0], *rest]) if rest else ""


def past(verb: str) -> str:
    """Return the past tense of an English verb."""
    low = verb.lower()
    if low in _IRREGULAR:
        return _IRREGULAR[low]
    if low.endswith("e"):
        return verb + "d"
    if re.search(r"[^aeiou]y$", low):
        return verb[:-1] + "ied"
    if re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", low):
        return verb + verb[-1] + "ed"
    return verb + "ed"


def dates(question: str, now: float) -> str:
    """Return the calendar dates that "yesterday", "last month" or "two weeks ago" mean at ``now``, as words.

    A week is its seven days. Empty where nothing of the kind is named.
    """
    today, low = datetime.fromtimestamp(now, UTC), question.lower()
    named = [_lately(match.groups(), today) for match in _LATELY.finditer(low)]
    named += [_ago(_NUMBERS.get(match[1]) or int(match[1]), match[2], today) for match in _AGO.finditer(low)]
    return " ".join(dict.fromkeys(filter(None, named)))


def _lately(found: Sequence[str | None], today: datetime) -> str:
    day, which, unit = found
    if day:
        return _day(today - timedelta(days=day == "yesterday"))
    return _ago(int(which == "last"), unit or "", today)


def _ago(n: int, unit: str, today: datetime) -> str:
    if n > 9999 or (unit == "year" and n >= today.year):
        return ""
    if unit == "day":
        return _day(today - timedelta(days=n))
    if unit == "week":
        monday = today - timedelta(days=today.weekday() + 7 * n)
        return " ".join(_day(monday + timedelta(days=i)) for i in range(7))
    if unit == "year":
        return str(today.year - n)
    months = today.year * 12 + today.month - 1 - n
    return f"{datetime(months // 12, months % 12 + 1, 1):%B} {months // 12}" if months >= 12 else ""


def _day(date: datetime) -> str:
    return f"{date.day} {date:%B %Y}"
