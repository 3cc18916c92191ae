"""How many passwords one process checks at a time.

Checking one takes a third of a second of a core, on purpose, and a thread of the few that pages have. Forty people who
come at nine o'clock, or somebody with many addresses, would hold all threads and both cores for minutes, and no page
would come any more. So half of the threads at most are at the door, and half of those at work; whoever finds no room is
asked to come back in a moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

AT_WORK = 2
AT_THE_DOOR = 4
"""Half of the threads of a web process (`--blocking-threads` of `studio-web@.service`, `PAGE_THREADS` of the front)."""
COME_BACK_S = 3


class Crowded(Exception):
    """No room at the door."""


class Turnstile:
    """A few inside, fewer of them at work."""

    def __init__(self, *, at_work: int = AT_WORK, at_the_door: int = AT_THE_DOOR) -> None:
        self._inside = BoundedSemaphore(at_the_door)
        self._working = BoundedSemaphore(at_work)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one's turn. Raises `Crowded` at once where too many wait already."""
        if not self._inside.acquire(blocking=False):
            raise Crowded
        try:
            with self._working:
                yield
        finally:
            self._inside.release()


turnstile = Turnstile()
