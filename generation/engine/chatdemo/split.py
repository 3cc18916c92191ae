"""Which words no training text may hold, in either language: by hash, so it needs no list and never drifts.

Nobody can know a word they never met, unless they know its relatives: an English word is held out only where two others
of its family stay, a Chinese one only where each of its characters is met in other words and one of them carries its
mood.
Templates are held out by name (`en.toml`, `zh.toml`).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

from generation.engine.chatdemo.vocabulary import NEGATIVE, POSITIVE, Vocabulary, read_vocabulary
from generation.engine.demo.words import vocabulary

SHARE, FLAT_SHARE = 0.3, 0.25
RELATIVES = 2
"""At least so many words of an English family stay."""
_ENGLISH = re.compile(r"[a-z]+(?:'[a-z]+)?")


def is_drawn(word: str, *, share: float = SHARE) -> bool:
    """Whether `word`'s hash is among the first `share`."""
    return hashlib.sha256(f"held out: {word}".encode()).digest()[0] / 256 < share


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


def held_out_words(text: str) -> list[str]:
    """The held-out words that `text` holds."""
    english = [word for word in _ENGLISH.findall(text.lower()) if word in HELD_OUT["en"]]
    return english + [word for word in HELD_OUT["zh"] if word in text]
