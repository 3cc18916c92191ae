"""Text in pieces through a tenant's rules: gives what the whole text would give, with a bounded part held back.

A match that begins at a place depends on the sign before it, on as many signs as the longest match has, and on the one
after. So a place is decided once so much text stands behind it, and only what is decided is given out. Before that the
text is composed (NFC): a letter and an accent that come in two pieces are one sign.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from generation.chat.filters.rules import REDACTED, RuleSet

SLICE_CHARS = 256
MARKS = 32  # accents on one letter beyond which it is given out as it is

# Signs that are no accents and still join the sign before them (NFC_Quick_Check=Maybe with combining class 0; Unicode
# 14 to 16). A test computes them anew.
_JOINING = frozenset(
    "\u09be\u09d7\u0b3e\u0b56\u0b57\u0bbe\u0bd7\u0cc2\u0cd5\u0cd6\u0d3e\u0d57\u0dcf\u0ddf\u102e\u1b35"
    "\U00011127\U0001133e\U00011357\U000114b0\U000114ba\U000114bd\U000115af\U00011930"
    "\U000113b8\U000113bb\U000113c2\U000113c5\U000113c7\U000113c8\U000113c9\U00011347\U00016d67\U0001611e\U0001611f"
    "\U00016120\U00016121\U00016122\U00016123\U00016124\U00016125\U00016126\U00016127\U00016128\U00016129\U00016d63"
)


class StreamFilter:
    """One text that comes in pieces. `stopped` says that a rule has ended it.

    `tick` is called between slices of bounded work, and may raise.
    """

    def __init__(self, rules: RuleSet, tick: Callable[[], None] = lambda: None) -> None:
        self._rules = rules
        self._tick = tick
        self._text = ""  # composed; the first `_seen` signs of it are given out already and only looked back at
        self._seen = 0
        self.stopped = False

    def feed(self, piece: str) -> str:
        """What may be given out now."""
        if len(piece) <= SLICE_CHARS:
            return self._feed(piece)
        found = []
        for start in range(0, len(piece), SLICE_CHARS):
            found.append(self._feed(piece[start : start + SLICE_CHARS]))
            self._tick()
        return "".join(found)

    def end(self) -> str:
        """The rest."""
        return "" if self.stopped else self._give(len(self._text))

    def _feed(self, piece: str) -> str:
        if self.stopped:
            return ""
        self._text += piece
        if not self._text.isascii():
            self._text = self._text[: self._seen] + unicodedata.normalize("NFC", self._text[self._seen :])
        return self._give(self._settled() - self._rules.longest - 1)

    def _settled(self) -> int:
        """The place of the last sign that joins none before it: what stands before it cannot change any more."""
        at = last = len(self._text) - 1
        lowest = max(self._seen, last - MARKS)
        while at > lowest and joins(self._text[at]):
            at -= 1
        return at

    def _give(self, border: int) -> str:
        """Decide all places before the border."""
        if border <= self._seen:
            return ""
        out: list[str] = []
        at = self._seen
        while at < border:
            match = self._rules.expression.search(self._text, at)
            if match is None or match.start() >= border:
                out.append(self._text[at:border])
                at = border
                break
            out.append(self._text[at : match.start()])
            if match.lastindex in self._rules.stops:
                self.stopped = True
                self._text, self._seen = "", 0
                break
            out.append(REDACTED)
            at = match.end()
        if not self.stopped:  # one sign is kept to look back at
            keep = max(0, at - 1)
            self._text, self._seen = self._text[keep:], at - keep
        return "".join(out)


def joins(char: str) -> bool:
    """Whether a sign may become one with the sign before it."""
    return char >= "\u0300" and (
        unicodedata.combining(char) > 0
        or char in _JOINING
        or "\u1161" <= char <= "\u1175"
        or "\u11a8" <= char <= "\u11c2"
    )


def filter_text(text: str, rules: RuleSet, tick: Callable[[], None] = lambda: None) -> tuple[str, bool]:
    """A whole text, and whether a rule has ended it."""
    stream = StreamFilter(rules, tick)
    return stream.feed(text) + stream.end(), stream.stopped
