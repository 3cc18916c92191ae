"""A tenant's rules as one expression, with what each match does and the longest match there can be."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Literal

from generation.chat.filters.patterns import BadPattern, parse_pattern

Kind = Literal["word", "pattern"]
Action = Literal["redact", "stop"]
KINDS: tuple[Kind, ...] = ("word", "pattern")
ACTIONS: tuple[Action, ...] = ("redact", "stop")
MAX_RULES = 200
MAX_WORD_CHARS = 64
MAX_ALL_WAYS = 5000
MAX_ALL_LETTERS = 3000
REDACTED = "[removed]"

# Scripts that put blanks between words. A word that begins or ends with a letter of theirs must not go on beyond it.
_SPACED = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A), (0xAA, 0x2AF), (0x300, 0xDFF), (0x10A0, 0x177F),
           (0x1800, 0x1FFF))  # fmt: skip
# Signs that nobody sees (Default_Ignorable_Code_Point, Unicode's DerivedCoreProperties.txt): zero-width ones, soft
# hyphens, what turns the direction of writing, variation selectors, tags. Up to two may stand between two letters.
_UNSEEN_SIGNS = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff"
)
_UNSEEN = f"(?-i:[{_UNSEEN_SIGNS}]{{0,2}})"
_UNSEEN_CHARS = 2


def _letters() -> str:
    """Letters, digits and accents of those scripts, as ranges of a set: their punctuation is none of a word's."""
    unseen = re.compile(f"[{_UNSEEN_SIGNS}]")
    ranges: list[list[int]] = []
    for code in (code for first, last in _SPACED for code in range(first, last + 1)):
        char = chr(code)
        if (char == "_" or unicodedata.category(char)[0] in "LMN") and not unseen.match(char):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in ranges)


_LETTER = f"(?-i:[{_letters()}])"
_IS_LETTER = re.compile(_LETTER)


@dataclass(frozen=True, slots=True)
class Rule:
    """A word or a pattern, and what its match does. Raises `ValueError` for what cannot be one.

    A word matches as a whole word where its script has such (so `ass` is not found in `glass`), in Chinese and Japanese
    wherever it stands.
    """

    kind: Kind
    action: Action
    text: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.action not in ACTIONS:
            raise ValueError(f"a rule is one of {', '.join(KINDS)}, and does one of {', '.join(ACTIONS)}")
        if self.kind == "pattern":
            parse_pattern(self.text)
        else:
            word = _normal(self.text)
            if not 0 < len(word) <= MAX_WORD_CHARS:
                raise BadPattern(f"a word must have 1 to {MAX_WORD_CHARS} characters")


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules of a tenant. `stops` are the numbers of the groups whose match ends an answer."""

    expression: re.Pattern[str]
    longest: int
    stops: frozenset[int]


@lru_cache(maxsize=512)
def compile_rules(rules: tuple[Rule, ...]) -> RuleSet | None:
    """The rules as one expression; None where there are none. Raises `ValueError` for too many.

    Where two match at one place, the one that stops comes first, then the order of the rules.
    """
    if not rules:
        return None
    if len(rules) > MAX_RULES:
        raise ValueError(f"{len(rules)} rules, max {MAX_RULES}")
    ordered = sorted(rules, key=lambda rule: rule.action != "stop")
    parts = [_part_of(rule) for rule in ordered]
    if (ways := sum(part.ways for part in parts)) > MAX_ALL_WAYS:
        raise ValueError(f"the rules may be tried in {ways} ways at one place, max {MAX_ALL_WAYS}")
    if (letters := sum(part.letters for part in parts)) > MAX_ALL_LETTERS:
        raise ValueError(f"the words have {letters} letters together, max {MAX_ALL_LETTERS}")
    # What stands before and after is looked at once for all neighbours that want the same: with two hundred words this
    # is a tenth of the work.
    groups = groupby(parts, key=lambda part: (part.before, part.after))
    source = "|".join(
        f"{before}(?:{'|'.join(f'({part.source})' for part in found)}){after}" for (before, after), found in groups
    )
    return RuleSet(
        expression=re.compile(source, re.IGNORECASE),
        longest=max(part.longest for part in parts),
        stops=frozenset(number for number, rule in enumerate(ordered, start=1) if rule.action == "stop"),
    )


def pick_rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Rules as `compile_rules` takes them: each once."""
    return tuple(dict.fromkeys(rules))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A rule as a part of the expression; `letters` are those of a word, each of which takes time to compile."""

    source: str
    longest: int
    ways: int = 1
    letters: int = 0
    before: str = ""
    after: str = ""


def _part_of(rule: Rule) -> _Part:
    if rule.kind == "pattern":
        found = parse_pattern(rule.text)
        return _Part(source=found.source, longest=found.longest, ways=found.ways)
    word = _normal(rule.text)
    source = _UNSEEN.join(r"\s{1,3}" if char == " " else re.escape(char) for char in word)
    return _Part(
        source=source,
        longest=sum(3 if char == " " else 1 for char in word) + _UNSEEN_CHARS * (len(word) - 1),
        letters=len(word),
        before=f"(?<!{_LETTER})" if _IS_LETTER.match(word[0]) else "",
        after=f"(?!{_LETTER})" if _IS_LETTER.match(word[-1]) else "",
    )


def _normal(text: str) -> str:
    """A word as it is looked for: composed, without blanks around it and with single ones inside."""
    return unicodedata.normalize("NFC", " ".join(text.split()))
