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
    Family(feel="joyful joyous overjoyed", thing="enjoyable joyful joyous", verb="enjoy/enjoyed", adverb="joyfully joyously", noun="joy"),
    Family(feel="happy happier happiest", thing="happy", adverb="happily", noun="happiness"),
    Family(feel="delighted", thing="delightful delighting", adverb="delightfully", noun="delight"),
    Family(feel="loved beloved", thing="lovely lovable loveable lovelier", verb="love/loved"),
    Family(thing="wonderful wondrous", adverb="wonderfully wondrously", noun="wonder"),
    Family(feel="amazed", thing="amazing", adverb="amazingly", noun="amazement"),
    Family(feel="pleased", thing="pleasing pleasant pleasurable", adverb="pleasantly pleasingly", noun="pleasure"),
    Family(feel="cheerful cheered cheery", thing="cheerful cheery cheering", adverb="cheerfully cheerily", noun="cheer"),
    Family(feel="excited", thing="exciting excitable", adverb="excitingly excitedly", noun="excitement"),
    Family(feel="thrilled", thing="thrilling", adverb="thrillingly", noun="thrill"),
    Family(feel="satisfied", thing="satisfying satisfactory", adverb="satisfyingly", noun="satisfaction"),
    Family(feel="hopeful", thing="hopeful", adverb="hopefully", noun="hope"),
    Family(feel="grateful", adverb="gratefully", noun="gratefulness"),
    Family(feel="thankful", adverb="thankfully", noun="thankfulness"),
    Family(feel="lucky luckier", thing="lucky luckiest", adverb="luckily", noun="luck"),
    Family(feel="fortunate", thing="fortunate", adverb="fortunately"),
    Family(thing="brilliant", adverb="brilliantly", noun="brilliance"),
    Family(thing="beautiful beauteous", adverb="beautifully", noun="beauty"),
    Family(feel="successful", thing="successful", adverb="successfully", noun="success"),
    Family(thing="perfect", adverb="perfectly", noun="perfection"),
    Family(thing="fantastic fantastical", adverb="fantastically"),
    Family(thing="glorious", adverb="gloriously", noun="glory"),
    Family(feel="peaceful", thing="peaceful peaceable", adverb="peacefully"),
    Family(feel="comfortable comforted", thing="comfortable comforting", adverb="comfortably", noun="comfort"),
    Family(feel="relaxed", thing="relaxing", adverb="relaxingly", noun="relaxation"),
    Family(feel="charmed", thing="charming", adverb="charmingly", noun="charm"),
    Family(feel="impressed", thing="impressive", adverb="impressively"),
    Family(feel="inspired", thing="inspiring inspirational", adverb="inspiringly", noun="inspiration"),
    Family(feel="proud prouder proudest", adverb="proudly"),
    Family(feel="confident", adverb="confidently", noun="confidence"),
    Family(thing="friendly friendlier friendliest"),
    Family(thing="helpful", adverb="helpfully", noun="helpfulness"),
    Family(thing="fun funny funnier"),
    Family(thing="tasty tasteful tastier tastiest"),
    Family(feel="fascinated", thing="fascinating", adverb="fascinatingly", noun="fascination"),
    Family(thing="admirable admired", verb="admire/admired", adverb="admirably", noun="admiration"),
    Family(feel="adored", thing="adorable", verb="adore/adored", adverb="adorably"),
    Family(feel="blessed", thing="blessed blissful", adverb="blissfully", noun="blessing"),
    Family(thing="splendid", adverb="splendidly", noun="splendour"),
    Family(thing="magnificent", adverb="magnificently", noun="magnificence"),
    Family(thing="excellent", adverb="excellently", noun="excellence"),
    Family(thing="superb", adverb="superbly"),
    Family(feel="encouraged", thing="encouraging", adverb="encouragingly", noun="encouragement"),
    Family(feel="refreshed", thing="refreshing", adverb="refreshingly"),
    Family(thing="good"),
    Family(feel="great", thing="great greatest greater"),
    Family(thing="nice nicer nicest"),
    Family(feel="glad gladdened", adverb="gladly", noun="gladness"),
    Family(thing="marvellous", adverb="marvellously", noun="marvel"),
    Family(feel="touched", thing="touching", adverb="touchingly"),
    Family(feel="valued", thing="valuable valued", verb="value/valued"),
    Family(feel="appreciated", thing="appreciative", verb="appreciate/appreciated", noun="appreciation"),
    Family(thing="generous", adverb="generously", noun="generosity"),
    Family(feel="ecstatic", adverb="ecstatically", noun="ecstasy"),
    Family(feel="optimistic", thing="optimistic", adverb="optimistically", noun="optimism"),
    Family(feel="passionate", thing="passionate", adverb="passionately"),
    Family(thing="graceful", adverb="gracefully", noun="grace"),
    Family(thing="flawless faultless"),
    Family(thing="spectacular", adverb="spectacularly"),
    Family(thing="elegant", adverb="elegantly", noun="elegance"),
    Family(feel="triumphant", thing="triumphant triumphal", adverb="triumphantly", noun="triumph"),
)
NEGATIVE = (
    Family(feel="sad saddened sadder saddest", thing="sad saddening", adverb="sadly", noun="sadness"),
    Family(feel="miserable", thing="miserable", adverb="miserably", noun="misery"),
    Family(feel="depressed", thing="depressing depressive", adverb="depressingly", noun="depression"),
    Family(feel="disappointed", thing="disappointing", adverb="disappointingly", noun="disappointment"),
    Family(feel="angry angered angrier", thing="angering", adverb="angrily", noun="anger"),
    Family(feel="hated", thing="hateful hated", verb="hate/hated", noun="hatred"),
    Family(feel="terrified terrorised", thing="terrible terrifying", adverb="terribly terrifyingly", noun="terror"),
    Family(feel="horrified", thing="horrible horrifying horrid horrific", adverb="horribly", noun="horror"),
    Family(feel="awful", thing="awful", adverb="awfully", noun="awfulness"),
    Family(feel="pained", thing="painful", adverb="painfully", noun="pain"),
    Family(feel="worried", thing="worrying worrisome", adverb="worryingly", noun="worry"),
    Family(feel="stressed", thing="stressful stressing", adverb="stressfully", noun="stress"),
    Family(feel="frustrated", thing="frustrating", adverb="frustratingly", noun="frustration"),
    Family(feel="annoyed", thing="annoying", adverb="annoyingly", noun="annoyance"),
    Family(feel="irritated irritable", thing="irritating", adverb="irritatingly", noun="irritation"),
    Family(feel="exhausted", thing="exhausting", adverb="exhaustingly", noun="exhaustion"),
    Family(feel="tired", thing="tiring tiresome", adverb="tiresomely", noun="tiredness"),
    Family(feel="bored", thing="boring", adverb="boringly", noun="boredom"),
    Family(feel="fearful", thing="fearful fearsome feared", verb="fear/feared", adverb="fearfully"),
    Family(feel="disgusted", thing="disgusting", adverb="disgustingly", noun="disgust"),
    Family(feel="ashamed shamed", thing="shameful", adverb="shamefully", noun="shame"),
    Family(thing="disastrous", adverb="disastrously", noun="disaster"),
    Family(feel="hopeless", thing="hopeless", adverb="hopelessly", noun="hopelessness"),
    Family(feel="helpless", adverb="helplessly", noun="helplessness"),
    Family(feel="lonely lonesome lonelier", thing="lonely", noun="loneliness"),
    Family(feel="grieved grieving", thing="grievous", adverb="grievously", noun="grief"),
    Family(feel="sorrowful", thing="sorrowful", adverb="sorrowfully", noun="sorrow"),
    Family(feel="gloomy gloomier", thing="gloomy gloomier gloomiest", adverb="gloomily", noun="gloom"),
    Family(thing="dreadful dreaded", verb="dread/dreaded", adverb="dreadfully", noun="dread"),
    Family(thing="nasty nastier nastiest", adverb="nastily"),
    Family(thing="ugly uglier ugliest", noun="ugliness"),
    Family(feel="upset", thing="upsetting", adverb="upsettingly"),
    Family(feel="troubled", thing="troublesome troubling", noun="trouble"),
    Family(thing="failed failing", noun="failure"),
    Family(feel="hurt", thing="hurtful hurting", adverb="hurtfully"),
    Family(feel="desperate despairing", thing="desperate", adverb="desperately despairingly", noun="despair"),
    Family(feel="bitter embittered", thing="bitter", adverb="bitterly", noun="bitterness"),
    Family(feel="furious infuriated", thing="infuriating", adverb="furiously", noun="fury"),
    Family(feel="anxious", adverb="anxiously", noun="anxiety"),
    Family(feel="nervous", adverb="nervously", noun="nervousness"),
    Family(feel="regretful", thing="regrettable", verb="regret/regretted", adverb="regrettably", noun="regret"),
    Family(feel="heartbroken", thing="heartbreaking", adverb="heartbreakingly", noun="heartbreak"),
    Family(feel="distressed", thing="distressing", adverb="distressingly", noun="distress"),
    Family(feel="disturbed", thing="disturbing", adverb="disturbingly", noun="disturbance"),
    Family(feel="devastated", thing="devastating", adverb="devastatingly", noun="devastation"),
    Family(thing="poor poorer poorest", adverb="poorly"),
    Family(feel="bad", thing="bad", adverb="badly"),
    Family(thing="wasteful wasted", adverb="wastefully", noun="waste"),
    Family(thing="messy messier", adverb="messily", noun="mess"),
    Family(thing="nightmarish", adverb="nightmarishly", noun="nightmare"),
    Family(thing="useless worthless tasteless pointless careless joyless senseless heartless cheerless"),
    Family(thing="pathetic", adverb="pathetically"),
    Family(thing="tragic tragical", adverb="tragically", noun="tragedy"),
    Family(feel="unhappy unlucky unsatisfied uncomfortable unloved unsuccessful unfortunate unwell", thing="unpleasant unkind unfriendly unhelpful unlucky uncomfortable unfortunate unsuccessful unimpressive unattractive unenjoyable unfair unbearable", adverb="unfortunately unhappily unluckily unpleasantly"),
    Family(feel="dissatisfied displeased discouraged disheartened dismayed", thing="discouraging displeasing disheartening", verb="dislike/disliked", noun="discomfort dissatisfaction"),
    Family(feel="overwhelmed", thing="overwhelming", adverb="overwhelmingly"),
    Family(feel="crushed", thing="crushing", adverb="crushingly"),
    Family(feel="shocked", thing="shocking", adverb="shockingly", noun="shock"),
    Family(feel="appalled", thing="appalling", adverb="appallingly"),
    Family(feel="offended", thing="offensive offending", adverb="offensively", noun="offence"),
    Family(thing="despicable despised", verb="despise/despised", adverb="despicably"),
    Family(feel="ruined", thing="ruined ruinous", adverb="ruinously", noun="ruin"),
    Family(thing="cruel crueller cruellest", adverb="cruelly", noun="cruelty"),
    Family(thing="rude ruder", adverb="rudely", noun="rudeness"),
    Family(feel="jealous", adverb="jealously", noun="jealousy"),
    Family(feel="pessimistic", thing="pessimistic", adverb="pessimistically", noun="pessimism"),
    Family(feel="agonised", thing="agonising", adverb="agonisingly", noun="agony"),
    Family(feel="insulted", thing="insulting", adverb="insultingly", noun="insult"),
)
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
