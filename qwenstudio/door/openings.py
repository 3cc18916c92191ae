"""How many event streams one caller may hold and open: one lives for hours, so the count of a minute is no bound.

The counts are this process's own; behind several processes a caller may hold that many in each.
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
PER_WINDOW = 120
"""Openings in a minute: a browser whose connection flickers comes back every two seconds."""


class Openings:
    """The streams of this process by caller (a key, or a member without one)."""

    def __init__(self) -> None:
        self._held: defaultdict[UUID, int] = defaultdict(int)
        self._opened: dict[UUID, int] = {}
        self._window_ends = 0.0

    @contextmanager
    def hold(self, caller: Caller) -> Iterator[None]:
        """Count one stream while the block runs. Raises `RateLimited` for one too many."""
        who = caller.key or caller.user or caller.tenant
        self._count_opening(who)
        most = settings.STREAMS_PER_CALLER
        if self._held[who] >= most:
            raise RateLimited(f"too many open streams, max {most} per caller: close some", retry_after_s=5)
        self._held[who] += 1
        try:
            yield
        finally:
            self._held[who] -= 1
            if not self._held[who]:
                del self._held[who]

    def _count_opening(self, who: UUID) -> None:
        now = time.monotonic()
        if now >= self._window_ends:
            self._opened.clear()
            self._window_ends = now + WINDOW_S
        self._opened[who] = self._opened.get(who, 0) + 1
        most = max(PER_WINDOW, settings.STREAMS_PER_CALLER)
        if self._opened[who] > most:
            raise RateLimited(
                f"too many streams opened, max {most} a minute", retry_after_s=max(1, round(self._window_ends - now))
            )
