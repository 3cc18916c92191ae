"""The last log lines of this process, so that staff can read what a worker said about a row that failed.

They leave the machine's log for the database, so they are stricter than the log: only lines of our own modules, of an
exception only its kind and where it was raised (what a library says may hold a prompt), nobody else's row, no prompt,
no key, no one-time link.
"""

from __future__ import annotations

import logging
import re
import threading
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from uuid import UUID

from accounts.logcontext import log_fields
from generation.domain.failures import MAX_LINES

KEPT = 400
LINE_CHARS = 300
OURS = ("generation", "accounts", "qwenstudio")
_SECRET = re.compile(r"qs_(?:live|self)_\w+|whsec_[\w+/=]+|://[^\s/@]+@|(/sign-in/link/)[\w.~%-]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class _Kept:
    at: float
    generation: str
    text: str


class RecentLines(logging.Handler):
    """A ring of lines; each knows which row it was written about, if any."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._ring: deque[_Kept] = deque(maxlen=KEPT)
        self._guard = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record's lines. Never raises: a log line must not fail a row."""
        try:
            about = str(getattr(record, "generation", "") or log_fields().get("generation", ""))
            kept = [_Kept(record.created, about, text) for text in _lines_of(record)]
        except Exception:
            return
        with self._guard:
            self._ring.extend(kept)

    def about(self, generation: UUID, *, since: float, hide: Sequence[str] = ()) -> tuple[str, ...]:
        """The last lines since its claim, about this row and about none; without `hide`."""
        wanted = str(generation)
        with self._guard:
            kept = list(self._ring)
        found = [line.text for line in kept if line.at >= since and line.generation in ("", wanted)]
        return tuple(_without(line, hide) for line in found[-MAX_LINES:])


def _lines_of(record: logging.LogRecord) -> list[str]:
    moment = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
    head = f"{moment} {record.levelname} {record.name}: "
    if record.name.partition(".")[0] not in OURS:
        if record.levelno < logging.WARNING:
            return []
        return [f"{head}(a library's words; the worker's own log has them)"]
    lines = [_clean(head + record.getMessage())]
    if record.exc_info and record.exc_info[0] is not None:
        lines += _trace(record.exc_info[0], record.exc_info[2])
    return lines


def _trace(kind: type[BaseException], trace: TracebackType | None) -> list[str]:
    """Where it was raised, by file, line and function: neither its words nor the values of arguments."""
    frames = traceback.extract_tb(trace)[-8:]
    return [*(f"  {_short(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames), f"  {kind.__name__}"]


def _short(filename: str) -> str:
    path = Path(filename)
    if path.is_relative_to(_ROOT) and "site-packages" not in path.parts:
        return path.relative_to(_ROOT).as_posix()
    return "/".join(path.parts[-3:])


def _clean(text: str) -> str:
    return _CONTROL.sub(" ", _SECRET.sub(r"\1…", text))[:LINE_CHARS]


def _without(line: str, hide: Sequence[str]) -> str:
    """The line without a prompt, should one have found its way into it."""
    for text in hide:
        for form in (_CONTROL.sub(" ", text).strip(), repr(text)[1:-1]):
            # Its beginning is enough, and all that follows goes with it: lines are cut, prompts are long.
            found = line.find(form[:40]) if len(form) >= 4 else -1
            if found >= 0:
                line = line[:found] + "…"
    return line
