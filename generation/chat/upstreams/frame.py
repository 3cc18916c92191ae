"""Most events of a stream differ in nothing but their words: what stands around those is read once."""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson

from generation.chat.deltas import Delta

TRIES = 8  # in a row; where each event has a time of its own, it is not worth more
_FIELD = b'"content":'
_STRING = re.compile(rb'"(?:[^"\\]+|\\.)*+"')
_PROBE = "\0 probe"
_PROBE_JSON = orjson.dumps(_PROBE)


class Frame:
    """The bytes before and after the words.

    An event that begins and ends with them, and has one JSON string between, can differ from the known one in that
    string alone: JSON is read token by token. That the string is the words is tried with a probe.
    """

    def __init__(self, read: Callable[[bytes], Delta]) -> None:
        self._read = read  # an event as a whole
        self._before = self._after = b""
        self._tries = 0

    def words(self, event: bytes) -> str:
        """The words of an event of this shape; nothing for any other one."""
        before, after = self._before, self._after
        if not (before and event.startswith(before) and event.endswith(after)):
            return ""
        try:
            found = orjson.loads(event[len(before) : len(event) - len(after)])
        except orjson.JSONDecodeError:
            return ""
        if not isinstance(found, str):
            return ""
        self._tries = 0
        return found

    def learn(self, event: bytes, delta: Delta) -> None:
        """Look at an event that was read as a whole."""
        if self._tries == TRIES or delta != Delta(delta.text):
            return
        self._tries += 1
        start = event.find(_FIELD) + len(_FIELD)
        found = _STRING.match(event, start + event[start : start + 1].isspace())
        if start < len(_FIELD) or found is None:
            return
        before, after = event[: found.start()], event[found.end() :]
        if self._read(before + _PROBE_JSON + after) == Delta(_PROBE):
            self._before, self._after = before, after
