"""What somebody at a terminal reads while it goes on; elsewhere nothing, and tests hear of each step."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from qwenstudio.backup.disk import readable

EVERY_S = 0.3


class Progress:
    """Steps and counts on a terminal's one line."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._shows = self._out.isatty()
        self._written_at = 0.0

    def step(self, text: str) -> None:
        """A new piece of work begins."""
        self._say(f"{text} …")

    def count(self, text: str, *, done: int, total: int, size: int = 0) -> None:
        """How far it is; cheap enough to be called for every file."""
        now = time.monotonic()
        if not self._shows or (now - self._written_at < EVERY_S and done < total):
            return
        self._written_at = now
        self._say(f"{text}: {done:,} of {total:,}{f', {readable(size)}' if size else ''}")

    def end(self) -> None:
        """Leave an empty line behind."""
        if self._shows:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def _say(self, text: str) -> None:
        if self._shows:
            self._out.write(f"\r\x1b[K{text}")
            self._out.flush()
