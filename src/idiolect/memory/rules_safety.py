"""Rules for what is always to be in mind: health, allergies, addictions, being a minor."""

from __future__ import annotations

from idiolect.memory.rule import Rule

SAFETY = (
    # addiction: giving up comes before having
    Rule(
        "addiction",
        r"\b(?:quit|gave up|given up|giving up|stopped|packed in|kicked|off|done with|sober from|clean from|clean "
        r"off|free of) (?:the |my |all |me )?(?P<x>smoking|vaping|cigarettes?|fags?|smokes|nicotine|tobacco"
        r"|rollies)\b(?! (?:are|is)\b)",
        slot="habit:smoking",
        value="-",
        news=True,
        own=True,
    ),
    Rule(
        "addiction",
        r"\b(?:quit|gave up|given up|giving up|stopped|packed in|kicked|off|done with|sober from|clean from|clean "
        r"off|free of|recovery from|recovering from|addicted to|hooked on|in rehab for) (?:the |my |all |me "
        r")?(?:daily )?(?P<x><DRUG>)\b(?! (?:are|is)\b)",
        slot="habit:{x}",
        value="-",
        news=True,
        own=True,
    ),
    Rule(
        "addiction",
        r"(?:^|\b<I>(?:'ve|'m)?)<A> not (?:drinking|smoking|vaping|gambling)\b.*\bany ?more|^not (?P<x>drinking"
        r"|smoking|vaping|gambling) any ?more",
        slot="habit:{x}",
        value="-",
        news=True,
    ),
    Rule(
        "addiction",
        r"\bhaven't (?:had a|touched a|had any|touched|smoked|gambled|drunk|been drinking)\b.*?(?P<x>drink"
        r"|cigarette|drop|bet|smoke\w*|gambled|alcohol|joint)?\b.*\b(?:in|for|since)\b",
        slot="habit:sober",
        value="+",
        own=True,
    ),
    Rule(
        "addiction",
        r"\b<I><A> don't (?P<x>drink|smoke|vape|gamble) any ?more\b",
        slot="habit:{x}",
        value="-",
        news=True,
    ),
    Rule(
        "addiction",
        r"\b(?:i'm|i've been|been) (?:now |over |almost |nearly |about |just )?(?:<W> ?){0,4}(?:sober|teetotal"
        r"|clean since|smoke[- ]free|alcohol[- ]free)\b|^(?:<W> ){0,5}(?:sober|clean)(?: now)?(?: from .*)?$",
        slot="habit:sober",
        value="+",
    ),
    Rule(
        "addiction",
        r"\bi'm (?:a |an )?(?:recovering|recovered) (?P<x><W>(?: <W>)?)|\bin recovery\b|\b(?:aa|na) (?:meeting"
        r"|sponsor|chip)|\bmy sponsor\b",
        slot="habit:sober",
        value="+",
        own=True,
    ),
    Rule(
        "addiction",
        r"\b(?:i'm|as) (?:a |an )?(?:alcoholic|addict|gambling addict|ex-smoker|former smoker|heavy smoker|smoker"
        r"|chain smoker)\b",
        slot="habit:addiction",
        value="+",
    ),
    Rule(
        "addiction",
        r"<S>(?:smoke|vape)<A>(?: (?:about|around|like|roughly))? (?:a pack|\d+|half a pack|two packs"
        r"|<N>|cigarettes|a lot|every|daily|socially|weed|rollies)\b",
        slot="habit:smoking",
        value="+",
    ),
    Rule(
        "addiction",
        r"\bi<A> (?:smoke|vape)(?:$| (?!(?:a|the|my|it|them|this|that|some)\b))",
        slot="habit:smoking",
        value="+",
    ),
    Rule(
        "addiction",
        r"\bi<A> (?:relapsed|started smoking again|started drinking again)\b",
        slot="habit:sober",
        value="-",
        news=True,
    ),
    # over
    Rule(
        "health",
        r"\b(?:my |the |our )?(?P<x><W>(?: <W>)?)(?: is| are|'s|'ve| has| have)<A> (?:healed|cured|in remission"
        r"|gone away|cleared up|all clear|fully recovered|better for good|like new)\b",
        value="{x}",
        ends=True,
        news=True,
    ),
    Rule(
        "health",
        r"\b(?:healed|recovered|cured|in remission|cancer[- ]free|recovered from|got the all[- ]clear|over) "
        r"(?:from |of )?(?:my |the )?(?P<x><ILL>|<BODY>)\b|\b(?:no more|no longer have|don't have) (?:my |the "
        r")?(?P<y><ILL>)(?: any ?more)?",
        value="{x}{y}",
        ends=True,
        news=True,
        own=True,
    ),
    Rule(
        "health",
        r"\bi (?:came off|come off|stopped taking|stopped|no longer take|quit taking|don't take|am off|'m off)(?: "
        r"my| the)? (?P<x><MED>)\b",
        slot="med:{x}",
        value="-",
        ends=True,
        news=True,
    ),
    Rule(
        "allergy",
        r"\b(?:outgrew|outgrown|no longer allergic|not allergic to)\b(?:.*?\b(?P<x><ALLERGEN>))?",
        value="{x}",
        ends=True,
        news=True,
    ),
    # allergies
    Rule(
        "allergy",
        r"\ballergic (?:reaction )?to (?P<x>(?:all |most |some |any |tree |raw |the )*<W>(?: (?:stings?|nuts?"
        r"|bites?|fur|hair|mites?|dander))?)",
        slot="allergy:{x}",
        value="+",
        own=True,
        asked=True,
    ),
    Rule(
        "allergy",
        r"\b(?P<x><W>(?: and <W>)?) (?:allergy|allergies|intolerance)\b|\bintolerant (?:to|of) (?P<y><W>)"
        r"|\b(?P<z>lactose|gluten|fructose)[- ]intolerant",
        slot="allergy:{x}{y}{z}",
        value="+",
        own=True,
        asked=True,
    ),
    Rule(
        "allergy",
        r"(?:^|\b(?:i|we|my <KIN>|he|she) )(?:can't|can not|mustn't|must not|'m not allowed to|not allowed to|may "
        r"not) (?:eat|have|touch|drink|tolerate|take|go near) (?P<x>.{0,20}?<ALLERGEN>)\b",
        slot="allergy:{x}",
        value="+",
    ),
    Rule(
        "allergy",
        r"\b(?P<x><ALLERGEN>)(?: and <ALLERGEN>)?\b.*\b(?:can't|can not|make me (?:ill|sick|swell|itch|throw up)"
        r"|(?:makes?|sends?|gives?|puts?|kills?) (?:me|my \w+) \w+|give me (?:hives|rash|cramps)|hives|anaphyla\w+"
        r"|could kill me|swell(?:s|ing)? up|close my throat)\b",
        slot="allergy:{x}",
        value="+",
        own=True,
    ),
    Rule(
        "allergy",
        r"\b(?:hives|anaphyla\w+|rash|swell\w*|throat closes?)\b.*\b(?:from|after|with|if .* eats?) (?:any "
        r")?(?P<x><W>(?: <ALLERGEN>)?)|\bno (?P<y><ALLERGEN>)s? (?:at all )?for (?:me|her|him|us|my <KIN>)\b"
        r"|\b(?:epi-?pen|epi pen|auto-?injector|adrenaline pen)s?\b",
        slot="allergy:{x}{y}",
        value="+",
        own=True,
        asked=True,
    ),
    # health
    Rule(
        "health",
        r"\b(?:diagnosed|diagnosis)\b(?:.{0,30}?\b(?:with|as|of|is))? (?P<x><REST>)",
        slot="health:{x}",
        value="+",
        news=True,
        own=True,
    ),
    Rule(
        "health",
        r"\b(?:doc(?:tor)?|gp|physio|surgeon|specialist|consultant|cardiologist|dermatologist|psychiatrist|midwife"
        r"|hospital|surgery|nurse|vet|optician|dentist|oncologist|neurologist|therapist|clinic)(?:'s)?<A> (?:says?"
        r"|said|thinks?|told|confirmed|found|reckons|diagnosed|wants|put|has put|prescribed"
        r"|started)\b.*?\b(?P<x><ILL>|<MED>|<BODY>|fracture|surgery|operation|diet|sugar|pressure)\b",
        slot="health:{x}",
        value="+",
        news=True,
    ),
    Rule(
        "health",
        r"\b\d+ ?(?:mg|mcg|milligrams?|units) (?:of )?(?P<x>[a-z]\w+)\b",
        slot="med:{x}",
        value="+",
        own=True,
        asked=True,
    ),
    Rule(
        "health",
        r"\b(?:on|take|takes|taking|started|prescribed|put me on|give me|need|needs|carry|carries|inject|use|uses"
        r"|my|with|has|have|have got|got) (?:a |an |my |me |some |low[- ]dose |daily |the )*(?P<x><MED>)\b",
        slot="med:{x}",
        value="+",
        own=True,
        asked=True,
    ),
    Rule(
        "health",
        r"\b(?P<x><MED>) (?:every|twice|daily|for my|since|each)\b",
        slot="med:{x}",
        value="+",
        own=True,
    ),
    Rule(
        "health",
        r"\b(?:type|typ) ?(?:1|2|one|two|i|ii)\b(?= diab| now|$)|\b(?P<x>diab\w+|diabit\w+)\b",
        slot="health:diabetes",
        value="+",
        own=True,
        asked=True,
    ),
    Rule(
        "health",
        r"\b(?P<x>deaf|blind|hard of hearing)\b",
        slot="health:{x}",
        value="+",
        own=True,
        asked=True,
    ),
    Rule(
        "health",
        r"\b(?P<x>pregnant|expecting (?:a|our|my|twins|in)|weeks along)\b",
        slot="health:pregnant",
        value="+",
        own=True,
        asked=True,
    ),
    Rule(
        "health",
        r"\b(?P<x><AILING>) (?:left |right |lower |upper |both )?(?P<y><BODY>)\b|\b(?P<y2><BODY>)(?:s)?(?: is| are"
        r"|'s|'re| both)?<A> (?P<x2><AILING>|need\w* replac\w+|give out|acting up|playing up|shot)\b",
        slot="health:{y}{y2}",
        value="+",
        own=True,
    ),
    Rule(
        "health",
        r"\b(?:tore|broke|fractured|ruptured|sprained|dislocated|slipped|wrecked|hurt|injured|busted|pulled"
        r"|strained|messed up|damaged|twisted) (?:my|a|both|the|me) (?:left |right |lower )?(?P<x><W>)\b"
        r"|\b(?P<y>\w*fracture) (?:in|of) (?:my|the)\b|\btorn (?P<z><BODY>)",
        slot="health:{x}{y}{z}",
        value="+",
        own=True,
    ),
    Rule(
        "health",
        r"\b(?:had|having|getting|have|need|after|since) (?:a |an |my |the |to have )?(?:<W> ){0,2}(?P<x>bypass"
        r"|transplant|replacement|c-section|chemo|chemotherapy|dialysis|pacemaker|stent|biopsy|mastectomy"
        r"|hysterectomy|stroke|heart attack|concussion|miscarriage|seizures?|surgery)\b",
        slot="health:{x}",
        value="+",
        own=True,
    ),
    Rule(
        "health",
        r"\bi (?:have|'ve got|got|suffer from|struggle with|live with|was born with|inherited) (?:a |an |my |the "
        r"|mild |severe |bad |chronic |some )*(?P<x><ILL>)\b|\bi'm<A> (?P<y><ILL>)\b|\bmy (?:<W> )?(?P<z><ILL>)\b"
        r"|\b(?:as|with|have) (?:a |an |my )?(?P<w><ILL>)\b",
        slot="health:{x}{y}{z}{w}",
        value="+",
        own=True,
        asked=True,
    ),
    Rule(
        "health",
        r"\b(?P<x><ILL>)\b",
        slot="health:{x}",
        value="+",
        own=True,
    ),
    Rule(
        "health",
        r"\b(?:blood type|blood group) (?:is )?(?P<x><W>)|\bi (?:faint|pass out|use a wheelchair|use crutches"
        r"|wear (?:glasses|hearing aids?|contacts|contact lenses|a prosthe\w+|an? <W> brace))\b|\b(?:have|has"
        r"|got) a (?:bad|weak) (?:heart|back|stomach)",
        value="+",
        own=True,
    ),
    Rule(
        "health",
        r"\bi (?:can't|can not) (?:see|hear|walk|bend|lift|climb|stand (?:for|up|long)|kneel|crouch"
        r"|sit|drive|run)\b(?! (?:the"
        r"|this|that|it|why|how|any|you)\b)",
        value="+",
    ),
    # minors
    Rule(
        "minor",
        r"\b(?:i'm|as) (?:now |only |just )?(?P<x>1[0-7]|[89]|(?:thir|four|fif|six|seven)teen|eleven|twelve"
        r"|ten)(?: now| today| yo| years old| y/?o|$| and\b| so\b)(?! (?:minutes|percent|hours|km|miles|min|%)\b)",
        slot="age",
        value="{x}",
    ),
    Rule(
        "minor",
        r"^(?P<x>1[0-7]|(?:thir|four|fif|six|seven)teen)(?: years old| yo| y/o| so\b| here$|f\b|m\b)",
        slot="age",
        value="{x}",
    ),
    Rule(
        "minor",
        r"\b(?:turned|turn|turning) (?P<x>1[0-7]|(?:thir|four|fif|six|seven)teen|eleven|twelve|ten)\b",
        slot="age",
        value="{x}",
        news=True,
        own=True,
    ),
    Rule(
        "minor",
        r"\b(?:i'm|as|in|im|start|started|starting|going into) (?:a |my |the )?(?:in )?(?P<x>(?:[5-9]|1[0-2]"
        r"|\w+)(?:st|nd|rd|th) grade(?:r)?|year (?:[5-9]|1[0-3])|grade (?:[5-9]|1[0-2])|sixth form|middle school"
        r"|high school|year \d+|freshman year of high school|secondary school)\b",
        slot="grade",
        value="{x}",
        own=True,
    ),
)
