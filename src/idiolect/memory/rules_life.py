"""Rules for who somebody is: name, age, home, family, animals."""

from __future__ import annotations

from idiolect.memory.rule import Rule

LIFE = (
    # name and address
    Rule("name", r"\bmy (?:real |first |last |full |middle |actual )?name(?:'s| is|s)(?: not <W>,? (?:it's |but )?)? ?(?P<x><W>(?: <W>)?)", "name", "{x}"),
    Rule("name", r"\b(?:call|address) me (?:as |by )?(?P<x><W>(?: <W>)?)|\b(?:i go by|everyone calls me|people call me|i'm called|i'm named|known as) (?P<y><W>)", "name", "{x}{y}"),
    Rule("name", r"^(?P<x>[\w-]+) here\b(?!'s)", "name", "{x}"),
    Rule("name", r"^(?:hi|hello)?,?(?:i'm|this is|it's|it is) (?!<NATION>\b|<FAITH>\b|<JOB>\b|<DAY>\b|<MONTH>\b|not\b)«(?P<x><W>)»(?: «<W>»)?(?:,? not <W>)?$", "name", "{x}"),
    Rule("other", r"\b(?P<x>they/them|she/her|he/him|she/they|he/they|xe/xem)\b|\bmy pronouns are (?P<y><REST>)|\bi'm (?:non-?binary|trans|transgender|genderfluid|gay|lesbian|bisexual|bi|queer|asexual|ace)\b", "pronouns", "{x}{y}"),
    # age
    Rule("age", r"\b(?:i'm|i've|we're both)(?: just| now| only| already| nearly| almost)? (?:turned )?(?P<x><AGE>)(?: now| today| years| year| yo|-year|$|,| and\b| so\b| but\b)(?! (?:min|hour|km|percent))", "age", "{x}"),
    Rule("age", r"(?:<S>|i'm |i'll be )(?:turned|turn|hit|turning|pushing|approaching|nearly|almost) (?P<x><AGE>)\b|\b(?:my )?(?P<y>\d\d)(?:st|nd|rd|th) birthday (?:is|was)|\bat (?:the age of |age )?(?P<z>\d\d)$|\b\d\d years (?:young|old)\b(?=.*(?:here|$))|\bi was born (?:in|on) (?P<w><REST>)", "age", "{x}{y}{z}{w}", news=True),
    Rule("age", r"\bmy birthday(?: is|'s| was)? (?P<x><REST>)|\bwe share a birthday\b", "birthday", "{x}"),
    Rule("body", r"\bi(?:'m|'ve| am)? ?(?:about |around |nearly )?(?:\d(?: foot|ft|'|m) ?\d+|\d\.\d+ ?m|\d{3} ?cm)\b|\bi weigh (?P<x>.*\d.*)|\b(?:my )?(?:shoe|dress|ring|hat|shirt|jacket) size(?: is)? (?P<y><W>)|\bi (?:take|wear|am|'m)(?: a)? size (?P<z><W>)|^size \d+ <W> here", "", ""),
    # partners
    Rule("relationship", r"^(?:we|i|<W> and (?:i|me)|me and <W>|my <CLOSE> and i)(?:'ve| have|'re| are)?<A> (?:split up|split|broke up|broken up|divorced|separated|got divorced|got a divorce|getting divorced|parted ways|called it off|called off)\b|\b(?:i've|i|^)<A> ?(?:broke up with|binned|dumped|left|split (?:up )?(?:with|from)|divorced|ended it with|ended things with) (?P<x>my <CLOSE>|<W>)$|^(?:binned|dumped|broke up with|split up with|split from) (?P<y><W>)\b|\b(?P<z><W>) (?:dumped me|left me|and me broke up|and i are done|walked out)\b|\bmy ex[- ](?:wife|husband|partner)\b", "partner", "-", ends=True, news=True),
    Rule("relationship", r"\b(?:late (?:wife|husband|partner)|widow(?:er|ed)?)\b|\b(?:wife|husband|partner)(?: has)? (?:died|passed|passed away)\b", "partner", "-", news=True, asked=True),
    Rule("relationship", r"\b(?:i'm|we're|we|i|got|getting|been|'ve been)<A> (?P<x>married|engaged|divorced|separated|single|dating|widowed|civil partnered|going out|seeing someone)\b", "marital", "{x}", own=True),
    Rule("relationship", r"\b(?:seeing|dating|going out with|in love with|moved in with|married to|engaged to|living with|married) (?:this |a |an |my )?(?:guy |girl |woman |man |lad |<CLOSE> )?(?:called |named )?(?P<x>(?!someone|people|in|for|and|you|it|the|them|him|her|how|a\b|my\b)<W>)\b", "partner", "{x}"),
    Rule("relationship", r"\b(?:proposed to|marry(?:ing)?|wedding anniversary|anniversary|honeymoon|years? (?:of )?marriage|married \d+|tie the knot|getting married|our wedding|my wedding)\b", "", "", own=True),
    # loss, before having
    Rule("family", r"\b(?:lost|buried) (?:my|our) (?P<x><KIN>)\b|\bmy (?P<y><KIN>)(?: <W>)? (?:has |have )?(?:died|passed)", value="{x}{y}", news=True),
    Rule("pets", r"\b(?:lost|buried|rehomed|gave away|had to put down|put down|sold) (?:my |our |the |most of the |half the |old )*(?P<x><PET>|«<W>»)(?:,? (?:only|down to|in|on|last|yesterday|this)\b.*)?$", value="{x}", ends=True, news=True),
    Rule("pets", r"\b(?:my |our |the )?(?:<PET> )?(?P<x><W>) (?:has |had to be )?(?:died|passed away|passed|put down|put to sleep|went missing|ran away)\b", value="{x}", ends=True, news=True),
    # children and other kin
    Rule("family", r"\b(?:have|'ve|'ve got|got|has|raising|with|mother of|mum of|mom of|dad of|father of|parent of|expecting|had|welcomed|adopted|fostering|gave birth to) (?:my |our |a |an |the |these )?(?:<N>|single|only|beautiful|little|small|young|baby|new|first|second|third|foster|teenage|grown|adult|another| )*(?P<x><CLOSE>|brothers?|sisters?|siblings)\b", "", "", own=True, follows=True),
    Rule("family", r"\b(?:mother|mum|mom|dad|father|parent|grandmother|grandfather|grandma|grandad|granny|nan|uncle|aunt|auntie|godmother|godfather) (?:of|to) (?:<N>|a|an|my)\b|\bonly child\b|\bi'm (?:a |an |the )?(?:single |new |stay-at-home |proud |expectant )*(?:mother|mum|mom|dad|father|parent|grandmother|grandfather|grandma|grandad|aunt|uncle|twin|oldest|youngest|eldest)\b", "", "", follows=True),
    Rule("family", r"^(?:<N>) (?:<CLOSE>)\b", "", "", follows=True),
    Rule("family", r"\b(?:third|second|first|fourth|another|baby|little) (?:one|baby|child|kid|son|daughter|boy|girl)(?:'s| is)? (?:is |'s )?(?:on the way|due|coming|arriving|born)\b|\b(?:on the way|due),? (?:due )?(?:in|on) <MONTH>|\bwe're expecting\b|\b(?:trying for|trying to have) a (?:baby|child|kid)|\bfamily of (?:<N>)\b|\b(?:share|joint|sole|full) custody\b|\bhome-?school\w*\b|\bbaby (?:is|'s) due|\b(?:became|become|becoming) (?:a )?(?:parents?|grandpa\w*|grandma\w*|grandad|father|mother|dad|mum|mom|uncle|aunt)", "", "", news=True),
    Rule("relationship", r"\b(?:my|our|me) (?P<k>wife|husband|partner|fianc\w+|girlfriend|boyfriend|hubby|spouse|gf|bf|missus|other half)(?:'s(?= name)|s(?= name))?(?: name(?:'s| is|s))? ?(?:is |'s |called |named |, )?«(?P<y><W>)»", "partner", "{y}", asked=True),
    Rule("family", r"\b(?:my|our|me) (?:<W> ){0,3}?(?P<k><KIN>)(?: name(?:'s| is|s)|s name's)? ?,? ?(?:is |'s |called |named )?«(?P<y><W>)»|\b(?:my|our) (?:<W> ){0,2}«(?P<z><W>)»(?= (?:is|was|turned|turns|has|had|just|started|starts|loves|hates|wants|now|came|got))", "", "", asked=True),
    Rule("family", r"\b(?:my|our|me) (?:little |older |younger |elder |big |baby |twin |step|only |oldest |youngest |eldest |adult |grown |teenage |<N> |-)*(?P<k><KIN>)(?:'s)?(?: both| now| also| just| she| he| they)* (?:is|are|was|'s|has|have|had|lives?|works?|turned|turns|studies|started|starts|goes|teaches|plays|loves|hates|speaks|comes?|came|moved|runs|got|became|wants?|eats?|doesn't|does|can't|needs?|attends?|uses?|died|passed|went|goes|joined|left|graduated|retired|bought|\w{3,}ed|drives|owns|just)\b(?<!asked)(?<!wanted)(?<!suggested)(?<!mentioned)(?<!called)(?<!texted)(?<!wondered)(?! (?:said|asked|told|wondering|says)\b)", "", ""),
    Rule("family", r"\b(?:my|our) (?:wife|husband|partner|hubby|<CLOSE>)'s (?:<NATION>|from|a|an|vegan|vegetarian|birthday|name|family|mother|<JOB>)\b", "", "", asked=True),
    Rule("family", r"\b(?:my|our|me) (?:little |older |younger |elder |oldest |youngest |eldest |teenage )*(?:<N> (?:little |small |young )?)(?P<k><KIN>)\b|\b(?:my|our) (?:grandson|granddaughter|grandkids|grandchildren|grandsons|twins|\d+[- ]?(?:year|yr|month|week)[- ]?old)\b", "", "", asked=True),
    # animals
    Rule("pets", r"\b(?:got|have|'ve|'ve got|has|adopted|bought|own|keep|raise|breed|rescued|fostering|foster|getting|gave me|picked up|down to|taken in|took in|brought home|gave us|left with)(?: got)?(?: me| us| just| also| now| now got| the)* (?:my |our |a |an |the |one |<N> |\d+ |old |new |little |young |rescue |second |another |some |female |male |<W>[- ]?(?:year|month|week)s?[- ]old |few |hundred |four hundred |<W> )*(?P<x><PET>)\b", "", "", own=True, follows=True),
    Rule("pets", r"\b(?:my|our|me|the) (?:<W> ){0,3}?(?P<x><PET>)(?:'s)?(?:,? (?:is |are )?(?:called |named |name is |names |name's )?«(?P<y><W>)»| (?:is|are|was|has|have|loves?|hates?|sleeps?|just|needs?|turned|came|eats?)\b)", "", "", asked=True, follows=True),
    Rule("pets", r"\b(?:pup|puppy|kitten|dog|cat|foal)(?:'s| is| has)?<A> (?:come|came|arrived|here|home|moved in)\b|\bcalling (?:him|her|it|them) (?P<x><W>)\b", "", "", news=True, follows=True),
    # home
    Rule("home", r"\b<I>(?:'m|'re|'ve)?<A> (?:live|lived|reside|stay|living|residing|settled|based|been living|am based|are based)<A> (?:here |now |just |right |alone |there )*(?:in|at|on|near|outside|by|above|between|over|next to|out|up|down|with|close|not far|with)\b (?P<x><REST>)", "home", "{x}"),
    Rule("home", r"^(?:now )?(?:living|based|live|settled) (?:now )?(?:in|at|near|outside|with|above|on|out of) (?P<x><REST>)", "home", "{x}"),
    Rule("home", r"<S>(?:moved|relocated|moving back|emigrated|moved back|moved house|moved in|moved out|settled down|arrived)(?: here| back| away| house| out| over| down| up| again| now)*(?: (?:to|into|in|at|from|with) (?P<x><REST>)|$| (?:last|this|yesterday|in))", "home", "{x}", news=True),
    Rule("home", r"\b(?:we|i)(?:'ve| have) been in (?P<x><W>(?: <W>)?) (?:these|for|since|now)\b|\b(?:my|our) (?:new )?(?:home|hometown|address|house|flat|place|apartment|neighbou?rhood|village|town)(?:'s| is|'s in| is in|s)(?: now)?(?: in| at| near)? (?P<y><REST>)", "home", "{x}{y}"),
    Rule("home", r"\b(?:i'm|we're|i|we|^)<A> ?(?:originally |grew up |come |came |raised |born |born and raised |grew up )+(?:from |in |on )(?P<x><REST>)|\bi'm from (?P<y><REST>)|^(?:she's |he's )?from (?P<z>«<W>».*)", "origin", "{x}{y}{z}"),
    Rule("home", r"\b(?:sold|bought|rented out|bought) (?:the|my|our|me|a) (?:<W> )?(?:house|flat|apartment|home|cottage|place|farm|condo|bungalow)\b", "", "", news=True, own=True),
    Rule("home", r"\b(?:here in|here above|up here in|down here in|out here in|here near|back home in) (?P<x><REST>)|\bi'm (?:now |currently )?in «(?P<y><W>)»", "home", "{x}{y}", own=True),
    Rule("home", r"\b(?:i'm|i) (?:rent|share|own|renting|sharing) (?:a|an|my|with) (?P<x><REST>)|\b(?:i|we) (?:share|rent|own) (?:a|an|my|our) (?:<W> ){0,2}(?:house|flat|apartment|place|room|studio|cottage|farm)\b|\bmy (?:flatmate|roommate|housemate)s?\b (?:is|are|and i)", "housing", "{x}"),
    Rule("home", r"\bi'm (?:a |an )?(?P<x><NATION>)(?: (?:living|from|by|citizen|national)|$| and\b| but\b)", "nation", "{x}"),
)  # fmt: skip
