"""How a person writes, counted: length, parts of speech, reading grade, words, word pairs and names.

Made for English. Parts of speech are told by short lists of common words and by endings, not by a tagger: an
adverb is a listed word or one that ends in "-ly", an adjective a listed word or one of a few sure endings, and the
ones they miss are missed for everybody alike. So the shares are for comparing people, not for reading off a grammar.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from idiolect.text.terms import STOP_WORDS

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?…]+(?=\s|$)|\n+")
_NAME = re.compile(r"[A-Z][\w'’-]*(?: [A-Z][\w'’-]*)+")
_VOWELS = re.compile(r"[aeiouy]+")

_PRONOUNS = frozenset(
    "i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers"
    " herself it its itself they them their theirs themselves".split()
)
_ADVERBS = frozenset(
    "very too quite rather just even still already yet never always often sometimes soon now then here there again"
    " almost also maybe perhaps however instead once twice well ever far away together tomorrow today yesterday"
    " else indeed somewhat".split()
)
_NOT_ADVERBS = frozenset(
    "family reply apply supply july italy fly lovely friendly lonely ugly silly early daily likely rely bully jelly"
    " belly lily rally ally ely holy costly curly deadly elderly lively orderly timely assembly anomaly butterfly"
    " monopoly multiply imply comply".split()
)
_ADJECTIVES = frozenset(
    "good bad new old big small great little long short high low young happy sad nice fine best worst better worse"
    " first last next same other own different easy hard hot cold warm cool fast slow free full empty true false real"
    " right wrong strong weak rich poor early late sweet fresh dry wet clean dirty dark light lovely friendly lonely"
    " ugly silly likely bright quiet loud sure whole main major minor large huge tiny kind smart".split()
)
_ADJECTIVE_ENDINGS = ("ful", "ous", "able", "ible", "less", "ical", "ative", "itive", "essive", "ctive")
_NOT_ADJECTIVES = frozenset("table cable vegetable unless bible mouthful spoonful handful detective".split())

_MOST = 50
"""So many words, pairs and names are kept."""


@dataclass(frozen=True)
class Features:
    """Means over a person's texts; ``words``, ``pairs`` and ``names`` give in what share of the texts each occurs."""

    length: float = 0.0
    """Words a text."""
    adverbs: float = 0.0
    """Share of the words."""
    adjectives: float = 0.0
    pronouns: float = 0.0
    grade: float = 0.0
    """SMOG reading grade (McLaughlin 1969), over all texts together."""
    words: tuple[tuple[str, float], ...] = ()
    """Content words, the most frequent first."""
    pairs: tuple[tuple[str, float], ...] = ()
    """Neighbouring words, not both function words, in at least two texts."""
    names: tuple[tuple[str, float], ...] = ()
    """Runs of capitalised words, as in "New York"; texts that capitalise most of their words are passed over."""

    @property
    def numbers(self) -> tuple[float, ...]:
        """Length, shares of adverbs, adjectives and pronouns, grade."""
        return self.length, self.adverbs, self.adjectives, self.pronouns, self.grade


def features(texts: Sequence[str]) -> Features:
    """Count what is typical of some texts; empty texts are passed over, without any text everything is zero."""
    written = [text for text in texts if _WORD.search(text)]
    if not written:
        return Features()
    split = [[word.lower().replace("’", "'") for word in _WORD.findall(text)] for text in written]
    every = [word for words in split for word in words]
    return Features(
        length=len(every) / len(written),
        adverbs=sum(map(is_adverb, every)) / len(every),
        adjectives=sum(map(is_adjective, every)) / len(every),
        pronouns=sum(word in _PRONOUNS for word in every) / len(every),
        grade=_grade(written, every),
        words=_common([content_words(text) for text in written], 1),
        pairs=_common([_pairs(words) for words in split], 2),
        names=_common([_names(text) for text in written], 1),
    )


def content_words(text: str) -> set[str]:
    """Return a text's words of at least three letters that carry a topic, in lower case."""
    return {
        word for word in _WORD.findall(text.lower()) if len(word) > 2 and word not in STOP_WORDS and "'" not in word
    }


def is_adverb(word: str) -> bool:
    """Whether a lower-case word is listed as an adverb or ends like one."""
    return word in _ADVERBS or (len(word) > 3 and word.endswith("ly") and word not in _NOT_ADVERBS)


def is_adjective(word: str) -> bool:
    """Whether a lower-case word is listed as an adjective or ends like one."""
    return word in _ADJECTIVES or (len(word) > 5 and word.endswith(_ADJECTIVE_ENDINGS) and word not in _NOT_ADJECTIVES)


def syllables(word: str) -> int:
    """Return the number of groups of vowels of a lower-case English word, a silent final "e" not counted."""
    silent = word.endswith("e") and not word.endswith("le") and len(_VOWELS.findall(word)) > 1
    return max(1, len(_VOWELS.findall(word)) - silent)


def _grade(texts: Sequence[str], words: Sequence[str]) -> float:
    sentences = sum(bool(_WORD.search(part)) for text in texts for part in _SENTENCE_END.split(text))
    long_words = sum(syllables(word) >= 3 for word in words)
    return float(3.1291 + 1.043 * (30 * long_words / max(1, sentences)) ** 0.5)


def _pairs(words: Sequence[str]) -> set[str]:
    return {f"{a} {b}" for a, b in pairwise(words) if not (a in STOP_WORDS and b in STOP_WORDS)}


def _names(text: str) -> set[str]:
    words = _WORD.findall(text)
    if sum(word[0].isupper() for word in words) * 2 > len(words):  # a headline
        return set()
    found = set()
    for run in _NAME.findall(text):
        parts = run.split()
        while parts and parts[0].lower() in STOP_WORDS:  # the word that opens a sentence
            parts = parts[1:]
        if len(parts) > 1:
            found.add(" ".join(parts))
    return found


def _common(sets: Sequence[set[str]], least: int) -> tuple[tuple[str, float], ...]:
    """Return in what share of the sets each entry is, the commonest first, ties by the alphabet."""
    counts = Counter(entry for one in sets for entry in one)
    best = sorted((item for item in counts.items() if item[1] >= least), key=lambda item: (-item[1], item[0]))[:_MOST]
    return tuple((entry, count / len(sets)) for entry, count in best)
