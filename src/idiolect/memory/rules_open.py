"""Rules for what no list foresees: a plain statement of the speaker counts where its form says that it lasts."""

from __future__ import annotations

from idiolect.memory.rule import Rule

OPEN = (
    Rule(
        "health",
        r"\b(?:doc(?:tor)?s?|gp|physio|surgeon|specialist|consultant|\w+ologist|psychiatrist|optician"
        r"|dentist|hospital|clinic)<A> "
        r"(?:says?|said|thinks?|found|confirmed|reckons)(?: that)? (?:it's|it is|i have|i've got|i've"
        r"|i've developed) (?P<x><W>)",
        slot="health:{x}",
        value="+",
        news=True,
    ),
    Rule(
        "health",
        r"\bmy (?:left |right |lower |upper |both |old |own )?(?P<x><BODY>|iron|ferritin|blood sugar|sugar"
        r"|vitamin d|b12|thyroid|cholesterol|bp|bones|joints|skin|gut|balance|memory|blood|sinuses|jaw|teeth)(?:'s"
        r"|s)?(?: is| are| has| have| gets?| levels?)* (?:too |very |so |really |quite |always |a bit )*(?:low"
        r"|high|bad|weak|gone|swell\w*|hurts?|aches?|stiff|numb|poor|fail\w*|dislocat\w+|damaged|tremble\w*"
        r"|give\w* (?:me|out)|play\w* up|act\w* up|bother\w*)\b",
        slot="health:{x}",
        value="+",
    ),
    Rule(
        "health",
        r"\b(?:my |the |our )?(?:doctors?|doc|gp|physio|specialist|surgeon|cardiologist)\b.*\b(?P<x><ILL>|<BODY>"
        r"|discs?|lift\w*|sugar|salt|iron|pressure|rest|walk\w*|fracture)\b",
        slot="health:{x}",
        value="+",
    ),
    Rule(
        "health",
        r"\b(?:i|my <KIN>|he|she) (?:get|gets|come out in|came out in|break out in|broke out in) (?:a |an |bad "
        r"|really )?(?:hives|rash|rashes|migraines?|cramps|panic attacks|seizures?|dizzy|faint|red skin|swollen"
        r"|sick) (?:from|when|if|with|after) (?P<x><REST>)",
        slot="allergy:{x}",
        value="+",
    ),
    Rule(
        "health",
        r"\bi<A> (?:can't|can not|mustn't|must not|am not allowed to|'m not allowed to|shouldn't) (?:lift|eat"
        r"|drink|have|take|touch|fly|bend|kneel|run|be around|stand (?:for|up|long)|sit)\b(?! (?:it|this|that)\b)",
    ),
    Rule(
        "schedule",
        r"^(?:(?!(?:i|we|book|set|remind|schedule|add|move|put|is|are|can|make|write|on|at|from|until"
        r"|by)\b)[\w'&-]+ ){1,4}(?:is |are |on |every )?(?:<DAY>)(?:(?:,| and|-|/| to| &)+ ?<DAY>)* (?:at |from "
        r")?\d{1,2}(?:[:.]\d\d)?(?: ?(?:am|pm|h|uhr))?\b.*$",
    ),
    Rule(
        "schedule",
        r"^(?:my |our |the )?(?P<x>[\w'-]+(?: [\w'-]+)?),? (?:is |are )?(?:now )?(?:at |from "
        r")?(?P<y>\d{1,2}[:.]\d\d(?: ?[ap]m)?|\d{1,2} ?[ap]m)(?:,? not .*)?(?: now)?$",
        slot="when:{x}",
        value="{y}",
    ),
    Rule(
        "work",
        r"\b(?:clos\w+|shut\w*|wound|sold|gave|wind\w*)(?: up| down)? (?:the|my|our) (?P<x>shop|store|business"
        r"|company|firm|restaurant|café|cafe|studio|practice|salon|farm|bakery|pub|startup|clinic|gallery"
        r"|stall)\b(?! for (?:the day|lunch))|^(?:the|my|our) (?P<y>shop|store|business|company|firm|restaurant"
        r"|studio|practice|salon|bakery|pub|startup)(?: is|'s| has)(?: now)? (?:closed|shut|gone|sold|no more"
        r"|bankrupt|bust)\b",
        slot="job",
        value="closed {x}{y}",
        news=True,
    ),
    Rule(
        "work",
        r"^(?P<x>(?:co-?)?(?:founder|owner|ceo|cto|cfo|coo|vp|head|partner|chair|chairman|chairwoman|member"
        r"|volunteer|president|leader|principal|chief) (?:of|at|in) <REST>)|\bi'm (?:the |a |an "
        r")?(?P<y>(?:co-?)?(?:founder|owner|ceo|cto|cfo|vp|head|pm|chair|member|president|leader|principal|vice "
        r"[\w-]+)\b.*)|\bas (?:a|an) (?P<z>pm|ceo|cto|qa|sre|dba|ux \w+|product \w+)\b",
        slot="job",
        value="{x}{y}{z}",
    ),
    Rule(
        "work",
        r"\bi'm (?:now |currently |still |mostly |finally |also )*(?P<x>(?:teaching|working|training|managing"
        r"|running|freelancing|writing|nursing|farming|leading|coaching|consulting|volunteering|apprenticing"
        r"|interning|researching)\b (?:for|at|in|with|as|a|an|the|on)?.*(?:from now on|now|these days|since|at|for"
        r"|as)\b.*)",
        slot="job",
        value="{x}",
    ),
    Rule(
        "other",
        r"\b<I>(?:'m|'re|'ve|'ve been|'d)?<A> (?!think|guess|know|hope|mean|see|wonder|want|wanted|need|needed"
        r"|tried|have to|had to|got to|asked|feel|felt|keep getting|get|am getting)[\w'-]+\b.*\b<LASTS>\b",
    ),
    Rule(
        "other",
        r"\bi(?:'m|'ve)?<A> (?:always|never|usually|no longer) (?!know|get this|remember|understand|seen|heard"
        r"|thought|mind|ask|forget)[\w'-]+\b",
    ),
    Rule(
        "other",
        r"<S>(?!need|asked|tried|used|forgot|wanted|thought|heard|saw|watched|ate|cooked|made|bought|went|slept"
        r"|sent|called|got|had|met|looked|finished reading|read|said|told|promised|feed|seed|red|bed|bored|tired"
        r"|worried)<PAST>\b(?! (?:this|that|it) (?:recipe|error|text))(?: [\w'£$€.-]+)+?,? <DATED>",
        news=True,
    ),
    Rule(
        "plan",
        r"\b(?:i|we|i'm|we're)(?:'ll)?<A> (?!think|guess|know|hope|mean|wonder|want|need|have to|had|must|could"
        r"|feel|was|were|did|saw|watched|read|ate|heard|cooked|<PAST>\b)[\w'-]+\b(?: [\w'£$€.-]+)*?,? (?:on|in"
        r"|from|next|this|at the end of|by) (?:the )?(?:last of |end of |first of |\d+ |)?(?:<DAY>|<MONTH>|week"
        r"|month|year|spring|summer|autumn|fall|winter|20\d\d|\d{1,2}(?:st|nd|rd|th)|q[1-4])\b",
    ),
    Rule(
        "other",
        r"<S>(?:switched|changed|converted|gone back|went back|going back|moved over|migrated)(?: from <NP>)? to "
        r"(?P<x>(?!this|that|it|the (?:second|other|first))<NP>)",
        news=True,
    ),
    Rule(
        "other",
        r"^(?:[\w'&-]+ ){1,4}since (?:<DAY>|<MONTH>|this|last|20\d\d|19\d\d|yesterday|christmas)\b",
        news=True,
    ),
    Rule(
        "other",
        r"\b(?:my|our) (?!(?:<W> )?<TASK>s?\b)(?P<x><W>(?: <W>)?) (?:is|are)(?: <W>){0,2} (?!on the|not working"
        r"|broken|due|late|stuck|too|so|slow|missing|wrong)(?:<W>)(?: <W>)*$",
    ),
    Rule(
        "possession",
        r"\b(?:i|we)(?:'ve| have| do)? (?:have|own|got|'ve got|keep|wear|use|run|no have)<A> (?!(?:(?:a|an|the"
        r"|some|any|no|this|that|these|my|your|<N>|\d+|got|lots|a lot|more|many|much|few|also|quick|<W>) "
        r"){0,3}<TASK>s?\b)(?!(?:to|been|had|done|no idea|\w+ed|never|already|it|this|that|you|these|those|them|up"
        r"|out|a lot|lots|no clue|trouble|difficulty|half|some|<N> <FOOD>|<FOOD>|\d+ ?(?:g|ml|kg|eggs?))\b)(?:a|an"
        r"|my|no|the|insurance|<N>|\d+|<W>) <W>\b.*",
    ),
)
