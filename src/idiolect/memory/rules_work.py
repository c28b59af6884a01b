"""Rules for what somebody does: work, study, languages, skills, belief."""

from __future__ import annotations

from idiolect.memory.rule import Rule

WORK = (
    # leaving and changing
    Rule(
        "work",
        r"<S>(?:quit|left|leave|resigned|retired|retiring|leaving|quitting|got (?:laid off|fired|sacked|made "
        r"redundant)|been laid off|been fired|lost my job|laid off|made redundant|handed in (?:my|me) (?:notice"
        r"|resignation)|handed my notice|gave (?:my |in my )?notice|was laid off|was fired|was made redundant"
        r"|stepped down|sold (?:my|the) (?:business|company|shop|firm))\b(?! (?:it|him|her|them|school|on|out|some"
        r"|you|this|off|behind|at \d|me)\b)(?! (?:<DO>|<FOOD>|<DRUG>|<PET>)\b)(?: (?:my |the |as "
        r"|from |in )*(?P<x><REST>))?",
        slot="job",
        value="left {x}",
        news=True,
    ),
    Rule(
        "work",
        r"\b(?:i'll|i shall|i will|i'm going to|going to|starting)<A> (?:sit|serve|work|be working|start|join"
        r"|begin|be)(?: work)? as (?P<x><REST>)",
        slot="job",
        value="{x}",
        news=True,
    ),
    Rule(
        "work",
        r"\b(?:no longer|stopped|not) (?:doing |a |an |work(?:ing)? (?:as |at |for |in )?(?:a |an |the "
        r")?)(?P<x><W>(?: <W>)?)(?: any ?more| altogether|$)",
        value="{x}",
        ends=True,
        news=True,
        own=True,
    ),
    Rule(
        "work",
        r"<S>(?:signed (?:a contract |on )?with|accepted|starting|started|start|begin|began|got|landed|offered"
        r"|been offered|taken|took|taking|have|switched|switching|switch|changed|promoted|got promoted|transferred"
        r"|joined|joining|hired|been hired|been promoted|become|became|made|been made|going to be|appointed|been "
        r"appointed)\b.{0,40}?\b(?P<x>(?:job|position|role|post|contract|offer|readership|lectureship|internship"
        r"|apprenticeship|placement|promotion|traineeship|professorship|fellowship|clinic|company|startup|firm"
        r"|manager|partner|lead|director|career|freelance|freelancing|self-employed|<JOB>)\b.*)",
        slot="job",
        value="{x}",
        news=True,
    ),
    Rule(
        "work",
        r"\b(?:opening|opened|open|starting|started|launching|launched|run|running|set up|founded|co-founded|own"
        r"|have|bought) (?:my|me|our|a|an|own|up)(?: own| small| little| new| tiny)* (?P<x>(?:<W> ){0,3}?(?:place"
        r"|shop|restaurant|business|company|firm|practice|studio|agency|startup|start-up|cafe|café|bakery|salon"
        r"|store|pub|bar|gallery|school|clinic|consultancy|etsy|food truck|farm|nursery|bookshop|workshop|b&b"
        r"|hotel|brewery|label|podcast|channel|blog|newsletter|charity))\b",
        slot="job",
        value="{x}",
        news=True,
        own=True,
    ),
    Rule(
        "work",
        r"\b(?:they've given me|they gave me|i've been given|they moved me|they've moved me|they put me|boss "
        r"moved me|i moved to|i switched to|i changed to|i transferred to|they've put me|now teaching|i'm now "
        r"teaching|i now teach|moved me) (?:to |on |onto )?(?P<x>(?:the )?(?:year|grade|night|day|early|late|sales"
        r"|team|department|<W> (?:team|department|shift|shifts|class|ward|desk))\b.*)",
        slot="job",
        value="{x}",
        news=True,
    ),
    # hours
    Rule(
        "schedule",
        r"\b(?:work|working|do|doing|on|works|back on|switched to|moved to|only|just|no more|^)<A> ?(?P<x>nights?"
        r"|days?(?= now| only| again|$)|night shifts?|day shifts?|early shifts?|late shifts?|earlies|lates"
        r"|weekends|part[- ]time|full[- ]time|shifts|from home|remotely|remote|rotating shifts?|split shifts"
        r"|\d-day week|four[- ]day week|<N> days a week|[\d:]+ to [\d:]+|mornings|evenings)(?: now| only| again|$"
        r"| at\b| in\b| from\b| for\b| as\b| since\b| on\b| so\b| and\b| until\b)",
        slot="shift",
        value="{x}",
        own=True,
    ),
    # doing
    Rule(
        "work",
        r"\b(?:i'm|i was|as|i've been|i'm still)<A> (?:a |an |the |your |my )?(?:<W>[- "
        r"]){0,4}?(?P<x><JOB>)(?:s)?\b(?! (?:is|are|says|said|told|who|friend|course|about|question|problem"
        r"|recommend\w*)\b)",
        slot="job",
        value="{x}",
    ),
    Rule(
        "work",
        r"<S>(?:work|worked|working|been working|freelance|temp)(?: as|<A>) ?(?:as|at|for|in|with|on|like|from)\b "
        r"(?!it\b|this|that|the (?:project|report|essay|text|draft)|my|a (?:project|report|new|novel|book|paper"
        r"|presentation|script))(?P<x><REST>)",
        slot="job",
        value="{x}",
    ),
    Rule(
        "work",
        r"\bi<A> (?:teach|tattoo|coach|tutor|lecture|manage|supervise|nurse|farm|shoot|sell|repair|build|restore"
        r"|breed|design|run|drive|deliver|advise|practi[sc]e|edit|translate|code|program|write|tattoo|groom|bake"
        r"|cook|cut|clean|research|represent|make|review|teach|train|direct|produce|treat|fly)\b (?:(?:a |an |the "
        r"|my |in |on |at |for )?(?P<x>(?!it\b|this|that|you|them|any|something|like|sure|do\b|my mind|out"
        r"|into)<REST>))",
        slot="job",
        value="{x}",
    ),
    Rule(
        "work",
        r"\bfor a living\b|\bby (?:day|trade|profession|training)\b|\bmy (?:day |main |side |current |new |own "
        r")?(?:job|work|profession|trade|employer|company|business|boss at|office|career|shop|studio|firm|practice"
        r"|restaurant|clinic|field|specialty|occupation|role|position|title|team|startup|pub|café|cafe|salon"
        r"|bakery|practice)(?:'s| is| are| was| makes| sells| does| specialises| has)\b(?! (?:to|it|this|how"
        r"|asking|being|so|late|not)\b)",
        own=True,
    ),
    Rule(
        "work",
        r"^(?:drove|worked|taught|ran|managed|spent|served|was) .*\b(?:\d+|<N>) years\b|\bretired (?:<JOB>|in|last"
        r"|from|at|since|early|this)\b|\bi'm retired\b|\b(?:retired|former|ex-|trainee|senior|junior|head|chief"
        r"|freelance|apprentice|lead) (?P<x><JOB>)\b",
        slot="job",
        value="{x}",
        own=True,
    ),
    Rule(
        "work",
        r"^(?:a |an |the )?(?:<W> ){0,3}(?P<x><JOB>|lead|manager|director|head|engineer)(?: here)?(?: (?:at|in|for"
        r"|with|by|on|of|from)\b (?:a |the )?<REST>|$| by (?:day|trade|profession))",
        slot="job",
        value="{x}",
    ),
    Rule(
        "work",
        r"\b(?:i'm|as)(?: a| an| the)? (?P<x>unemployed|self-employed|between jobs|job hunting|out of work"
        r"|freelance|on (?:maternity|parental|sick|paternity) leave|on disability|on benefits|a sahm|furloughed)\b",
        slot="job",
        value="{x}",
    ),
    Rule(
        "work",
        r"\bin (?:my|our) (?P<x>(?:shop|studio|clinic|restaurant|salon|practice|classroom|firm|team|café|cafe"
        r"|bakery|workshop))\b|\b(?:the|our) (?:shop|studio|office|restaurant|salon|clinic|practice|firm|company"
        r"|bakery|cafe|café|workshop)(?:'s| is| has)(?: now| moved)* (?:in|to|near) <REST>(?: since| now)?|\bmy "
        r"(?P<y>students|pupils|patients|clients|customers|year \d+s?|class of)\b (?:are|is|have|were|love|hate"
        r"|need|keep|struggle|don't)",
        own=True,
    ),
    # study
    Rule(
        "study",
        r"<S>(?:study|studied|studying|major|majored|majoring|enrolled|graduated|got into|got accepted|start "
        r"university|dropped out|do|doing|finished|finish|started|changed|switched|starting|passed|got a place|go"
        r"|going|attend|taking|took|transferred)\b(?:.{0,30}?)\b(?P<x>(?:architecture|medicine|law|biology"
        r"|chemistry|physics|maths|mathematics|history|literature|economics|engineering|philosophy|psychology"
        r"|sociology|nursing|art|music|design|linguistics|geography|geology|politics|computer science|cs|business"
        r"|accounting|finance|marketing|journalism|education|theology|planning|pharmacy|dentistry|veterinary"
        r"|a-?levels?|gcses?|degree|university|college|masters?|master's|phd|doctorate|bachelor\w*|mba|thesis"
        r"|diploma|course|apprenticeship|school|semester|exams?|study|studies|bio|bootcamp|conservatory|evening "
        r"classes)\b.*)",
        slot="study",
        value="{x}",
    ),
    Rule(
        "study",
        r"\b(?:i'm|as) (?:a |an |doing )?(?:my )?(?:<W> ){0,3}(?P<x>student|undergrad\w*|freshman|sophomore"
        r"|senior in|junior in|postgrad\w*|phd candidate|phd|masters|fresher|(?:first|second|third|final)[- "
        r"]year)\b|\b(?:first|second|third|fourth|final|last) (?:year|semester|week|term) (?:at|of|in|doing)\b "
        r"(?:university|college|law|med|my)|\b(?:my|doing) (?:phd|master's|masters|thesis|dissertation|degree"
        r"|bachelor\w*|a-levels?|gcses?) (?:is|in|on|at)\b|\bdoing (?P<y><W>(?: <W>)?) (?:at|in) (?:university"
        r"|college|«<W>»)",
        slot="study",
        value="{x}{y}",
    ),
    Rule(
        "study",
        r"\bi<A> (?:study|studied|am studying|major in|majored in|graduated|dropped out|got into)\b(?! (?:it|this"
        r"|that|for (?:a|the|my) (?:test|quiz|exam))\b) ?(?P<x><REST>)?|\bi'm<A> studying (?!it|this|that|for (?:a"
        r"|the|my) (?:test|quiz|exam))(?P<y><REST>)",
        slot="study",
        value="{x}{y}",
    ),
    # languages and skills
    Rule(
        "language",
        r"\b(?:my |our )?(?P<x><LANG>)(?: level)?(?:'s| is)(?: only| just| now| not| still| at| about| around| "
        r"level| quite| pretty| really| very| a bit)* (?P<y>\b[abc][12]\b|bad|poor|rusty|basic|fluent|good|not "
        r"good|weak|native|terrible|intermediate|beginner|broken|ok)",
        slot="language:{x}",
        value="{y}",
        own=True,
    ),
    Rule(
        "language",
        r"\bi<A> (?:speak|understand|read|learn|learned|learnt) (?:a little |some |a bit of |only |fluent |native "
        r"|basic |no |broken |both )*(?P<x><LANG>)\b|\bi'm<A> (?:learning|fluent in|a native|native|bilingual"
        r"|trilingual)(?: to (?:speak|read))?(?: speaker of| in)? ?(?P<y><LANG>)?\b|\b(?:native|first|mother"
        r"|second) (?:language|tongue)\b|\b(?:first language|native) (?P<z><LANG>)|\b(?:started|took up|taking"
        r"|learning|having) (?P<w><LANG>)(?: lessons| classes| course)?\b",
        own=True,
    ),
    Rule(
        "skill",
        r"<S>(?:finished|completed|passed|took|got|earned|qualified|certified|learned|learnt|know how to|taught "
        r"myself) (?:a |an |my |the |as )?(?P<x>(?:<W> ){0,3}(?:course|certificate|certification|licen[cs]e"
        r"|driving test|exam|diploma|degree|black belt|bar exam|class)\b.*)|\bi (?:know|code in|program in|write) "
        r"(?P<y>python|java|javascript|rust|sql|excel|c\+\+|html|typescript|go|kotlin|r)\b|\bi(?:'m| am) (?:a |an "
        r")?(?:total |complete |absolute |quite )?(?:beginner|newbie|noob|novice|new) (?:at|in|with|to) "
        r"(?P<z><REST>)|\bi (?:can't|never learned to|never learnt to|don't know how to) (?P<w>drive|swim|ride a "
        r"bike|cook|read music|code|type|ski|sew|whistle)\b(?! (?:this|it|the|that)\b)",
        own=True,
    ),
    # belief
    Rule(
        "belief",
        r"\b(?:i'm|we're|as|i was raised|raised|converted to|i was brought up|my family is|we are)(?: a| an)?(?: "
        r"\w+)? (?P<x><FAITH>)\b|\bi<A> (?:fast|pray|keep kosher|keep halal|keep shabbat|keep sabbath|observe|go "
        r"to (?:church|mosque|temple|synagogue|mass)|believe in god|don't believe in god|celebrate|don't "
        r"celebrate)\b|\bi'm fasting\b|\bkeep(?:ing)? (?:kosher|halal|shabbat|sabbath|lent)\b|\b(?:my|our) "
        r"(?:church|mosque|synagogue|temple|congregation|parish|faith|religion)\b",
        slot="belief",
        own=True,
        asked=True,
    ),
    Rule(
        "belief",
        r"\bi<A> (?:vote|voted) (?:for )?(?P<x><W>)|\bi'm (?:a |an )?(?:conservative|liberal|socialist|libertarian"
        r"|republican|democrat|communist|anarchist|feminist|pacifist|member of the)\b",
        slot="politics",
        value="{x}",
    ),
)
