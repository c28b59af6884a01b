"""Rules for what is to come and what comes again: plans, appointments, times of named things, money."""

from __future__ import annotations

from idiolect.memory.rule import Rule

EVENTS = (
    Rule(
        "schedule",
        r"\b(?:moved|changed|rescheduled|postponed|pushed|switched|shifted|brought forward|swapped|cancelled"
        r"|canceled|called off|delayed)\b (?:us |me |my |our |the |it )*(?P<x>(?:<W> "
        r"){0,3}?<EVENT>)?\b.*?\b(?P<y>(?:to|until|till|from|by) .*|cancelled|canceled|called off)$",
        slot="when:{x}",
        value="{y}",
        news=True,
    ),
    Rule(
        "schedule",
        r"\b(?P<x>(?:(?!my|our|the|a|an|for|of)[\w'-]+ )?<EVENT>)\b(?:(?: in| of| for| with| at) (?:the |my |our "
        r")?<W>(?: <W>)?(?: <W>)?)?(?:'s| is| are| was| will be| has been| starts| begins| runs| takes place| got"
        r"|,| at)(?: now| always| actually| moved| back| again| set| booked| scheduled| due| on| in)* "
        r"(?P<y><WHEN>.*)",
        slot="when:{x}",
        value="{y}",
    ),
    Rule(
        "schedule",
        r"\bi<A> (?:do|have|go to|take|run|teach|attend|pick up|drop off|work|swim|train|play|leave|get up|wake"
        r"|wake up|go|see|meet|visit|babysit|look after|volunteer)\b.*\b(?:every|each|on|at|most|<DAY>|in the "
        r"mornings?)\b.*?(?:<DAY>|<DAY>s|week|day|morning|evening|night|month|year|\d)\b|\bevery (?:<DAY>|other"
        r"|second|morning|evening|week|month) i\b|\b(?:nursery|school) (?:run|pickup|pick-up|drop-off)\b.*<DAY>"
        r"|\bi (?:pick|drop|collect) .* (?:up|off)? ?at \d|\bi (?:wake|get) (?:up )?(?:for \w+ )?at \d",
    ),
    Rule(
        "schedule",
        r"^(?P<x><W>)(?: run| group| class| club)? (?:changed|moved|switched|swapped) us\b (?P<y>.*)",
        slot="when:{x}",
        value="{y}",
        news=True,
    ),
    Rule(
        "plan",
        r"\b(?:i'm|we're|i'll be|we'll be|i'm finally|i am|we are|i|we)<A> (?:off to|going|flying|moving|move"
        r"|travelling|traveling|getting|leaving|leave|starting|start|visiting|relocating|having|taking|running"
        r"|opening|retiring|graduating|expecting|planning|hosting|be|fly|travel|start|defending|defend|finishing"
        r"|sitting|launching|switching|returning|shall \w+|will \w+|be at|be in)\b.*\b<WHEN>",
        news=True,
    ),
    Rule(
        "plan",
        r"^(?:<W> ){0,2}?(?P<x><EVENT>|moving|wedding|flying|conference|surgery|operation|interview"
        r"|off)(?:s)? (?:to|for|in|is|on|from)\b.*\b<WHEN>|<S>(?:booked|signed up|got|have|have got|registered"
        r"|scheduled|arranged|bought tickets)(?: for)? (?:a |an |my |our |the |for |tickets |us )*(?P<y>(?:<W> "
        r"){0,4}<EVENT>)\b.*",
        own=True,
    ),
    Rule(
        "plan",
        r"\b(?:i'm|we're|i|we|i've been)<A> (?:planning to|planning on|plan to|hope to|hoping to|saving (?:up "
        r")?for|saving to|aim to|aiming to|working towards|preparing for|training to be|want to become|intend to"
        r"|decided to|going to (?:become|move|retire|start|buy|apply|get married)|shall relocate|shall sit|will "
        r"be moving|dream of|looking to (?:buy|move)|looking for (?:a|an) (?:quiet |new |bigger |smaller )?(?:flat"
        r"|house|apartment|job|place)|house[- ]hunting|flat[- ]hunting|job[- ]hunting|want to be(?:come)?|trying "
        r"to become|writing (?:a|my) (?:first |second )?(?:novel|book|memoir|thesis)|building a (?:house|cabin"
        r"|boat|shed)|renovating|restoring|self-publishing|applying (?:for|to))\b(?! (?:it|this"
        r"|you)\b)(?P<x><REST>)?",
    ),
    Rule(
        "plan",
        r"^need (?:a |an )(?P<x>(?:<W> ){0,2}(?:flat|house|apartment|job|room))\b.*",
    ),
    Rule(
        "finance",
        r"\b(?:my|our) (?:budget|salary|income|mortgage|rent|pension|savings|debt|bank|student loan|loan|credit "
        r"score|monthly budget)(?:'s| is| are| was| of| with)\b (?P<x><REST>)|\bi (?:earn|make|owe|save|invest|pay"
        r"|get paid) (?:about |around |roughly )?[£$€]?\d[\w,.]*(?P<y>.*)|\bi bank with (?P<z><W>)|\bi owe (?:my "
        r")?<W>.* \d+",
    ),
)
