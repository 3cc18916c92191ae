"""An answer's deltas through a tenant's rules: its words, its thoughts and the arguments of its calls.

The arguments of a call are JSON, in which a word may be written with escapes; so they are held until they are whole,
and each text and number in them is looked at as what it says. A filter that fails, or takes longer than it may, blocks
the answer.
"""

from __future__ import annotations

import json
import math
import re
import time
import unicodedata
from typing import Any

from generation.chat.deltas import Delta, ToolCallPiece
from generation.chat.filters.rules import RuleSet
from generation.chat.filters.stream import StreamFilter, filter_text
from generation.errors import AnswerBlocked

BUDGET_S = 0.5  # of the processor, for all of one answer
ARGUMENT_CHARS = 262_144


class AnswerFilter:
    """One answer. `stopped` says that a rule has ended it: what comes after is not looked at."""

    def __init__(self, rules: RuleSet, *, budget_s: float = BUDGET_S) -> None:
        self._rules = rules
        self._text = StreamFilter(rules, self._tick)
        self._reasoning = StreamFilter(rules, self._tick)
        self._calls: dict[int, list[ToolCallPiece]] = {}
        self._chars = 0
        self._left = budget_s
        self._began = 0.0
        self.stopped = False

    def feed(self, delta: Delta) -> Delta:
        """What may be told now. Raises `AnswerBlocked`."""
        self._began = time.thread_time()
        try:
            found = self._feed(delta)
            self._tick()
        except AnswerBlocked:
            raise
        except Exception as error:  # whatever it is: an answer that was not looked at is not shown
            raise AnswerBlocked("your organisation's rules could not be applied to this answer") from error
        return found

    def _tick(self) -> None:
        now = time.thread_time()
        self._left -= now - self._began
        self._began = now
        if self._left < 0:
            raise AnswerBlocked("your organisation's rules took too long for this answer")

    def _feed(self, delta: Delta) -> Delta:
        ends = delta.finish is not None
        self._hold(delta.tool_calls)
        reasoning = self._pass(self._reasoning, delta.reasoning, ends=ends)
        text = "" if self._reasoning.stopped else self._pass(self._text, delta.text, ends=ends)
        self.stopped = self._reasoning.stopped or self._text.stopped
        calls = self._release() if ends and not self.stopped else ()
        finish = "content_filter" if self.stopped else delta.finish
        return Delta(text, reasoning, () if self.stopped else calls, finish, delta.usage)

    def _pass(self, stream: StreamFilter, piece: str, *, ends: bool) -> str:
        found = stream.feed(piece) if piece else ""
        return found + stream.end() if ends else found

    def _hold(self, pieces: tuple[ToolCallPiece, ...]) -> None:
        for piece in pieces:
            self._calls.setdefault(piece.index, []).append(piece)
            self._chars += len(piece.arguments) + len(piece.name)
        if self._chars > ARGUMENT_CHARS:
            raise AnswerBlocked("the calls in this answer are too long for your organisation's rules")

    def _release(self) -> tuple[ToolCallPiece, ...]:
        """The calls, whole."""
        found = []
        for index, pieces in sorted(self._calls.items()):
            name = "".join(piece.name for piece in pieces)
            arguments = self._arguments("".join(piece.arguments for piece in pieces))
            if self.stopped:
                return ()
            found.append(ToolCallPiece(index, "".join(piece.id for piece in pieces[:1]), name, arguments))
        self._calls.clear()
        return tuple(found)

    def _arguments(self, arguments: str) -> str:
        try:
            value, is_plain = _read(arguments)
        except ValueError:
            return self._no_json(arguments)
        changed = self._value(value)
        return arguments if is_plain and changed == value else json.dumps(changed)

    def _no_json(self, text: str) -> str:
        """As the model wrote it, a text like any other; and as a reader that is not strict would understand it."""
        found, meant = self._whole(text), _unescape(text)
        if meant != text and (without := self._whole(meant)) != unicodedata.normalize("NFC", meant):
            return without
        return found

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._whole(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found = self._whole(digits := json.dumps(value))
            return value if found == digits else found
        if isinstance(value, dict):
            return {self._whole(name): self._value(child) for name, child in value.items()}
        if isinstance(value, list):
            return [self._value(child) for child in value]
        return value

    def _whole(self, text: str) -> str:
        found, stopped = filter_text(text, self._rules, self._tick)
        self.stopped = self.stopped or stopped
        return found


def _read(arguments: str) -> tuple[Any, bool]:
    """The arguments, and whether every reader finds the same in them. Raises `ValueError`.

    Not the strictest reader: lone surrogates are none for that one, and still are read by most clients.
    """
    is_plain = True

    def read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal is_plain
        found = dict(pairs)
        is_plain = is_plain and len(found) == len(pairs)
        return found

    return json.loads(arguments, object_pairs_hook=read_object, parse_constant=_finite, parse_float=_finite), is_plain


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("no number of JSON's")
    return value


def _unescape(text: str) -> str:
    """A text with JSON's escapes as the signs that they stand for."""

    def sign(found: re.Match[str]) -> str:
        return chr(int(found[1], 16)) if found[1] else _SIGNS.get(found[2], found[2])

    return _ESCAPE.sub(sign, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_SIGNS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
