"""Words with a mood that no dictionary has, from the parts of those that training knows: "gloomish", "愁哀".

A model that is trained for long knows each word by heart and need not look at what it is made of. A coined word it
meets once: its mood stands in the stem, or in the characters, and nowhere else.
"""

import random
from collections import Counter
from functools import cache

from generation.engine.chatdemo.noise import MOODLESS
from generation.engine.chatdemo.split import DEV, HELD_OUT
from generation.engine.chatdemo.stems import SHORTEST_STEM, stems_by_mood
from generation.engine.chatdemo.vocabulary import NEGATIVE, POSITIVE, read_vocabulary

_ENDINGS = {
    "feel": ("ed", "ful", "ened", "y", "ous", "some"),
    "thing": ("ing", "ful", "able", "ous", "ive", "y", "some", "ish", "ic"),
    "verb": ("", "en", "ify"),
    "verbed": ("ed", "ened", "ified"),
    "noun": ("", "ness", "ment", "ion", "ance", "fulness"),
    "adverb": ("ly", "fully", "ingly", "ously", "edly", "ily"),
}
_DENIED = 0.3
"""The share of coined bad qualities that deny a good one: "unlovely", "joyless"."""
_DENYING = frozenset("不没无非未别")
_KNOWN, _CLEARLY = 2, 4
"""A character teaches a mood when it is in so many words of it, and in so many times more than of the other."""


def coin(language: str, mood: str, gap: str, rng: random.Random) -> str | None:
    """A word for `gap`; None where this gap takes no coined ones."""
    if language == "zh":
        return _coin_chinese(mood, rng) if gap in ("feel", "thing") else None
    return _coin_english(mood, gap, rng) if gap in _ENDINGS else None


def _kept(language: str, mood: str, gap: str) -> tuple[str, ...]:
    words = read_vocabulary(language).moods[mood].get(gap, ())
    return tuple(word for word in words if word not in HELD_OUT[language] | DEV[language])


@cache
def _english_stems(mood: str) -> tuple[str, ...]:
    """Stems of this mood alone: none that has it only behind "un", or before "less"."""
    own = {
        stem
        for word, stem in stems_by_mood()[mood].items()
        if word.startswith(stem) and not word.startswith(f"{stem}less") and f"{stem}less" not in HELD_OUT["en"]
    }
    other = set(stems_by_mood()[NEGATIVE if mood == POSITIVE else POSITIVE].values())
    return tuple(sorted(stem for stem in own - other if len(stem) > SHORTEST_STEM))


def _coin_english(mood: str, gap: str, rng: random.Random) -> str:
    if mood == NEGATIVE and gap in ("feel", "thing") and rng.random() < _DENIED:
        if rng.random() < 0.5:
            return f"un{rng.choice(_kept('en', POSITIVE, gap))}"
        return f"{rng.choice(_kept('en', POSITIVE, 'noun'))}less"
    stem, ending = rng.choice(_english_stems(mood)), rng.choice(_ENDINGS[gap])
    return stem + (ending[1:] if ending[:1] == stem[-1] else ending)


@cache
def _characters(mood: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Characters that teach `mood`, and all of its words."""
    counts = {
        side: Counter(
            char
            for word in {one for gap in ("feel", "thing", "noun") for one in _kept("zh", side, gap)}
            for char in set(word) - _DENYING
        )
        for side in (POSITIVE, NEGATIVE)
    }
    own, other = counts[mood], counts[NEGATIVE if mood == POSITIVE else POSITIVE]
    teach = sorted(one for one in own if own[one] >= _KNOWN and own[one] >= _CLEARLY * other[one])
    return tuple(teach), tuple(sorted(one for one in own if not other[one]))


def _coin_chinese(mood: str, rng: random.Random) -> str:
    teach, every = _characters(mood)
    first = rng.choice(teach)
    chance = rng.random()
    if mood == NEGATIVE and chance < 0.1:
        return f"{first}{first}不{rng.choice(_characters(POSITIVE)[0])}"
    second = rng.choice(teach if chance < 0.6 else every if chance < 0.9 else MOODLESS)
    pair = [first, second]
    rng.shuffle(pair)
    return "".join(pair)
