"""Which words no training text may hold, in either language: by hash, so it needs no list and never drifts.

Nobody can know a word they never met, unless they know its relatives: an English word is held out only where others of its
family stay, a Chinese one only where each of its characters is met in other words and one of them carries its mood.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

from generation.engine.chatdemo import words_en, words_zh
from generation.engine.demo.words import vocabulary

SHARE = 0.3
RELATIVES = 2
"""At least so many words of an English family stay."""
MOODS = ("positive", "neutral", "negative")
_ENGLISH = re.compile(r"[a-z]+(?:'[a-z]+)?")


def is_drawn(word: str, *, share: float = SHARE) -> bool:
    """Whether `word`'s hash is among the first `share`."""
    return hashlib.sha256(f"held out: {word}".encode()).digest()[0] / 256 < share


def _english_moods() -> set[str]:
    found: set[str] = set()
    families = [*words_en.POSITIVE, *words_en.NEGATIVE]
    for family in families:
        forms = sorted({form for field in vars(family).values() for form in re.split(r"[ /]", field) if form})
        drawn = [form for form in forms if is_drawn(form)]
        found.update(drawn[: max(0, len(forms) - RELATIVES)])
    return found


def _chinese_moods() -> set[str]:
    """Of each mood's words those whose characters others teach; the most common characters decide first."""
    found: set[str] = set()
    sides = [_chinese(words_zh, mood) for mood in ("POSITIVE", "NEGATIVE")]
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


def _chinese(module: object, mood: str) -> list[str]:
    fields = ("FEEL", "THING", "VERB", "NOUN")
    return list(dict.fromkeys(word for field in fields for word in getattr(module, f"{mood}_{field}").split()))


def _plain(words: Iterable[str]) -> set[str]:
    """Of words without mood a quarter; those that wishes need stay."""
    return {word for word in words if is_drawn(word, share=0.25)} - vocabulary()


HELD_OUT_EN = frozenset(
    _english_moods() | _plain([*words_en.TOPICS.split(), *words_en.NEUTRAL_THING.split()])
)
HELD_OUT_ZH = frozenset(
    _chinese_moods()
    | {word for word in _plain([*words_zh.TOPICS.split(), *words_zh.NEUTRAL_THING.split()]) if len(word) > 1}
)


def held_out_words(text: str) -> list[str]:
    """The held-out words that `text` holds."""
    english = [word for word in _ENGLISH.findall(text.lower()) if word in HELD_OUT_EN]
    return english + [word for word in HELD_OUT_ZH if word in text]
