"""Which words no training text may hold, in either language: by hash, so it needs no list and never drifts.

Nobody can know a word they never met, unless they know its relatives: an English word is held out only where two others
of its family stay, a Chinese one only where each of its characters is met in other words and one of them carries its
mood.
Templates are held out by name (`en.toml`, `zh.toml`).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from generation.engine.chatdemo.vocabulary import NEGATIVE, POSITIVE, Vocabulary, read_vocabulary
from generation.engine.demo.words import vocabulary

SHARE, FLAT_SHARE, DEV_SHARE = 0.3, 0.25, 0.12
RELATIVES = 2
"""At least so many words of an English family stay."""
_ENGLISH = re.compile(r"[a-z]+(?:'[a-z]+)?")


def is_drawn(word: str, *, share: float = SHARE, by: str = "held out") -> bool:
    """Whether `word`'s hash, another one for each `by`, is among the first `share`."""
    return hashlib.sha256(f"{by}: {word}".encode()).digest()[0] / 256 < share


def _english_moods(words: Vocabulary) -> set[str]:
    found: set[str] = set()
    for family in (*words.families[POSITIVE], *words.families[NEGATIVE]):
        drawn = [form for form in sorted(family) if is_drawn(form)]
        found.update(drawn[: max(0, len(family) - RELATIVES)])
    return found


def _chinese_moods(words: Vocabulary) -> set[str]:
    """Of each mood's words those whose characters others teach."""
    found: set[str] = set()
    sides = [
        {word for gap, some in words.moods[mood].items() if gap != "collapse" for word in some} for mood in words.moods
    ]
    for own, other in (sides, sides[::-1]):
        left = Counter(char for word in own for char in set(word))
        against = Counter(char for word in other for char in set(word))
        for word in sorted(own):
            chars = set(word)
            teaches = any(left[char] > 2 and left[char] >= 4 * against[char] for char in chars)
            known = all(left[char] + against[char] > 1 for char in chars)
            if len(word) > 1 and is_drawn(word) and teaches and known:
                found.add(word)
                left.subtract(chars)
    return found


def _flat(words: Vocabulary) -> set[str]:
    """Of words without a mood a quarter; those that wishes need stay, and single characters."""
    every: Iterable[str] = (*words.flat["topic"], *words.flat["flat"])
    return {word for word in every if len(word) > 1 and is_drawn(word, share=FLAT_SHARE)} - vocabulary()


_EN, _ZH = read_vocabulary("en"), read_vocabulary("zh")
HELD_OUT = {
    "en": frozenset(_english_moods(_EN) | _flat(_EN)),
    "zh": frozenset(_chinese_moods(_ZH) | _flat(_ZH)),
}


def _dev_english() -> frozenset[str]:
    found: set[str] = set()
    for family in (*_EN.families[POSITIVE], *_EN.families[NEGATIVE]):
        stay = sorted(family - HELD_OUT["en"])
        drawn = [word for word in stay if is_drawn(word, share=DEV_SHARE, by="dev")]
        found.update(drawn[: max(0, len(stay) - RELATIVES)])
    return frozenset(found)


def _dev_chinese() -> frozenset[str]:
    """Of each mood's words that stay those whose every character is in others of them."""
    found: set[str] = set()
    for mood in (POSITIVE, NEGATIVE):
        stay = {word for gap in ("feel", "thing") for word in _ZH.moods[mood][gap]} - HELD_OUT["zh"]
        left = Counter(char for word in stay for char in set(word))
        for word in sorted(stay):
            if len(word) > 1 and is_drawn(word, share=2 * DEV_SHARE, by="dev") and all(left[char] > 1 for char in word):
                found.add(word)
                left.subtract(set(word))
    return frozenset(found)


DEV = {"en": _dev_english(), "zh": _dev_chinese()}
"""Words that training does not hold either: by them, in templates of their own (`dev.py`), is chosen among several
trainings, so that what is held out judges only the one that was chosen.
"""


def held_out_words(text: str, *, of: Mapping[str, frozenset[str]] = HELD_OUT) -> list[str]:
    """The held-out words that `text` holds, or those of another split."""
    english = [word for word in _ENGLISH.findall(text.lower()) if word in of["en"]]
    return english + [word for word in of["zh"] if word in text]
