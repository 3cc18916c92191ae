"""SIGTERM and SIGINT set a flag, and nothing else.

RQ's own handlers write to Redis: with Redis down they raised in the middle of a forward. So they are never installed.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from types import FrameType

logger = logging.getLogger(__name__)


class StopFlag:
    """Whether this process was asked to end, and since when. A second signal changes nothing."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._asked_at = 0.0

    def install(self) -> None:
        """Take SIGTERM and SIGINT over. Main thread only."""
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._on_signal)

    def ask(self) -> None:
        """Ask the process to end."""
        if not self._event.is_set():
            self._asked_at = time.monotonic()
            self._event.set()

    @property
    def asked(self) -> bool:
        return self._event.is_set()

    @property
    def seconds(self) -> float:
        """Seconds since the first request; 0 before it."""
        return time.monotonic() - self._asked_at if self.asked else 0.0

    def wait(self, seconds: float) -> bool:
        """Sleep, but not past a request to end; whether there was one."""
        return self._event.wait(seconds)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.ask()
