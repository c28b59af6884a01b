"""Rules for what somebody likes, eats, does for fun, owns, and how they want to be answered."""

from __future__ import annotations

from idiolect.memory.rule import Rule

LIKES = (
    # how to answer
    Rule(
        "style",
        r"\b(?:always|never|from now on|going forward|in (?:the )?future|every time|each time|throughout|by "
        r"default|whenever|from today|any ?more|as a rule|at all times|in (?:all )?your (?:answers|replies"
        r"|responses)|when (?:you|replying|answering|writing)|should you ever|no more|again|unless i (?:ask"
        r"|say))\b.*\b(?P<x>answers?|answering|repl(?:y|ies)|respon(?:d|se|ses)|emojis?|bullet(?: points?|s)?"
        r"|intros?|outros?|lists?|tables?|metric|imperial|celsius|fahrenheit|spelling|tone|short|brief|concise"
        r"|long|formal|informal|english|jargon|apologi[sz]e|apologies|disclaimers?|sources?|links?|examples?"
        r"|caveats?|summar\w+|markdown|headings?|call me|address me|swear\w*|exclamation|suggest|recommend|remind"
        r"|warn|tell me|ask me|use|explain|write|plain text|recipes?|units?|cups|grams|code)\b",
        news=True,
    ),
    Rule(
        "style",
        r"\b(?P<x>answers?|repl(?:y|ies)|responses?|emojis?|bullets?|intros?|lists?|metric|imperial|celsius"
        r"|spelling|tone|jargon|disclaimers?|sources|sentences?|recipes|units|paragraphs?|messages)\b.*\b(?:always"
        r"|from now on|going forward|in future|in the future|every time|by default|from today|throughout|never"
        r"|whenever|any ?more|ever again|with me|to me|for me|for good)\b",
    ),
    Rule(
        "style",
        r"^(?:please |kindly )?(?:don't|do not|stop|quit|no need to|never) (?P<x>tell(?:ing)? me|call(?:ing)? me"
        r"|us(?:e|ing)|start(?:ing)?|say(?:ing)?|apologi[sz]\w+|suggest(?:ing)?|recommend(?:ing)?|giv(?:e|ing) me"
        r"|add(?:ing)?|ask(?:ing)? me|remind(?:ing)? me|sugar-?coat\w*|lectur\w+|prais\w+|repeat\w*|end(?:ing)?"
        r"|writ(?:e|ing))\b.*\b(?:every|each|always|any ?more|ever|all the time|again|with me|to me|so much"
        r"|answers?|repl\w+|messages|emojis?|sentences?)\b",
        news=True,
    ),
    Rule(
        "style",
        r"\bi(?:'d)?<A> (?:prefer|like|want|need|hate|dislike|appreciate|love|don't like|don't want|can't stand"
        r"|prefer to get|rather have|rather) (?:my |your |the |all |to get |to have |getting |you to |when you "
        r"|it when you |if you )?(?:<W> ){0,3}?(?P<x>answers?|replies|responses?|explanations?|emojis?|bullet "
        r"points?|bullets|summaries|lists|examples|sources|citations|metric|imperial|jargon|formality|plain "
        r"(?:english|language|words|text)|instructions|tables|step[- ]by[- ]step|feedback|directness|short "
        r"sentences|prose)\b",
    ),
    Rule(
        "style",
        r"^(?:please |just )?(?:(?:talk|speak|write|explain(?: things)?) (?:to|for) me (?:like|as)|be (?:more "
        r"|very |brutally )?(?:blunt|direct|honest|strict|gentle|brief|concise|formal|informal|patient|kind"
        r"|critical|harsh|frank|casual) with me)\b",
    ),
    Rule(
        "style",
        r"^(?:please )?(?:explain|answer|reply|respond|write|talk|speak|keep (?:it|things|your answers|answers)"
        r"|be)(?: to me| me)? ?(?:always|only|in|without|like|as if|with)\b.*\b(?P<x>always|jargon|code words"
        r"|technical|simple|plain|terms|words|from now on|english|like i'm)\b(?!.*:)",
    ),
    Rule(
        "style",
        r"^(?:please |kindly )?(?:answer|reply|respond)(?: me)? (?:only |always |just |mostly |first )?(?:with|in"
        r"|without|as|like|using|by) (?P<x><REST>)$",
    ),
    Rule(
        "style",
        r"\b(?:don't|do not|never|no|always|only) (?:use |write |put |add |include )?(?P<x>[\w'-]+(?: "
        r"[\w'-]+)?)(?: please)? in (?:anything|whatever|all|any of|the things|my (?:texts|letters|e?mails|drafts)"
        r"|what)\b",
    ),
    Rule(
        "style",
        r"\byou (?:can|may|don't have to|needn't|should|must|can also|are allowed to) (?:now |always |just |also "
        r")?(?P<x>use|skip|drop|stop|be|call|swear|write|answer|assume|talk|speak|explain|warn"
        r"|remind)\b.*\b(?:with me|to me|for me|now|again|from now on|always|any ?more|me)\b",
        news=True,
    ),
    Rule(
        "style",
        r"\b(?:do|please) (?P<x>warn|remind|tell|correct|call|address|stop|flag|let me know) (?:me )?\b.*\b(?:when"
        r"|if|whenever|every|always|each)\b",
        news=True,
    ),
    Rule(
        "style",
        r"\b(?:use|in|with|only|to|switch to) (?P<x>british|american|uk|us|metric|imperial|celsius|fahrenheit"
        r"|24[- ]hour|kilomet\w+|kilos?|grams)\b.{0,30}(?:spelling|units|english|format|clock|system|measure\w*"
        r"|throughout|always|please|for me|not)\b|\b(?:metric|british spelling|american spelling|celsius|grams) "
        r"(?:only|please|always)\b",
        slot="units",
        value="{x}",
    ),
    # diet
    Rule(
        "diet",
        r"\b(?:no longer|not|stopped being|quit being|used to be|gave up being|never)(?: a| an)? (?P<x><DIET>)(?: "
        r"any ?more| now|$)",
        slot="diet",
        value="-",
        ends=True,
        news=True,
        own=True,
    ),
    Rule(
        "diet",
        r"^(?:strictly |mostly |nearly |almost |fully |now |back to |lifelong )*(?P<x><DIET>)(?: now| again| "
        r"household| here|$|,| and\b| since\b)|\b(?:i'm|we're|i've|i|we|as|my <CLOSE> is|gone|went|going|go|been"
        r"|became|turned|stay|become|eat|eating|being|keep)(?: all| both)?<A>(?: a| an| back to| strictly| mostly"
        r"| nearly| gone| to| on a| on)* (?P<y><DIET>)\b(?! (?:recipe|dish|meal|option|version|restaurant|place"
        r"|lunch|dinner|idea)s?\b)",
        slot="diet",
        value="{x}{y}",
        own=True,
    ),
    Rule(
        "diet",
        r"<S>(?:stopped eating|don't eat|do not eat|gave up|given up|cut out|off|avoid|never eat|don't drink) "
        r"(?:any |all |much |eating )?(?P<x><FOOD>)(?:(?:,| and| or|, and| but no) (?:no )?<FOOD>)*(?: any ?more| "
        r"at all| for| since|$|,| or| but| and| now)",
        slot="taste:{x}",
        value="-",
        own=True,
    ),
    Rule(
        "diet",
        r"<S>(?:eat|eating|cook|started eating|went back to|back to|can eat|back on|started|eat only) (?:all "
        r"|only |some |eating )?(?P<x><FOOD>)(?:(?:,| and| or|, and| but no) (?:no )?<FOOD>)*(?: again| these days"
        r"| now| for| since|$|,| or| but| and| in)",
        slot="eats:{x}",
        value="+",
        own=True,
    ),
    Rule(
        "diet",
        r"\bno (?P<x><FOOD>)(?:(?:,| and| or) (?:no )?<FOOD>)* ?(?:for (?:me|us)|in (?:my|our) house)\b"
        r"|^(?:<FOOD> (?:yes|no|ok|is fine)\b.*|no <FOOD>(?:(?:,| or| and) no <FOOD>)+)$",
    ),
    # taste
    Rule(
        "taste",
        r"\bi(?:'ve|'m)?<A> (?:can't stand|don't like|do not like|don't care for|don't enjoy|hate|dislike|loathe"
        r"|detest|despise|never liked|'ve never liked|have never liked|am not a fan of|'m not a fan of|am not into"
        r"|'m not into|went off|gone off|grew sick of|am sick of|'m sick of|am over|no longer like|can't bear"
        r"|don't drink|don't eat|never drink|never eat|gave up|given up|quit|stopped (?:drinking|eating|liking"
        r"|having|watching)|cut out|don't do|not a fan of|avoid) <DEICTIC>(?:any |the |all |eating |drinking "
        r")?(?P<x><NP>)",
        slot="taste:{x}",
        value="-",
    ),
    Rule(
        "taste",
        r"^(?:gave up|given up|went off|hate|can't stand|not a fan of|don't like|no longer like) (?P<x>(?!it|this"
        r"|that)<NP>)$",
        slot="taste:{x}",
        value="-",
    ),
    Rule(
        "taste",
        r"\bi<A>(?:'m|'ve)?<A> (?:don't|do not|never) drink\b(?! (?:it|this|that)\b)",
        slot="habit:drink",
        value="-",
    ),
    Rule(
        "taste",
        r"\bi(?:'m|'ve)?<A> (?:like|love|adore|enjoy|prefer|liked|loved|enjoyed|grown to like|come to love|crazy "
        r"about|obsessed with|fond of|a (?:big |huge |massive )?fan of|into|keen on|addicted to|mad about|partial "
        r"to|a sucker for|passionate about|interested in|fascinated by|am fond of|am into|started liking"
        r"|developed a taste for) <DEICTIC>(?:the |all |any |eating |drinking |my |a |an )?(?P<x><NP>)(?! (?:if"
        r"|when) you)",
        slot="taste:{x}",
        value="+",
    ),
    Rule(
        "taste",
        r"\b(?:big|huge|massive|lifelong|die-?hard|avid|total) fan of (?P<x><NP>)|\b(?:big|huge|massive|lifelong"
        r"|die-?hard|avid) (?P<y><W>(?: <W>)?) (?:fan|supporter|nerd|geek|reader|gamer|cook)\b",
        slot="taste:{x}{y}",
        value="+",
        own=True,
    ),
    Rule(
        "taste",
        r"^(?:i'm )?not (?:into|a fan of|keen on|bothered about) (?P<x>(?!it|this|that)<NP>)",
        slot="taste:{x}",
        value="-",
    ),
    Rule(
        "taste",
        r"\b(?:my|our) (?:all-time |absolute |new )?fav(?:ou?rite|e|s|ourites|orites)? (?P<k>(?:<W> ?){1,4}?)(?:'s"
        r"| is| are| was| has to be| will always be| of all time is)<A> (?P<x><REST>)",
        slot="favourite:{k}",
        value="{x}",
    ),
    Rule(
        "taste",
        r"\bi'm<A> (?:scared of|afraid of|terrified of|claustrophobic|afraid|an introvert|an extrovert|introverted"
        r"|left-handed|lefthanded|a night owl|a morning person|an early bird|vertigo|shy|an insomniac)\b "
        r"?(?P<x><REST>)?|\bi<A> (?:get (?:seasick|carsick|airsick|travel ?sick|motion sick)|hate flying|don't "
        r"fly)\b|\b(?:fear|scared|afraid|terrified|phobia) of (?P<y><W>)",
        own=True,
    ),
    # hobbies
    Rule(
        "hobby",
        r"<S>(?:quit|stopped|gave up|given up|dropped|done with|packed in|retired from|finished with|no longer "
        r"(?:play|do|go|run)|don't (?:play|do|run|swim|climb)) (?:playing |doing |going to |going |with |my |the "
        r")?(?P<x>(?!it\b|that|this|my job|the job|work)<W>(?: <W>)?)(?: any ?more| because.*| for good| "
        r"altogether| last.*| in .*| it's.*| now| since.*|$|,)",
        value="{x}",
        ends=True,
        news=True,
    ),
    Rule(
        "hobby",
        r"\bi<A>(?: can't| don't|can't|don't)(?: do| play| go)? (?P<x><DO>) any ?more\b|^can't (?:do |play "
        r")?(?P<y><DO>) any ?more\b",
        value="{x}{y}",
        ends=True,
        news=True,
    ),
    Rule(
        "hobby",
        r"(?:<S>|been )(?:play|played|playing|main|practi[sc]e|practi[sc]ing|do|doing|coach|train for|training for"
        r"|train|go|going|compete in|took up|taken up|taking up|started|start|picked up|joined|join|run|ran"
        r"|running|signed up for|registered for|sing in|perform in|volunteer at|volunteer with|volunteer|teach"
        r"|attend|learn|learning|learnt|learned|got into|getting into|switched to|got back into|entered|into)(?: "
        r"to| with| in| at| for| the| a| an| my| local| some| back| (?:weekly|evening|morning)| playing| doing| "
        r"learning| taking| in the| up)* (?P<x>(?:<W> ){0,2}?<DO>)\b",
        own=True,
    ),
    Rule(
        "hobby",
        r"\bi<A> (?:collect|knit|crochet|sew|paint|draw|climb|hike|bake|brew|garden|meditate|sing|dance|surf|ski"
        r"|skate|fish|hunt|forage|birdwatch|volunteer|row|sail|dive|box|cycle|jog|swim|juggle|bird|cosplay|stream"
        r"|blog|podcast|journal|quilt|whittle|code for fun|roast my own|brew my own|grow my own|make my own|grow"
        r"|make|keep|restore|build)\b(?! (?:it|this|that|a (?:cake|card|list|presentation)|the|mind|conclusion|up "
        r"with|away)\b)(?: (?P<x><REST>))?",
    ),
    Rule(
        "hobby",
        r"\b(?:my|our) (?:main |new |old |favou?rite |other |only |biggest )?(?:hobby|hobbies|band|choir|team|club"
        r"|book club|allotment|garden|sport|instrument|passion|workout|routine)(?:'s| is| are| has| plays| meets| "
        r"rehearses)\b (?P<x><REST>)|\b(?:all|only) (?:i|thing i) (?:play|do|watch|read"
        r"|listen to) (?:now|these days)?\b|\bin my (?:spare|free) time\b|\b(?:i|we) (?:support|follow|root for) "
        r"(?P<y>«<W>».*|the <W>)",
        own=True,
    ),
    Rule(
        "hobby",
        r"\b(?:training for|signed up for|registered for|entered|switched to|running|ran|finished|completed) "
        r"(?:the |a |an |my |our |my first |this )*(?:<W> ){0,3}?(?P<x>marathon|half|half marathon|triathlon|10k"
        r"|5k|ironman|race|ultra|tournament|league|competition|exhibition|show|century ride|pilgrimage|camino)\b",
        news=True,
        own=True,
    ),
    # possessions
    Rule(
        "possession",
        r"<S>(?:sold|traded in|got rid of|gave away|lost|crashed|totalled|totaled|scrapped|wrote off|written off"
        r"|returned|donated|swapped|replaced|dropped and broke) (?:my |our |the |me |old )*(?P<x><W>(?: (?!for|to"
        r"|last|in|on|and|at|this|yesterday)<W>){0,2})",
        value="{x}",
        ends=True,
        news=True,
    ),
    Rule(
        "possession",
        r"\b(?:my|the) (?:old )?(?P<x><THING>)(?: <W>)?(?: is|'s| has| got| was|) (?:dead|died|gone|stolen|broken "
        r"for good|been stolen|sold|scrapped|totalled|totaled|packed up|gave up the ghost)\b",
        value="{x}",
        ends=True,
        news=True,
    ),
    Rule(
        "possession",
        r"<S>(?:bought|own|drive|ride|got|have|'ve got|use|ordered|upgraded to|switched to|moved to|inherited"
        r"|picked up|built|leased|leasing|shoot with|shoot on|run|treated myself to|finally got|purchased|traded "
        r".* for|shopped)(?: me| us| myself| just| now| got| both| only)*(?: a| an| my| the| our| one| <N>| new| "
        r"used| second[- ]?hand| old| little| electric| small| big| vintage)* (?P<x>(?:<W> ){0,3}?<THING>)\b",
        value="{x}",
        own=True,
    ),
    Rule(
        "possession",
        r"\b(?:my|our|me) (?:<W> ){0,3}?(?P<x><THING>)(?:'s| is| are| has| runs| needs| won't| was| keeps| only| "
        r"from| with)\b(?! (?:broken|not|slow|too|down|stuck|black|acting|making|frozen|crashing|running out))"
        r"|\b(?:i|we)<A> (?:use|run|drive|ride|wear|own|play) «(?P<w><W>)»|\b(?:my|our) (?:old |new |trusty "
        r"|\d{4} )?«(?P<y><W>)» (?:<W>|\d+)|\bsell (?:my|the) «(?P<z><W>)»",
        value="{x}{y}{z}{w}",
        asked=True,
    ),
    Rule(
        "possession",
        r"\bfor (?:a |my |the |our )?(?P<x>(?:\d{4} (?:<W> )?<CAR>|<CAR>(?: <W>)? \d{4}))\b",
        value="{x}",
        asked=True,
    ),
    Rule(
        "possession",
        r"\bwhat i (?:shoot|drive|use|ride|play|run|cook|work) (?:with|on|now)\b|\bfor (?:a|my|the) "
        r"«(?P<x><W>)»,? which is what i\b|\bwhich is what i (?:shoot|drive|use|ride|play)",
        asked=True,
    ),
)
