"""How many event streams one caller may hold and open: one lives for hours, so the count of a minute is no bound.

A key is made in a second, so all of a member's keys together have a bound too. The counts are this process's own;
behind several processes a caller may hold that many in each.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.conf import settings

from accounts.domain.callers import Caller
from accounts.errors import RateLimited

WINDOW_S = 60.0
KEYS = 5  # so many callers' worth one member has, with however many keys
PER_WINDOW = 120
"""Openings in a minute: a browser whose connection flickers comes back every two seconds."""


class Openings:
    """The streams of this process by caller (a key, or a member without one)."""

    def __init__(self) -> None:
        self._held: defaultdict[tuple[UUID, bool], int] = defaultdict(int)  # the flag: of the member altogether
        self._opened: dict[tuple[UUID, bool], int] = {}
        self._window_ends = 0.0

    @contextmanager
    def hold(self, caller: Caller) -> Iterator[None]:
        """Count one stream while the block runs. Raises `RateLimited` for one too many."""
        names = self._names_of(caller)
        for who, share in names.items():
            self._count_opening(who, share=share)
        for who, share in names.items():
            most = settings.STREAMS_PER_CALLER * share
            if self._held.get(who, 0) >= most:
                whose = "per caller" if share == 1 else "of one member"
                raise RateLimited(f"too many open streams, max {most} {whose}: close some", retry_after_s=5)
        for who in names:
            self._held[who] += 1
        try:
            yield
        finally:
            for who in names:
                self._held[who] -= 1
                if not self._held[who]:
                    del self._held[who]

    @staticmethod
    def _names_of(caller: Caller) -> dict[tuple[UUID, bool], int]:
        """Under what a stream is counted, and how many callers' worth that may hold."""
        own: dict[tuple[UUID, bool], int] = {(caller.key or caller.user or caller.tenant, False): 1}
        return own | ({(caller.user, True): KEYS} if caller.user else {})

    def _count_opening(self, who: tuple[UUID, bool], *, share: int) -> None:
        now = time.monotonic()
        if now >= self._window_ends:
            self._opened.clear()
            self._window_ends = now + WINDOW_S
        self._opened[who] = self._opened.get(who, 0) + 1
        most = max(PER_WINDOW, settings.STREAMS_PER_CALLER) * share
        if self._opened[who] > most:
            raise RateLimited(
                f"too many streams opened, max {most} a minute", retry_after_s=max(1, round(self._window_ends - now))
            )
