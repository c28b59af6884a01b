"""Rules for who somebody is: name, age, home, family, animals."""

from __future__ import annotations

from idiolect.memory.rule import Rule

LIFE = (
    # name and address
    Rule(
        "name",
        r"\bmy (?:real |first |last |full |middle |actual )?name(?:'s| is|s)(?: not <W>,? (?:it's |but )?)? "
        r"?(?P<x><W>(?: <W>)?)",
        slot="name",
        value="{x}",
    ),
    Rule(
        "name",
        r"\b(?:call|address) me (?:as |by )?(?P<x><W>(?: <W>)?)|\b(?:i go by|everyone calls me|people call me|i'm "
        r"called|i'm named|known as) (?P<y><W>)",
        slot="name",
        value="{x}{y}",
    ),
    Rule(
        "name",
        r"^(?P<x>[\w-]+) here\b(?!'s)",
        slot="name",
        value="{x}",
    ),
    Rule(
        "name",
        r"^(?:hi|hello)?,?(?:i'm|this is|it's|it is) (?!<NATION>\b|<FAITH>\b|<JOB>\b|<DAY>\b|<MONTH>\b"
        r"|not\b)«(?P<x><W>)»(?: «<W>»)?(?:,? not <W>)?$",
        slot="name",
        value="{x}",
    ),
    Rule(
        "other",
        r"\b(?P<x>they/them|she/her|he/him|she/they|he/they|xe/xem)\b|\bmy pronouns are (?P<y><REST>)|\bi'm "
        r"(?:non-?binary|trans|transgender|genderfluid|gay|lesbian|bisexual|bi|queer|asexual|ace)\b",
        slot="pronouns",
        value="{x}{y}",
    ),
    # age
    Rule(
        "age",
        r"\b(?:i'm|i've|we're both)(?: just| now| only| already| nearly| almost)? (?:turned )?(?P<x><AGE>)(?: now"
        r"| today| years| year| yo|-year|$|,| and\b| so\b| but\b)(?! (?:min|hour|km|percent))",
        slot="age",
        value="{x}",
    ),
    Rule(
        "age",
        r"(?:<S>|i'm |i'll be )(?:turned|turn|hit|turning|pushing|approaching|nearly|almost) (?P<x><AGE>)\b"
        r"|\b(?:my )?(?P<y>\d\d)(?:st|nd|rd|th) birthday (?:is|was)|\bat (?:the age of |age )?(?P<z>\d\d)$|\b\d\d "
        r"years (?:young|old)\b(?=.*(?:here|$))|\bi was born (?:in|on) (?P<w><REST>)",
        slot="age",
        value="{x}{y}{z}{w}",
        news=True,
    ),
    Rule(
        "age",
        r"\bmy birthday(?: is|'s| was)? (?P<x><REST>)|\bwe share a birthday\b",
        slot="birthday",
        value="{x}",
    ),
    Rule(
        "body",
        r"\bi(?:'m|'ve| am)? ?(?:about |around |nearly )?(?:\d(?: foot|ft|'|m) ?\d+|\d\.\d+ ?m|\d{3} ?cm)\b|\bi "
        r"weigh (?P<x>.*\d.*)|\b(?:my )?(?:shoe|dress|ring|hat|shirt|jacket) size(?: is)? (?P<y><W>)|\bi (?:take"
        r"|wear|am|'m)(?: a)? size (?P<z><W>)|^size \d+ <W> here",
    ),
    # partners
    Rule(
        "relationship",
        r"^(?:we|i|<W> and (?:i|me)|me and <W>|my <CLOSE> and i)(?:'ve| have|'re| are)?<A> (?:split up|split"
        r"|broke up|broken up|divorced|separated|got divorced|got a divorce|getting divorced|parted ways|called "
        r"it off|called off)\b|\b(?:i've|i|^)<A> ?(?:broke up with|binned|dumped|left|split (?:up )?(?:with|from)"
        r"|divorced|ended it with|ended things with) (?P<x>my <CLOSE>|<W>)$|^(?:binned|dumped|broke up with|split "
        r"up with|split from) (?P<y><W>)\b|\b(?P<z><W>) (?:dumped me|left me|and me broke up|and i are done"
        r"|walked out)\b|\bmy ex[- ](?:wife|husband|partner)\b",
        slot="partner",
        value="-",
        ends=True,
        news=True,
    ),
    Rule(
        "relationship",
        r"\b(?:late (?:wife|husband|partner)|widow(?:er|ed)?)\b|\b(?:wife|husband|partner)(?: has)? (?:died|passed"
        r"|passed away)\b",
        slot="partner",
        value="-",
        news=True,
        asked=True,
    ),
    Rule(
        "relationship",
        r"\b(?:i'm|we're|we|i|got|getting|been|'ve been)<A> (?P<x>married|engaged|divorced|separated|single|dating"
        r"|widowed|civil partnered|going out|seeing someone)\b",
        slot="marital",
        value="{x}",
        own=True,
    ),
    Rule(
        "relationship",
        r"\b(?:seeing|dating|going out with|in love with|moved in with|married to|engaged to|living with|married) "
        r"(?:this |a |an |my )?(?:guy |girl |woman |man |lad |<CLOSE> )?(?:called |named )?(?P<x>(?!someone|people"
        r"|in|for|and|you|it|the|them|him|her|how|a\b|my\b)<W>)\b",
        slot="partner",
        value="{x}",
    ),
    Rule(
        "relationship",
        r"\b(?:proposed to|marry(?:ing)?|wedding anniversary|anniversary|honeymoon|years? (?:of )?marriage"
        r"|married \d+|tie the knot|getting married|our wedding|my wedding)\b",
        own=True,
    ),
    # loss, before having
    Rule(
        "family",
        r"\b(?:lost|buried) (?:my|our) (?P<x><KIN>)\b|\bmy (?P<y><KIN>)(?: <W>)? (?:has |have )?(?:died|passed)",
        value="{x}{y}",
        news=True,
    ),
    Rule(
        "pets",
        r"\b(?:lost|buried|rehomed|gave away|had to put down|put down|sold) (?:my |our |the |most of the |half "
        r"the |old )*(?P<x><PET>|«<W>»)(?:,? (?:only|down to|in|on|last|yesterday|this)\b.*)?$",
        value="{x}",
        ends=True,
        news=True,
    ),
    Rule(
        "pets",
        r"\b(?:my |our |the )?(?:<PET> )?(?P<x><W>) (?:has |had to be )?(?:died|passed away|passed|put down|put "
        r"to sleep|went missing|ran away)\b",
        value="{x}",
        ends=True,
        news=True,
    ),
    # children and other kin
    Rule(
        "family",
        r"\b(?:have|'ve|'ve got|got|has|raising|with|mother of|mum of|mom of|dad of|father of|parent of|expecting"
        r"|had|welcomed|adopted|fostering|gave birth to) (?:my |our |a |an |the |these )?(?:<N>|single|only"
        r"|beautiful|little|small|young|baby|new|first|second|third|foster|teenage|grown|adult|another| "
        r")*(?P<x><CLOSE>|brothers?|sisters?|siblings)\b",
        own=True,
    ),
    Rule(
        "family",
        r"\b(?:mother|mum|mom|dad|father|parent|grandmother|grandfather|grandma|grandad|granny|nan|uncle|aunt"
        r"|auntie|godmother|godfather) (?:of|to) (?:<N>|a|an|my)\b|\bonly child\b|\bi'm (?:a |an |the )?(?:single "
        r"|new |stay-at-home |proud |expectant )*(?:mother|mum|mom|dad|father|parent|grandmother|grandfather"
        r"|grandma|grandad|aunt|uncle|twin|oldest|youngest|eldest)\b",
    ),
    Rule(
        "family",
        r"^(?:<N>) (?:<CLOSE>)\b",
    ),
    Rule(
        "family",
        r"\b(?:third|second|first|fourth|another|baby|little) (?:one|baby|child|kid|son|daughter|boy|girl)(?:'s| "
        r"is)? (?:is |'s )?(?:on the way|due|coming|arriving|born)\b|\b(?:on the way|due),? (?:due )?(?:in|on) "
        r"<MONTH>|\bwe're expecting\b|\b(?:trying for|trying to have) a (?:baby|child|kid)|\bfamily of (?:<N>)\b"
        r"|\b(?:share|joint|sole|full) custody\b|\bhome-?school\w*\b|\bbaby (?:is|'s) due|\b(?:became|become"
        r"|becoming) (?:a )?(?:parents?|grandpa\w*|grandma\w*|grandad|father|mother|dad|mum|mom|uncle|aunt)",
        news=True,
    ),
    Rule(
        "relationship",
        r"\b(?:my|our|me) (?P<k>wife|husband|partner|fianc\w+|girlfriend|boyfriend|hubby|spouse|gf|bf|missus"
        r"|other half)(?:'s(?= name)|s(?= name))?(?: name(?:'s| is|s))? ?(?:is |'s |called |named |, "
        r")?«(?P<y><W>)»",
        slot="partner",
        value="{y}",
        asked=True,
    ),
    Rule(
        "family",
        r"\b(?:my|our|me) (?:<W> ){0,3}?(?P<k><KIN>)(?: name(?:'s| is|s)|s name's)? ?,? ?(?:is |'s |called |named "
        r")?«(?P<y><W>)»|\b(?:my|our) (?:little |big |sweet |dear |darling |young |wee )?(?!<NATION>\b"
        r"|<THING>\b)«(?P<z><W>)»(?= (?:is|was|turned|turns|has|had|just|started"
        r"|starts|loves|hates|wants|now|came|got))",
        asked=True,
    ),
    Rule(
        "family",
        r"\b(?:my|our|me) (?:little |older |younger |elder |big |baby |twin |step|only |oldest |youngest |eldest "
        r"|adult |grown |teenage |<N> |-)*(?P<k><KIN>)(?:'s)?(?: both| now| also| just| she| he| they)* (?:is|are"
        r"|was|'s|has|have|had|lives?|works?|turned|turns|studies|started|starts|goes|teaches|plays|loves|hates"
        r"|speaks|comes?|came|moved|runs|got|became|wants?|eats?|doesn't|does|can't|needs?|attends?|uses?|died"
        r"|passed|went|goes|joined|left|graduated|retired|bought|\w{3,}ed|drives|owns"
        r"|just)\b(?<!asked)(?<!wanted)(?<!suggested)(?<!mentioned)(?<!called)(?<!texted)(?<!wondered)(?! (?:said"
        r"|asked|told|wondering|says)\b)",
    ),
    Rule(
        "family",
        r"\b(?:my|our) (?:wife|husband|partner|hubby|<CLOSE>)'s (?:<NATION>|from|a|an|vegan|vegetarian|birthday"
        r"|name|family|mother|<JOB>)\b",
        asked=True,
    ),
    Rule(
        "family",
        r"\b(?:my|our|me) (?:little |older |younger |elder |oldest |youngest |eldest |teenage )*(?:<N> (?:little "
        r"|small |young )?)(?P<k><KIN>)\b|\b(?:my|our) (?:grandson|granddaughter|grandkids|grandchildren|grandsons"
        r"|twins|\d+[- ]?(?:year|yr|month|week)[- ]?old)\b",
        asked=True,
    ),
    # animals
    Rule(
        "pets",
        r"\b(?:got|have|'ve|'ve got|has|adopted|bought|own|keep|raise|breed|rescued|fostering|foster|getting|gave "
        r"me|picked up|down to|taken in|took in|brought home|gave us|left with)(?: got)?(?: me| us| just| also| "
        r"now| now got| the)* (?:my |our |a |an |the |one |<N> |\d+ |old |new |little |young |rescue |second "
        r"|another |some |female |male |<W>[- ]?(?:year|month|week)s?[- ]old |few |hundred |four hundred |<W> "
        r")*(?P<x><PET>)\b",
        own=True,
    ),
    Rule(
        "pets",
        r"\b(?:my|our|me|the) (?:<W> ){0,3}?(?P<x><PET>)(?:'s)?(?:,? (?:is |are )?(?:called |named |name is "
        r"|names |name's )?«(?P<y><W>)»| (?:is|are|was|has|have|loves?|hates?|sleeps?|just|needs?|turned|came"
        r"|eats?)\b)",
        asked=True,
    ),
    Rule(
        "pets",
        r"\b(?:pup|puppy|kitten|dog|cat|foal)(?:'s| is| has)?<A> (?:come|came|arrived|here|home|moved in)\b"
        r"|\bcalling (?:him|her|it|them) (?P<x><W>)\b",
        news=True,
    ),
    # home
    Rule(
        "home",
        r"\b<I>(?:'m|'re|'ve)?<A> (?:live|lived|reside|stay|living|residing|settled|based|been living|am based"
        r"|are based)<A> (?:here |now |just |right |alone |there )*(?:in|at|on|near|outside|by|above|between|over"
        r"|next to|out|up|down|with|close|not far|with)\b (?P<x><REST>)",
        slot="home",
        value="{x}",
    ),
    Rule(
        "home",
        r"^(?:now )?(?:living|based|live|settled) (?:now )?(?:in|at|near|outside|with|above|on|out of) "
        r"(?P<x><REST>)",
        slot="home",
        value="{x}",
    ),
    Rule(
        "home",
        r"<S>(?:moved|relocated|moving back|emigrated|moved back|moved house|moved in|moved out|settled down"
        r"|arrived)(?: here| back| away| house| out| over| down| up| again| now)*(?: (?:to|into|in|at|from|with) "
        r"(?P<x><REST>)|$| (?:last|this|yesterday|in))",
        slot="home",
        value="{x}",
        news=True,
    ),
    Rule(
        "home",
        r"\b(?:we|i)(?:'ve| have) been in (?P<x><W>(?: <W>)?) (?:these|for|since|now)\b|\b(?:my|our) (?:new "
        r")?(?:home|hometown|address|house|flat|place|apartment|neighbou?rhood|village|town)(?:'s| is|'s in| is in"
        r"|s)(?: now)?(?: in| at| near)? (?P<y><REST>)",
        slot="home",
        value="{x}{y}",
    ),
    Rule(
        "home",
        r"\b(?:i'm|we're|i|we|^)<A> ?(?:originally |grew up |come |came |raised |born |born and raised |grew up "
        r")+(?:from |in |on )(?P<x><REST>)|\bi'm from (?P<y><REST>)|^(?:she's |he's )?from (?P<z>«<W>».*)",
        slot="origin",
        value="{x}{y}{z}",
    ),
    Rule(
        "home",
        r"\b(?:sold|bought|rented out|bought) (?:the|my|our|me|a) (?:<W> )?(?:house|flat|apartment|home|cottage"
        r"|place|farm|condo|bungalow)\b",
        news=True,
        own=True,
    ),
    Rule(
        "home",
        r"\b(?:here in|here above|up here in|down here in|out here in|here near|back home in) (?P<x><REST>)|\bi'm "
        r"(?:now |currently )?in «(?P<y><W>)»",
        slot="home",
        value="{x}{y}",
        own=True,
    ),
    Rule(
        "home",
        r"\b(?:i'm|i) (?:rent|share|own|renting|sharing) (?:a|an|my|with) (?P<x><REST>)|\b(?:i|we) (?:share|rent"
        r"|own) (?:a|an|my|our) (?:<W> ){0,2}(?:house|flat|apartment|place|room|studio|cottage|farm)\b|\bmy "
        r"(?:flatmate|roommate|housemate)s?\b (?:is|are|and i)",
        slot="housing",
        value="{x}",
    ),
    Rule(
        "home",
        r"\bi'm (?:a |an )?(?P<x><NATION>)(?: (?:living|from|by|citizen|national)|$| and\b| but\b)",
        slot="nation",
        value="{x}",
    ),
)
