"""Deadlines by phase: a lease is renewed only while the work moves.

A hung kernel holds no lock that Python could notice, and a renewal thread beside it would renew for ever. So each phase
(encode, step, decode, store) has a deadline of max(30 s, 10 × what it took before), 15 minutes where it was never
measured; past it the process ends itself, the lease runs out, and another worker takes the rows. What only waits for
the database says itself how long it may (`allow_s`): that has nothing to do with what it took before.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

FLOOR_S = 30.0
FROZEN_S = 2.0  # no thread that only waits is so late by itself
FACTOR = 10.0
FIRST_S = 900.0  # kernels are compiled and weights paged in


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds; tests use smaller ones."""

    floor_s: float = FLOOR_S
    factor: float = FACTOR
    first_s: float = FIRST_S


@dataclass(frozen=True, slots=True)
class _Running:
    name: str
    key: Hashable
    since: float
    until: float


class PhaseClock:
    """Knows for each track (the pass, the tails) which phase runs and until when it may. For any number of threads."""

    def __init__(self, deadlines: Deadlines | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._deadlines = deadlines or Deadlines()
        self._now = now
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        self._measured: dict[Hashable, float] = {}

    def enter(self, track: str, name: str, key: Hashable, *, allow_s: float | None = None) -> None:
        """Phase `name` begins on `track`; what ran there before has ended. `key` says what may be compared (sizes)."""
        now = self._now()
        with self._lock:
            self._measure(track, now)
            whole = (name, key)
            allowed = self._allowance(whole) if allow_s is None else allow_s
            self._running[track] = _Running(name, whole, now, now + allowed)

    def leave(self, track: str) -> None:
        """Nothing runs on `track` any more."""
        with self._lock:
            self._measure(track, self._now())

    def find_overdue(self) -> str | None:
        """What is past its deadline, in words; None while everything moves."""
        now = self._now()
        with self._lock:
            for track, phase in self._running.items():
                if now > phase.until:
                    took, allowed = now - phase.since, phase.until - phase.since
                    return f"{track}: {phase.name} has not ended after {took:.0f} s, {allowed:.0f} s allowed"
        return None

    def _measure(self, track: str, now: float) -> None:
        ended = self._running.pop(track, None)
        if ended is None:
            return
        # The longest of late, slowly forgotten: one quick phase must not tighten the next one's deadline.
        self._measured[ended.key] = max(now - ended.since, 0.9 * self._measured.get(ended.key, 0.0))

    def _allowance(self, key: Hashable) -> float:
        measured = self._measured.get(key)
        if measured is None:
            return self._deadlines.first_s
        return max(self._deadlines.floor_s, self._deadlines.factor * measured)


class Watchdog:
    """A thread that does nothing but look at the clock: no file, no database, so that nothing can hold it up.

    Where it wakes late all the same, the whole process was frozen: the others get until the next look to move on.
    """

    def __init__(
        self,
        clock: PhaseClock,
        *,
        expired: Callable[[str], None],
        every_s: float = 1.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._expired = expired
        self._every_s = every_s
        self._now = now
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(timeout=5)

    def _watch(self) -> None:
        spared, asked = False, self._now()
        while not self._ended.wait(self._every_s):
            late = self._now() - asked > self._every_s + FROZEN_S
            spared, asked = late and not spared, self._now()
            if spared:
                continue
            reason = self._clock.find_overdue()
            if reason is not None:
                self._expired(reason)
                return
