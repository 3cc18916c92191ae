"""Stems of English words with a mood: where their family begins alike, as far as training words show it."""

import re
from collections.abc import Sequence
from functools import cache

from generation.engine.chatdemo.split import HELD_OUT
from generation.engine.chatdemo.vocabulary import NEGATIVE, POSITIVE, read_vocabulary

SHORTEST_STEM = 3
PREFIXES = ("un", "dis", "em", "in")
ENDINGS = (
    "fully", "fulness", "ful", "lessness", "less", "ingly", "ing", "edly", "ed", "iest", "ier", "er", "est", "iness",
    "ness", "ously", "ous", "ably", "able", "ment", "ation", "tion", "ion", "ily", "ly", "ish", "ic", "ance", "ence",
    "ent", "ant", "ive", "y", "e",
)  # fmt: skip
"""Longer ones first."""
PREFIX = re.compile(f"^({'|'.join(PREFIXES)})(?=[a-z]{{4}})", re.IGNORECASE)
ENDING = re.compile(f"(?<=[a-z]{{3}})({'|'.join(ENDINGS)})$", re.IGNORECASE)


@cache
def stems_by_mood() -> dict[str, dict[str, str]]:
    """Per mood, of each English word its stem: where its family begins alike that, else the word without its ending."""
    families = read_vocabulary("en").families
    found: dict[str, dict[str, str]] = {POSITIVE: {}, NEGATIVE: {}}
    for mood, stems in found.items():
        for family in families[mood]:
            kept = sorted(family - HELD_OUT["en"])
            common = ENDING.sub("", _common_start(kept))
            for word in kept:
                bare = ENDING.sub("", PREFIX.sub("", word))
                stems[word] = common if len(common) >= SHORTEST_STEM else bare
    return found


def _common_start(words: Sequence[str]) -> str:
    """The letters with which all of them begin."""
    first, *others = words
    return next((first[:at] for at in range(len(first), 0, -1) if all(one[:at] == first[:at] for one in others)), "")
