"""Words that nobody knows, and words that change nothing: in training they stand for all that the model will not know.

Without them it took whatever it had never met for a mood: its untrained embedding points somewhere.
"""

import random
import re

from generation.engine.chatdemo.vocabulary import NEGATIVE, POSITIVE, read_vocabulary

_HEADS = (*"bcdfghjklmnprstvwz", "br", "ch", "dr", "fl", "gr", "pl", "st", "tr", "")
_VOWELS = (*"aeiou", "ai", "ea", "oo", "ou")
_TAILS = ("", "", *"bdglmnprstx", "ck", "nd", "rt", "st")
_ENDINGS = ("", "", "", "er", "ing", "ed", "ic", "al", "ment", "tion", "y", "ness", "ly", "ous")
FILLERS = {
    "en": (
        "must", "quite", "rather", "still", "really", "actually", "surely", "certainly", "maybe", "perhaps", "simply",
        "then", "there", "again", "once", "also", "somehow", "clearly", "indeed", "of course", "I guess", "I suppose",
        "here", "now",
    ),
    "zh": (
        "其实", "真的", "就", "都", "还", "也", "可能", "大概", "现在", "当时", "一直", "确实", "果然", "已经", "当然",
        "反正", "毕竟", "这里", "那边", "总是", "也许",
    ),
}  # fmt: skip
EXTENSIONS = (
    "next to mine", "that they sent us", "he talked about", "from last year", "of my cousin", "by the river",
    "you know", "I told you about", "this month", "on the left", "with the red door", "she showed me", "in the north",
    "they use", "every spring", "before lunch",
)  # fmt: skip
"""What may follow an English noun: of the noun phrases people write, templates know the shortest."""
_OWN_WORDS = {
    "en": re.compile(r"(?<![\w{'])[A-Za-z]+(?![\w}'])"),
    "zh": re.compile(r"[\u3400-\u9fff]{1,2}"),
}
_BEFORE_ZH = re.compile(r"(?=很|太|真|非常|特别|让|在|和|说|也|都)|(?<=，)|^")


def _moodless() -> tuple[str, ...]:
    """The commonest Chinese characters (level 1 of GB 2312) without those of any word with a mood."""
    words = read_vocabulary("zh")
    moods = {character for mood in (POSITIVE, NEGATIVE) for word in words.all_moods(mood) for character in word}
    level = [bytes((high, low)).decode("gb2312", "ignore") for high in range(0xB0, 0xD8) for low in range(0xA1, 0xFF)]
    return tuple(one for one in level if one and one not in moods and one not in "不没无非未别难")


MOODLESS = _moodless()


def unknown_word(language: str, rng: random.Random) -> str:
    """A word that does not exist."""
    if language == "zh":
        return "".join(rng.choice(MOODLESS) for _ in range(rng.choice((1, 2, 2, 2, 3))))
    syllables = [rng.choice(_HEADS) + rng.choice(_VOWELS) + rng.choice(_TAILS) for _ in range(rng.choice((1, 1, 2)))]
    return "".join(syllables) + rng.choice(_ENDINGS)


def blur(pattern: str, language: str, rng: random.Random) -> str:
    """The template with one of its own words, never a gap, replaced by one that does not exist."""
    found = [match.span() for match in _OWN_WORDS[language].finditer(pattern)]
    if not found:
        return pattern
    start, end = rng.choice(found)
    return pattern[:start] + unknown_word(language, rng) + pattern[end:]


def disturb(text: str, language: str, rng: random.Random) -> str:
    """The text with one more word that changes nothing, somewhere."""
    filler = unknown_word(language, rng) if rng.random() < 0.4 else rng.choice(FILLERS[language])
    if language == "zh":
        places = [match.start() for match in _BEFORE_ZH.finditer(text)]
        place = rng.choice(places)
        return text[:place] + filler + text[place:]
    words = text.split(" ")
    words.insert(rng.randrange(len(words)), filler)
    return " ".join(words)
