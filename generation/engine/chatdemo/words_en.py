"""English words that carry a mood, in families of one root, and words that carry none. Pure data.

A family's words are told apart by what a sentence can do with them: `feel` describes people ("I am ..."), `thing`
describes things ("the film was ..."), `verb` is what people do to things (present/past), `adverb` opens a sentence,
`noun` names a thing ("the film was a ...").
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Words of one root and one mood; each field is words with spaces between."""

    feel: str = ""
    thing: str = ""
    verb: str = ""
    adverb: str = ""
    noun: str = ""


POSITIVE = (
    Family(feel="joyful joyous overjoyed", thing="enjoyable joyful", verb="enjoy/enjoyed", adverb="joyfully", noun="joy"),
    Family(feel="happy happier", thing="happy", adverb="happily"),
    Family(feel="delighted", thing="delightful", adverb="delightfully", noun="delight"),
    Family(feel="loved beloved", thing="lovely lovable", verb="love/loved"),
    Family(thing="wonderful wondrous", adverb="wonderfully", noun="wonder"),
    Family(feel="amazed", thing="amazing", adverb="amazingly"),
    Family(feel="pleased", thing="pleasing pleasant pleasurable", adverb="pleasantly", noun="pleasure"),
    Family(feel="cheerful cheered cheery", thing="cheerful cheery cheering", adverb="cheerfully"),
    Family(feel="excited", thing="exciting", adverb="excitingly"),
    Family(feel="thrilled", thing="thrilling", noun="thrill"),
    Family(feel="satisfied", thing="satisfying satisfactory", noun="satisfaction"),
    Family(feel="hopeful", thing="hopeful", adverb="hopefully"),
    Family(feel="grateful", adverb="gratefully"),
    Family(feel="thankful", adverb="thankfully"),
    Family(feel="lucky", thing="lucky", adverb="luckily"),
    Family(feel="fortunate", thing="fortunate", adverb="fortunately"),
    Family(thing="brilliant", adverb="brilliantly"),
    Family(thing="beautiful", adverb="beautifully", noun="beauty"),
    Family(feel="successful", thing="successful", noun="success"),
    Family(thing="perfect", adverb="perfectly"),
    Family(thing="fantastic", adverb="fantastically"),
    Family(thing="glorious", adverb="gloriously"),
    Family(feel="peaceful", thing="peaceful"),
    Family(feel="comfortable comforted", thing="comfortable comforting", noun="comfort"),
    Family(feel="relaxed", thing="relaxing"),
    Family(feel="charmed", thing="charming", noun="charm"),
    Family(feel="impressed", thing="impressive", adverb="impressively"),
    Family(feel="inspired", thing="inspiring inspirational", noun="inspiration"),
    Family(feel="proud prouder", adverb="proudly"),
    Family(feel="confident", adverb="confidently"),
    Family(thing="kind kindly"),
    Family(thing="friendly friendlier"),
    Family(thing="helpful", noun="help"),
    Family(thing="fun funny"),
    Family(thing="tasty tasteful tastier"),
    Family(feel="fascinated", thing="fascinating"),
    Family(thing="admirable admired", verb="admire/admired"),
    Family(feel="adored", thing="adorable", verb="adore/adored"),
    Family(feel="blessed", thing="blessed", noun="blessing"),
    Family(thing="splendid", adverb="splendidly"),
    Family(thing="magnificent", adverb="magnificently"),
    Family(thing="excellent", adverb="excellently"),
    Family(thing="superb", adverb="superbly"),
    Family(feel="encouraged", thing="encouraging", noun="encouragement"),
    Family(feel="refreshed", thing="refreshing"),
    Family(thing="good"),
    Family(feel="great", thing="great greatest"),
    Family(thing="nice nicer"),
    Family(feel="glad", adverb="gladly"),
    Family(thing="marvellous", adverb="marvellously", noun="marvel"),
    Family(feel="touched", thing="touching"),
    Family(feel="valued", thing="valuable", verb="value/valued"),
    Family(feel="appreciated", verb="appreciate/appreciated"),
    Family(thing="generous", adverb="generously"),
    Family(feel="ecstatic", adverb="ecstatically"),
)
NEGATIVE = (
    Family(feel="sad saddened sadder", thing="sad saddening", adverb="sadly"),
    Family(feel="miserable", thing="miserable", adverb="miserably", noun="misery"),
    Family(feel="depressed", thing="depressing depressive", adverb="depressingly"),
    Family(feel="disappointed", thing="disappointing", adverb="disappointingly", noun="disappointment"),
    Family(feel="angry angered angrier", adverb="angrily"),
    Family(feel="hated", thing="hateful", verb="hate/hated"),
    Family(feel="terrified", thing="terrible terrifying", adverb="terribly", noun="terror"),
    Family(feel="horrified", thing="horrible horrifying horrid", adverb="horribly", noun="horror"),
    Family(feel="awful", thing="awful", adverb="awfully"),
    Family(feel="pained", thing="painful", adverb="painfully", noun="pain"),
    Family(feel="worried", thing="worrying worrisome", noun="worry"),
    Family(feel="stressed", thing="stressful stressing"),
    Family(feel="frustrated", thing="frustrating", adverb="frustratingly", noun="frustration"),
    Family(feel="annoyed", thing="annoying", adverb="annoyingly", noun="annoyance"),
    Family(feel="irritated", thing="irritating", noun="irritation"),
    Family(feel="exhausted", thing="exhausting"),
    Family(feel="tired", thing="tiring tiresome"),
    Family(feel="bored", thing="boring"),
    Family(feel="fearful", thing="fearful fearsome", verb="fear/feared"),
    Family(feel="disgusted", thing="disgusting", adverb="disgustingly"),
    Family(feel="ashamed", thing="shameful", adverb="shamefully", noun="shame"),
    Family(thing="disastrous", adverb="disastrously", noun="disaster"),
    Family(feel="hopeless", thing="hopeless", adverb="hopelessly"),
    Family(feel="helpless", adverb="helplessly"),
    Family(feel="lonely lonesome lonelier", thing="lonely"),
    Family(feel="grieved grieving", thing="grievous", adverb="grievously"),
    Family(feel="sorrowful", thing="sorrowful", adverb="sorrowfully"),
    Family(feel="gloomy", thing="gloomy gloomier", adverb="gloomily"),
    Family(thing="dreadful dreaded", verb="dread/dreaded", adverb="dreadfully"),
    Family(thing="nasty nastier"),
    Family(thing="ugly uglier"),
    Family(feel="upset", thing="upsetting"),
    Family(feel="troubled", thing="troublesome troubling"),
    Family(thing="failed failing", noun="failure"),
    Family(feel="hurt", thing="hurtful"),
    Family(feel="desperate despairing", adverb="desperately"),
    Family(feel="bitter", thing="bitter", adverb="bitterly"),
    Family(feel="furious", adverb="furiously"),
    Family(feel="anxious", adverb="anxiously"),
    Family(feel="nervous", adverb="nervously"),
    Family(feel="regretful", thing="regrettable", verb="regret/regretted", adverb="regrettably"),
    Family(feel="heartbroken", thing="heartbreaking", noun="heartbreak"),
    Family(feel="distressed", thing="distressing"),
    Family(feel="disturbed", thing="disturbing", adverb="disturbingly"),
    Family(feel="devastated", thing="devastating", noun="devastation"),
    Family(thing="poor poorer", adverb="poorly"),
    Family(feel="bad", thing="bad", adverb="badly"),
    Family(thing="wasteful wasted", noun="waste"),
    Family(thing="messy messier", noun="mess"),
    Family(thing="nightmarish", noun="nightmare"),
    Family(thing="useless worthless tasteless pointless careless joyless"),
    Family(thing="pathetic", adverb="pathetically"),
    Family(thing="tragic", adverb="tragically", noun="tragedy"),
    Family(
        feel="unhappy unlucky unsatisfied uncomfortable unloved unsuccessful unfortunate",
        thing="unpleasant unkind unfriendly unhelpful unlucky uncomfortable unfortunate unsuccessful unimpressive",
        adverb="unfortunately unhappily unluckily",
    ),
    Family(
        feel="dissatisfied displeased discouraged", thing="discouraging displeasing", verb="dislike/disliked",
        noun="discomfort",
    ),
    Family(feel="overwhelmed", thing="overwhelming"),
    Family(feel="crushed", thing="crushing"),
    Family(feel="shocked", thing="shocking", adverb="shockingly"),
    Family(feel="appalled", thing="appalling"),
    Family(feel="offended", thing="offensive"),
    Family(verb="despise/despised", thing="despicable"),
    Family(thing="ruined ruinous"),
    Family(thing="cruel crueller", adverb="cruelly"),
    Family(thing="rude ruder", adverb="rudely"),
)  # fmt: skip
NEUTRAL_THING = (
    "large small green blue square round tall short long wide narrow old new wooden plastic local daily weekly open"
    " closed empty full average ordinary normal usual typical standard public private central northern quiet early"
    " late heavy light digital printed yellow grey electric indoor outdoor"
)
"""Qualities that say nothing about how anybody feels."""
TOPICS = (
    "film book song game meal soup hotel room concert trip holiday lesson exam meeting phone laptop service waiter"
    " teacher party show match story coffee cake train flight museum garden weather job interview gift haircut"
    " apartment keyboard camera article lecture play website app update course picnic walk beach neighbour doctor"
    " restaurant breakfast festival workshop seminar report"
)
WHO = (
    "my sister|my brother|my boss|the whole team|everyone|my mother|my father|she|he|my friend|my neighbour|the class"
    "|Anna|Tom|our guest|my daughter|my son|Peter|Maria|my uncle"
)
GOOD_EVENTS = (
    "I passed {}|I won {}|I got {}|I was given {}|they praised me for {}|I managed to finish {}|I made it to {}"
)
GOOD_OBJECTS = (
    "the exam|the race|the prize|the job|a raise|a promotion|the contract|first place|a medal|the final|the scholarship"
    "|the driving test|an award|my diploma|the competition"
)
BAD_EVENTS = "I failed {}|I lost {}|somebody stole {}|I broke {}|they took away {}|I missed {}|I ruined {}"
BAD_OBJECTS = (
    "the exam|my wallet|my keys|my bike|the last bus|my glasses|the race|my job|my phone|the flight|my passport"
    "|the final|my suitcase|my watch|the driving test"
)
FLAT_EVENTS = (
    "I took {}|I bought {}|I saw {}|I looked at {}|I asked about {}|I wrote about {}|I read about {}|we talked about {}"
    "|I heard about {}|he mentioned {}"
)
FLAT_OBJECTS = (
    "the exam|a ticket|a map|the bus|the timetable|a notebook|the photos|a chair|the recipe|two lamps|the report"
    "|a sandwich|the schedule|the keys|some paper|a coat|the invoice|the race|my job|the contract"
)
PLACES = (
    "the library|the station|the office|the market|the second floor|town|the airport|room 204|the park|the corner shop"
    "|the post office|the bridge|the lab|the canteen|Berlin|the harbour"
)
TIMES = (
    "at nine|on Monday|tomorrow|at half past three|next week|in April|every day|this afternoon|on Friday|tonight"
    "|in the morning|at noon|in two hours|on the fifth|yesterday|last week"
)
