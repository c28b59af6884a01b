"""One rule of the extraction: a pattern over the normal form of a clause, and what it says of the person."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from idiolect.memory import lexicon

_ADVERBS = (
    "really|also|always|usually|often|just|only|still|now|never|finally|actually|currently|mostly"
    "|already|recently|mainly"
    "|simply|kind of|sort of|sorta|kinda|absolutely|totally|completely|generally|normally|personally|both|very|quite|so"
    "|rather|do|officially|basically|sometimes|mostly|occasionally|strictly|lately|secretly|too|pretty|all|even|ever"
    "|definitely|strongly|much|would|since|myself|here|have|'ve|long|no longer|once|almost|nearly|more"
)
MACROS = {
    "A": rf"(?: (?:{_ADVERBS}))*",
    "I": r"(?:i|we)",
    "S": rf"(?:^(?:i'm |i've |we've |we're )?(?:(?:{_ADVERBS}) )*|\b(?:i|we)(?:'ve|'m|'re| have)?(?: "
    rf"(?:{_ADVERBS}))* )",
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
    "NP": r"(?:[\w'&-]+)(?: (?!(?:and|but|so|because|since|for|in|at|on|with|to|from|who|which|that|is"
    r"|are|was)\b)[\w'&-]+){0,4}",
    "W": r"[\w'-]+",
    "WHEN": (
        r"(?:(?:on |in |at |from |until |till |for |to |every |the |this |next |early |late |mid-?|end of "
        r")*(?:<DAY>|<MONTH>|\d{1,2}(?:st|nd|rd|th)|\d{1,2}[:.]\d\d|\d{1,2} ?(?:am|pm)|tomorrow|next (?:week|month"
        r"|year|spring|summer|autumn|fall|winter)|this (?:spring|summer|autumn|fall|winter|weekend|year)|spring"
        r"|summer|autumn|winter|christmas|easter|20\d\d|\d{1,2}/\d{1,2}|\d{1,2}\.\d{1,2}\.?|two weeks|a (?:week"
        r"|month|year)|<N> (?:weeks|months|days)|\d{1,2} <MONTH>|(?<=at )(?:half )?(?:past )?(?:eight|nine|ten"
        r"|eleven|twelve|one|two|three|four|five|six|seven|\d{1,2}))\b)"
    ),
    "EVENT": (
        r"(?:flight|trip|holiday|vacation|conference|wedding|appointment|surgery|operation|op|scan|exam|exams|test"
        r"|interview|hearing|deadline|defen[cs]e|viva|meeting|standup|stand-up|class|classes|lesson|lessons|course"
        r"|rehearsal|practice|training|match|game|concert|gig|exhibition|party|reunion|graduation|move|delivery"
        r"|due date|check-?up|audition|marathon|race|retreat|shift|call|session|therapy|visit|service|launch"
        r"|release|presentation|talk|ceremony|funeral|christening|baptism|bar mitzvah|tournament|recital|show|fair"
        r"|market|mot|contract|lease|visa|passport|permit|review|run|pickup|school run|nursery run|choir|club"
        r"|group|seminar|lecture|workshop|office hours|one-on-one|1:1|sprint|retro|demo|bins|bin day)"
    ),
    "DEICTIC": (
        r"(?!(?:it|that|this|these|those|them|you|your|how|when|what|the (?:idea|first|second|third|last|one|way"
        r"|sound|suggestion|answer|poem|text|plan)|to (?:know|ask|see|get|have|hear|make|find|write|thank|hear)"
        r"|love|him|her)\b)"
    ),
    "LASTS": (
        r"(?:every|each (?:day|week|month|year)|always|never|usually|twice a|once a|\w+ times a|since|for (?:\d+"
        r"|<N>|many) (?:years|months|decades)|from now on|these days|nowadays|any ?more|no longer|all my life|my "
        r"whole life|as a (?:child|kid|teenager)|most (?:days|weekends|mornings|evenings)|on (?:mondays|tuesdays"
        r"|wednesdays|thursdays|fridays|saturdays|sundays|weekends|weekdays)|(?:for|in) \d+ years)"
    ),
    "DATED": (
        r"(?:(?:on|since|in|from|last|next|this|by|until|of|after|before) (?:the )?(?:<DAY>|<MONTH>|week|month"
        r"|year|spring|summer|autumn|fall|winter|weekend|christmas|new year|easter|q[1-4]|20\d\d|19\d\d"
        r"|\d{1,2}(?:st|nd|rd|th)|<N> (?:weeks|months|years)|a (?:week|month|year))|yesterday|tomorrow|(?:<N>|a"
        r"|few) (?:weeks|months|years|days) ago)"
    ),
    "PAST": (
        r"(?:\w{3,}ed|was|went|got|met|came|took|made|began|bought|left|gave|found|lost|won|ran|wrote|became|built"
        r"|broke|chose|grew|held|sold|taught|wore|wound|fell|flew|drove|had|signed|shut|put|let|set|hurt|quit|cut"
        r"|beat|paid|spent|spoke|swam|sang|learnt|closed)"
    ),
    "TASK": (
        r"(?:question|idea|problem|issue|doubt|draft|text|essay|e-?mail|mail|letter|code|script|query|function"
        r"|error|bug|paragraph|sentence|message|poem|story|song|article|report|presentation|slides?|table|list"
        r"|file|data|dataset|csv|spreadsheet|prompt|answer|reply|favou?r|request|thought|feeling|clue|guess|point"
        r"|mind|time|minutes?|hours?|chance|look|day|week|head|plan|recipe|title|caption|cv|resume|bio|cover "
        r"letter|homework|assignment|guests?|people|friends?|meeting|call|test|quiz|exam|headache|cold|cough|fever"
        r"|number|password|version|photo|picture|brain|mood|throat|nose|phone battery|battery|screen|wifi|internet"
        r"|computer|hours|fridge|leftovers)"
    ),
}


@dataclass(frozen=True)
class Rule:
    """A pattern and its reading; what stands in «» must begin with a capital.

    ``slot`` and ``value`` may name groups of the pattern in braces. ``ends``: what it speaks of is over.
    ``news``: it is told as a change. ``own``: the pattern alone does not show whom it is about, so the clause must.
    ``asked``: it also counts inside a question, which presupposes it.
    """

    topic: str
    pattern: str
    slot: str = ""
    value: str = ""
    ends: bool = False
    news: bool = False
    own: bool = False
    asked: bool = False

    def match(self, plain: str) -> re.Match[str] | None:
        """Return where the rule applies to a clause in normal form."""
        return _compiled(self.pattern).search(plain)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    pattern = pattern.replace("«", r"(?-i:(?=[A-ZÀ-Þ]))").replace("»", "")
    while (filled := re.sub(r"<([A-Z]+)>", lambda name: MACROS[name[1]], pattern)) != pattern:
        pattern = filled
    return re.compile(pattern, re.IGNORECASE)
