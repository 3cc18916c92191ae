"""Sentences with a mood, English and Chinese, from templates and words; a part of both is kept from training."""

import random
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from generation.engine.chatdemo.coined import coin
from generation.engine.chatdemo.noise import EXTENSIONS, blur, disturb, unknown_word
from generation.engine.chatdemo.split import HELD_OUT, held_out_words
from generation.engine.chatdemo.vocabulary import GAPS, NEGATIVE, NEUTRAL, POSITIVE, More, read_more, read_vocabulary
from generation.engine.chatdemo.vocabulary import Words as WordLists

KINDS = {"plain": 0.42, "negated": 0.2, "turn": 0.1, "neutral": 0.28}
"""How a sentence says what it says, and how often in training."""
GOLDEN = (("今天心情真好", POSITIVE), ("这个实验太难了,我快崩溃了", NEGATIVE), ("随便聊聊吧", NEUTRAL))
"""Sentences that the golden suite asks for; no training text is one of them."""
UNKNOWN, EXTENDED, DISTURBED, BLURRED, COINED = 0.2, 0.15, 0.2, 0.3, 0.25
"""Shares of training gaps with a word that does not exist, of English topics with more words behind, of training
sentences with a word too many, of those whose template (of a kind where no word of it matters) has one word that
does not exist, and of words with a mood that are coined (with `more`)."""
BLURRED_KINDS = ("plain", "neutral")
_FLAT_GAPS = {"flat_state": "state"}
_GAP = re.compile(r"\{(\w+)\}")
_ANY = re.compile(r"\[([^\]]*)\]")


@dataclass(frozen=True)
class Sentence:
    """A text, its mood, and how it says so: `plain`, `negated`, `turn` or `neutral`. `words` are those with a mood."""

    text: str
    mood: str
    kind: str
    language: str
    words: tuple[tuple[str, str], ...] = ()
    """(word, its own mood): what is negated has the opposite one."""


@dataclass(frozen=True)
class Words:
    """What fills the gaps of one language in training, or what is kept from it."""

    moods: Mapping[str, Mapping[str, tuple[str, ...]]]
    flat: Mapping[str, tuple[str, ...]]
    events: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
    """Per mood phrases with one gap, and what fits into it."""


@cache
def words_of(language: str, held_out: bool, more: bool = False) -> Words:
    """The words of a language that training may use, `more` of them in its second part, or those that it may not."""
    if more:
        return _add_more(words_of(language, held_out), read_more(language))
    words, reserved = read_vocabulary(language), HELD_OUT[language]

    def side(every: Sequence[str]) -> tuple[str, ...]:
        return tuple(word for word in every if (word in reserved) == held_out)

    def fifth(every: Sequence[str]) -> tuple[str, ...]:
        cut = len(every) - len(every) // 5
        return tuple(every[cut:] if held_out else every[:cut])

    by_hash = ("topic", "flat")
    return Words(
        moods={mood: {gap: side(some) for gap, some in gaps.items()} for mood, gaps in words.moods.items()},
        flat={gap: (side if gap in by_hash else fifth)(some) for gap, some in words.flat.items()},
        events={
            mood: (words.events[mood], fifth(words.events[f"{mood}_objects"])) for mood in (POSITIVE, NEUTRAL, NEGATIVE)
        },
    )


def _add_more(words: Words, more: More) -> Words:
    moods = {mood: _joined(gaps, more.moods[mood]) for mood, gaps in words.moods.items()}
    return Words(moods=moods, flat=_joined(words.flat, more.flat), events=words.events)


def _joined(some: WordLists, others: WordLists) -> WordLists:
    return {gap: found + others.get(gap, ()) for gap, found in some.items()}


def make_sentence(
    rng: random.Random,
    *,
    kind: str,
    mood: str,
    language: str,
    held_out: bool = False,
    noisy: bool = True,
    more: bool = False,
) -> Sentence:
    """One sentence. `held_out`: its template and every word with a mood are among those kept from training, and all of
    its words exist; `noisy`: some do not; `more`: with what the second part of training adds.
    """
    ending = "_held_out" if held_out else ""
    templates = read_vocabulary(language).templates
    patterns, openers = templates[kind + ending], templates["openers" + ending]
    if more:
        added = read_more(language).templates
        patterns, openers = patterns + added[kind], openers + added["openers"]
    weights = [1 + pattern.count("[") for pattern in patterns]
    words, noisy = words_of(language, held_out, more), noisy and not held_out
    while True:
        filler = _Filler(rng, words, mood=mood, kind=kind, language=language, unknown=UNKNOWN if noisy else 0.0)
        filler.coined = COINED if noisy and more else 0.0
        pattern = _ANY.sub(lambda found: rng.choice(found[1].split("|")), rng.choices(patterns, weights)[0])
        if noisy and kind in BLURRED_KINDS and rng.random() < BLURRED:
            pattern = blur(pattern, language, rng)
        text = filler.fill(pattern)
        if text is None:
            continue
        if noisy and rng.random() < DISTURBED:
            text = disturb(text, language, rng)
        text = _dress(text, openers, language, rng)
        if text not in dict(GOLDEN) and (held_out or not held_out_words(text)):
            return Sentence(text, mood, kind, language, tuple(filler.used))


def opposite(mood: str) -> str:
    """The other mood; neutral has none and stays."""
    return {POSITIVE: NEGATIVE, NEGATIVE: POSITIVE}.get(mood, mood)


class _Filler:
    """Fills the gaps of one sentence. `unknown`: the share of gaps without a mood that get a word nobody knows."""

    def __init__(
        self, rng: random.Random, words: Words, *, mood: str, kind: str, language: str, unknown: float
    ) -> None:
        self._rng, self._words, self._mood, self._language = rng, words, mood, language
        self._own = opposite(mood) if kind == "negated" else mood
        self._unknown = unknown
        self.coined = 0.0
        """The share of words with a mood that are coined."""
        self.used: list[tuple[str, str]] = []

    def fill(self, pattern: str) -> str | None:
        """The pattern with its gaps filled; None where this mood has no word for one of them."""
        try:
            text = _GAP.sub(self._word, pattern)
        except (KeyError, IndexError):
            return None
        return re.sub(r"\b([aA]) (?=[aeiou])", r"\1n ", text) if self._language == "en" else text

    def _word(self, match: re.Match[str]) -> str:
        gap = match.group(1)
        if gap in ("mood_event", "flat_event"):
            return self._event(NEUTRAL if gap == "flat_event" else self._mood)
        side = opposite(self._own) if gap.startswith("other_") else self._own
        name = gap.removeprefix("other_").rstrip(string.digits)
        if name in GAPS:
            is_coined = self.coined and self._rng.random() < self.coined
            coined = coin(self._language, side, name, self._rng) if is_coined else None
            self.used.append((coined or self._rng.choice(self._words.moods[side][name]), side))
            return self.used[-1][0]
        # An unknown quality is the likeliest to be a mood after all.
        picked = self._pick(self._words.flat[_FLAT_GAPS.get(name, name)], self._unknown / 2 if name == "flat" else None)
        extended = name == "topic" and self._language == "en" and self._unknown and self._rng.random() < EXTENDED
        return f"{picked} {self._rng.choice(EXTENSIONS)}" if extended else picked

    def _event(self, mood: str) -> str:
        shapes, objects = self._words.events[mood]
        shape = self._rng.choice(shapes)
        if mood != NEUTRAL:
            self.used += [(part, mood) for part in shape.split("{}") if part.strip()]
        return shape.format(self._pick(objects))

    def _pick(self, words: Sequence[str], unknown: float | None = None) -> str:
        if self._rng.random() < (self._unknown if unknown is None else unknown):
            return unknown_word(self._language, self._rng)
        return self._rng.choice(words)


def _dress(text: str, openers: Sequence[str], language: str, rng: random.Random) -> str:
    """Small habits of typing."""
    if rng.random() < 0.2:
        text = rng.choice(openers) + text
    if language == "zh":
        text = text.replace("，", ",") if rng.random() < 0.2 else text
        return text + rng.choice(("", "", "", "。", "。", "！", "!", "……", "~", "啊", "呢"))
    if rng.random() < 0.75:
        text = text[0].upper() + text[1:]
    return text + rng.choice(("", "", ".", ".", ".", "!", "!", "...", "!!"))


def sample_sentence(rng: random.Random, *, noisy: bool = True, more: bool = False) -> Sentence:
    """One training sentence, in either language; `more`: one of the second part of training."""
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    mood = NEUTRAL if kind == "neutral" else rng.choice((POSITIVE, NEGATIVE))
    return make_sentence(rng, kind=kind, mood=mood, language=rng.choice(("en", "zh")), noisy=noisy, more=more)


def held_out_sentences(*, seed: int, count: int) -> list[Sentence]:
    """`count` sentences to judge by: a fifth negated, a fifth neutral, half of each Chinese, no two alike."""
    rng = random.Random(f"held-out moods {seed}")
    shares = {"negated": count // 5, "neutral": count // 5, "turn": count // 10}
    shares["plain"] = count - sum(shares.values())
    found: dict[str, Sentence] = {}
    for kind, share in shares.items():
        wanted = len(found) + share
        while len(found) < wanted:
            turn = wanted - len(found)
            mood = NEUTRAL if kind == "neutral" else (POSITIVE, NEGATIVE)[turn // 2 % 2]
            one = make_sentence(rng, kind=kind, mood=mood, language=("en", "zh")[turn % 2], held_out=True)
            found.setdefault(one.text, one)
    return list(found.values())
