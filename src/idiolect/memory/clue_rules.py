"""Clues by rules: other wordings of a question that what answers it is likely to have. English, no model call."""

from __future__ import annotations

import re

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
