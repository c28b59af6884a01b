"""One rule of the extraction: a pattern over the normal form of a clause, and what it says of the person."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from idiolect.memory import lexicon

_ADVERBS = (
    "really|also|always|usually|often|just|only|still|now|never|finally|actually|currently|mostly|already|recently|mainly"
    "|simply|kind of|sort of|sorta|kinda|absolutely|totally|completely|generally|normally|personally|both|very|quite|so"
    "|rather|do|officially|basically|sometimes|mostly|occasionally|strictly|lately|secretly|too|pretty|all|even|ever"
    "|definitely|strongly|much|would|since|myself|here|have|'ve|long|no longer|once|almost|nearly|more"
)
MACROS = {
    "A": rf"(?: (?:{_ADVERBS}))*",
    "I": r"(?:i|we)",
    "S": rf"(?:^(?:i'm |i've |we've |we're )?(?:(?:{_ADVERBS}) )*|\b(?:i|we)(?:'ve|'m|'re| have)?(?: (?:{_ADVERBS}))* )",
    "IM": r"(?:i'm|i'm not|we're|i was|been)",
    "MY": r"(?:my|our|me|mine)",
    "THE": r"(?:the |a |an |my |our |some |his |her )?",
    "NOT": r"(?:don't|do not|does not|doesn't|can't|never|won't|didn't|not|no longer|hardly|rarely)",
    "KIN": f"(?:{lexicon.KIN})",
    "CLOSE": f"(?:{lexicon.CLOSE_KIN})",
    "JOB": f"(?:{lexicon.JOBS})",
    "DIET": f"(?:{lexicon.DIETS})",
    "ILL": f"(?:{lexicon.CONDITIONS})",
    "MED": f"(?:{lexicon.MEDICINES})",
    "BODY": f"(?:{lexicon.BODY})",
    "AILING": f"(?:{lexicon.AILING})",
    "FOOD": f"(?:{lexicon.FOODS})",
    "ALLERGEN": f"(?:{lexicon.ALLERGENS})",
    "PET": f"(?:{lexicon.PETS})",
    "DRUG": f"(?:{lexicon.DRUGS})",
    "CAR": f"(?:{lexicon.VEHICLES})",
    "THING": f"(?:{lexicon.THINGS}|{lexicon.VEHICLES})",
    "LANG": f"(?:{lexicon.LANGUAGES})",
    "NATION": f"(?:{lexicon.NATIONS})",
    "FAITH": f"(?:{lexicon.FAITHS})",
    "DO": f"(?:{lexicon.ACTIVITIES})",
    "MONTH": f"(?:{lexicon.MONTHS})",
    "DAY": f"(?:{lexicon.DAYS})",
    "N": f"(?:{lexicon.NUMBERS})",
    "AGE": f"(?:{lexicon.AGES})",
    "REST": r"[^,.;:!?()]+",
    "NP": r"(?:[\w'&-]+)(?: (?!(?:and|but|so|because|since|for|in|at|on|with|to|from|who|which|that|is|are|was)\b)[\w'&-]+){0,4}",
    "W": r"[\w'-]+",
}


@dataclass(frozen=True)
class Rule:
    """A pattern and its reading; what stands in «» must begin with a capital.

    ``slot`` and ``value`` may name groups of the pattern in braces. ``ends``: what it speaks of is over. ``news``: it is
    told as a change. ``own``: the pattern alone does not show whom it is about, so the clause must. ``asked``: it also
    counts inside a question, which presupposes it. ``follows``: what names it may stand in the next clauses.
    """

    topic: str
    pattern: str
    slot: str = ""
    value: str = ""
    ends: bool = False
    news: bool = False
    own: bool = False
    asked: bool = False
    follows: bool = False

    def match(self, plain: str) -> re.Match[str] | None:
        """Return where the rule applies to a clause in normal form."""
        return _compiled(self.pattern).search(plain)


@lru_cache(maxsize=None)
def _compiled(pattern: str) -> re.Pattern[str]:
    pattern = pattern.replace("«", r"(?-i:(?=[A-ZÀ-Þ]))").replace("»", "")
    return re.compile(re.sub(r"<([A-Z]+)>", lambda name: MACROS[name[1]], pattern), re.IGNORECASE)
