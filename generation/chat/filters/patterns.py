"""The language of patterns: a part of regular expressions in which nothing is unbounded.

    abc  .  [a-z]  [^0-9]  \\d \\w \\s \\D \\W \\S  \\b  (a|b)  x?  x{3}  x{1,20}   and \\ before any sign

Not in it: `*` and `+` (write {0,20}), references, look-around, a repeat of what contains a choice or another repeat. So
each expression has a longest match and a largest number of ways to try, both known before it is ever run; an expression
beyond them is refused when it is written, not when an answer hangs.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

MAX_PATTERN_CHARS = 200
MAX_MATCH_CHARS = 190
MAX_WAYS = 2000
_CLASSES = "dwsDWS"
_SPECIAL = "\\.[](){}?*+|^$"


class BadPattern(ValueError):
    """Not in the language; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A part of an expression: its source for `re`, the shortest and longest match, the ways to try at one place.

    `is_plain` says that it holds no choice and no repeat, so that it may be repeated.
    """

    source: str
    shortest: int
    longest: int
    ways: int
    is_plain: bool


def parse_pattern(text: str) -> Pattern:
    """An expression, checked. Raises `BadPattern`."""
    text = unicodedata.normalize("NFC", text)
    if not 0 < len(text) <= MAX_PATTERN_CHARS:
        raise BadPattern(f"a pattern must have 1 to {MAX_PATTERN_CHARS} characters")
    parser = _Parser(text)
    found = parser.choice()
    if parser.at < len(text):
        raise parser.wrong("nothing opens this")
    if found.longest > MAX_MATCH_CHARS:
        raise BadPattern(f"the pattern may match {found.longest} characters, max {MAX_MATCH_CHARS}")
    if found.ways > MAX_WAYS:
        raise BadPattern(f"the pattern may be tried in {found.ways} ways at one place, max {MAX_WAYS}: repeat less")
    if not found.shortest:
        raise BadPattern("the pattern also matches where nothing is")
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0

    def wrong(self, why: str) -> BadPattern:
        """A complaint about the place that was reached."""
        return BadPattern(f"character {self.at + 1}: {why}")

    def choice(self) -> Pattern:
        """Sequences between bars."""
        branches = [self._sequence()]
        while self._peek() == "|":
            self.at += 1
            branches.append(self._sequence())
        if len(branches) == 1:
            return branches[0]
        return Pattern(
            "|".join(branch.source for branch in branches),
            min(branch.shortest for branch in branches),
            max(branch.longest for branch in branches),
            sum(branch.ways for branch in branches),
            is_plain=False,
        )

    def _sequence(self) -> Pattern:
        parts: list[Pattern] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated())
        ways = 1
        for part in parts:
            ways = min(ways * part.ways, 10**9)
        return Pattern(
            "".join(part.source for part in parts),
            sum(part.shortest for part in parts),
            sum(part.longest for part in parts),
            ways,
            is_plain=all(part.is_plain for part in parts),
        )

    def _repeated(self) -> Pattern:
        one = self._one()
        sign = self._peek()
        if sign in ("*", "+"):
            raise self.wrong(f"{sign} has no bound, write {{{0 if sign == '*' else 1},20}}")
        if sign == "?":
            self.at += 1
            least, most = 0, 1
        elif sign == "{":
            least, most = self._bounds()
        else:
            return one
        if self._peek() in ("?", "*", "+", "{"):
            raise self.wrong("a repeat of a repeat")
        if not one.is_plain:
            raise self.wrong("a repeat of what holds a choice or a repeat itself")
        if one.longest == 0:
            raise self.wrong("a repeat of nothing")
        source = f"(?:{one.source}){{{least},{most}}}"
        return Pattern(source, one.shortest * least, one.longest * most, most - least + 1, is_plain=least == most)

    def _bounds(self) -> tuple[int, int]:
        found = re.compile(r"\{(\d{1,3})(?:,(\d{1,3}))?\}").match(self._text, self.at)
        if found is None:
            raise self.wrong("a repeat is written {3} or {1,20}")
        least = int(found[1])
        most = int(found[2]) if found[2] is not None else least
        if not least <= most or most == 0:
            raise self.wrong("a repeat goes from the smaller number to the larger")
        self.at = found.end()
        return least, most

    def _one(self) -> Pattern:
        sign = self._peek()
        if sign == "(":
            return self._group()
        if sign == "[":
            return self._set()
        if sign == "\\":
            return self._escaped()
        if sign in _SPECIAL and sign != ".":
            raise self.wrong(f"{sign} must have a \\ before it, or something to repeat")
        self.at += 1
        return Pattern("." if sign == "." else re.escape(sign), 1, 1, 1, is_plain=True)

    def _group(self) -> Pattern:
        self.at += 1
        if self._peek() == "?":
            raise self.wrong("groups have no options")
        inner = self.choice()
        if self._peek() != ")":
            raise self.wrong("a ) is missing")
        self.at += 1
        return Pattern(f"(?:{inner.source})", inner.shortest, inner.longest, inner.ways, inner.is_plain)

    def _escaped(self) -> Pattern:
        sign = self._text[self.at + 1 : self.at + 2]
        if not sign:
            raise self.wrong("a \\ at the end")
        if sign == "b":
            self.at += 2
            return Pattern(r"\b", 0, 0, 1, is_plain=True)
        if sign.isalnum() and sign not in _CLASSES:
            raise self.wrong(f"\\{sign} is not in the language")
        self.at += 2
        return Pattern(f"\\{sign}" if sign in _CLASSES else re.escape(sign), 1, 1, 1, is_plain=True)

    def _set(self) -> Pattern:
        start = self.at
        self.at += 1
        source = "["
        if self._peek() == "^":
            source += "^"
            self.at += 1
        empty = True
        while (sign := self._peek()) != "]" or empty:
            if not sign:
                self.at = start
                raise self.wrong("a ] is missing")
            source += self._member()
            empty = False
        self.at += 1
        return Pattern(source + "]", 1, 1, 1, is_plain=True)

    def _member(self) -> str:
        """A sign, a class, or a range of signs in a set."""
        low, is_class = self._sign()
        if is_class or self._text[self.at : self.at + 1] != "-" or self._text[self.at + 1 : self.at + 2] in ("]", ""):
            return low
        self.at += 1
        high, is_class = self._sign()
        if is_class or high.lstrip("\\") < low.lstrip("\\"):
            raise self.wrong("a range goes from the smaller sign to the larger")
        return f"{low}-{high}"

    def _sign(self) -> tuple[str, bool]:
        sign = self._peek()
        if sign == "\\":
            sign = self._text[self.at + 1 : self.at + 2]
            if not sign or (sign.isalnum() and sign not in _CLASSES):
                raise self.wrong("no such sign in a set")
            self.at += 2
            return (f"\\{sign}", True) if sign in _CLASSES else (re.escape(sign), False)
        if not sign:
            raise self.wrong("a ] is missing")
        self.at += 1
        return f"\\{sign}" if sign in "[]^-&~|\\" else re.escape(sign), False

    def _peek(self) -> str:
        return self._text[self.at : self.at + 1]
