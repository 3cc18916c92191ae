"""A tenant's rules as one expression, with what each match does and the longest match there can be."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from generation.chat.filters.patterns import BadPattern, parse_pattern

Kind = Literal["word", "pattern"]
Action = Literal["redact", "stop"]
KINDS: tuple[Kind, ...] = ("word", "pattern")
ACTIONS: tuple[Action, ...] = ("redact", "stop")
MAX_RULES = 200
MAX_WORD_CHARS = 64
MAX_ALL_WAYS = 5000
REDACTED = "[removed]"

# Letters of scripts that put blanks between words; a word that begins or ends with one must not go on beyond it.
_LETTERS = r"0-9A-Za-z_\u00aa-\u02af\u0300-\u0dff\u10a0-\u177f\u1800-\u1fff"
_IS_LETTER = re.compile(f"[{_LETTERS}]")
# Signs that nobody sees: zero-width ones, soft hyphens. Up to two of them may stand between two letters of a word.
_UNSEEN = r"[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]{0,2}"
_UNSEEN_CHARS = 2


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
    if (ways := sum(part[2] for part in parts)) > MAX_ALL_WAYS:
        raise ValueError(f"the rules may be tried in {ways} ways at one place, max {MAX_ALL_WAYS}")
    source = "|".join(f"({part[0]})" for part in parts)
    return RuleSet(
        expression=re.compile(source, re.IGNORECASE),
        longest=max(part[1] for part in parts),
        stops=frozenset(number for number, rule in enumerate(ordered, start=1) if rule.action == "stop"),
    )


def pick_rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Rules as `compile_rules` takes them: each once."""
    return tuple(dict.fromkeys(rules))


def _part_of(rule: Rule) -> tuple[str, int, int]:
    """Source, longest match, ways to try."""
    if rule.kind == "pattern":
        found = parse_pattern(rule.text)
        return found.source, found.longest, found.ways
    word = _normal(rule.text)
    source = _UNSEEN.join(r"\s{1,3}" if char == " " else re.escape(char) for char in word)
    before = f"(?<![{_LETTERS}])" if _IS_LETTER.match(word[0]) else ""
    after = f"(?![{_LETTERS}])" if _IS_LETTER.match(word[-1]) else ""
    longest = sum(3 if char == " " else 1 for char in word) + _UNSEEN_CHARS * (len(word) - 1)
    return f"{before}{source}{after}", longest, 1


def _normal(text: str) -> str:
    """A word as it is looked for: composed, without blanks around it and with single ones inside."""
    return unicodedata.normalize("NFC", " ".join(text.split()))
