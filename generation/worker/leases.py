"""The rows this process holds, and the thread that keeps them its own.

Every held row is let go: by whoever ends it (`letting_go`), else by the claim's own block (`holding`). A row that
nobody works on must never be renewed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from django.db import connection

from generation.domain.cancel import find_cancelled
from generation.domain.claim import ClaimedRow, renew_claims
from generation.worker.clock import PhaseClock

logger = logging.getLogger(__name__)

LEASE_S = 30
RENEWALS = 6  # within one lease
LOOK_S = 1.0  # between two looks for rows that somebody wants cancelled


@dataclass(slots=True)
class _Held:
    row: ClaimedRow
    since: float = field(default_factory=time.time)
    step: int = 0
    lost: bool = False
    cancelled: bool = False
    handed_over: bool = False


class Leases:
    """Renews what is held, six times within each lease, over a connection of its own thread.

    Between two renewals it looks every second for rows that somebody wants cancelled. `beat` is called in the same
    thread and rhythm as renewals, held rows or not: it writes the worker's own row. A database that does not answer for
    longer than a lease is past the clock's deadline.
    """

    def __init__(self, *, beat: Callable[[], None], clock: PhaseClock, lease_s: int = LEASE_S) -> None:
        self._beat = beat
        self._clock = clock
        self._lease_s = lease_s
        self._renew_s = lease_s / RENEWALS
        self._lock = threading.Lock()
        self._held: dict[UUID, _Held] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(timeout=10)

    @contextmanager
    def holding(self, rows: Iterable[ClaimedRow]) -> Iterator[None]:
        """Hold rows within this block; however it ends, those that were not handed over are let go after it."""
        rows = tuple(rows)
        with self._lock:
            for row in rows:
                self._held[row.id] = _Held(row)
        try:
            yield
        finally:
            for row in rows:
                if self._let_go(row, unless_handed_over=True):
                    logger.warning("row %s was neither ended nor handed over: its lease runs out", row.id)

    def hand_over(self, row: ClaimedRow) -> None:
        """From now on whoever finishes this row lets it go, by `letting_go`."""
        with self._lock:
            if (held := self._find(row)) is not None:
                held.handed_over = True

    @contextmanager
    def letting_go(self, row: ClaimedRow) -> Iterator[None]:
        """In this block the row is ended; after it, however it went, it is renewed no more."""
        try:
            yield
        finally:
            self._let_go(row)

    def _let_go(self, row: ClaimedRow, *, unless_handed_over: bool = False) -> bool:
        with self._lock:
            held = self._find(row)
            if held is None or (unless_handed_over and held.handed_over):
                return False
            del self._held[row.id]
            return True

    def _find(self, row: ClaimedRow) -> _Held | None:
        """This very claim of the row. The caller has the lock."""
        held = self._held.get(row.id)
        return held if held is not None and held.row.fence == row.fence else None

    def note_steps(self, steps: Mapping[UUID, int]) -> None:
        """What the next renewal writes as progress."""
        with self._lock:
            for row, step in steps.items():
                if row in self._held:
                    self._held[row].step = step

    def is_lost(self, row: ClaimedRow) -> bool:
        """Whether somebody else has this row by now: whatever is drawn for it must be thrown away."""
        with self._lock:
            held = self._held.get(row.id)
            return held is None or held.lost

    def is_cancelled(self, row: ClaimedRow) -> bool:
        with self._lock:
            held = self._held.get(row.id)
            return held is not None and held.cancelled

    def unwanted(self) -> frozenset[UUID]:
        """Rows that were lost or cancelled: drop them at the next step."""
        with self._lock:
            return frozenset(row for row, held in self._held.items() if held.lost or held.cancelled)

    def find(self, row: UUID) -> ClaimedRow | None:
        """The held row of this id."""
        with self._lock:
            held = self._held.get(row)
            return None if held is None else held.row

    def held_since(self, row: ClaimedRow) -> float:
        """When this process took the row (as log lines count time); now, where it holds it no more."""
        with self._lock:
            held = self._find(row)
            return time.time() if held is None else held.since

    @property
    def count(self) -> int:
        with self._lock:
            return len(self._held)

    def renew(self) -> None:
        """One renewal of all held rows."""
        with self._lock:
            held = {row: (entry.row.fence, entry.step) for row, entry in self._held.items() if not entry.lost}
        if not held:
            return
        renewal = renew_claims(
            {row: fence for row, (fence, _) in held.items()},
            steps={row: step for row, (_, step) in held.items()},
            lease_s=self._lease_s,
        )
        with self._lock:
            for row, entry in self._held.items():
                # A row that was finished while the renewal was under way is no longer here.
                if row in renewal.lost and entry.row.fence == held.get(row, (None, 0))[0]:
                    entry.lost = True
                    logger.warning("lease of %s was lost, its pictures are thrown away", row)
                entry.cancelled = entry.cancelled or row in renewal.cancelled

    def notice_cancelled(self) -> None:
        """Look which of the held rows somebody wants cancelled."""
        with self._lock:
            held = [row for row, entry in self._held.items() if not entry.lost and not entry.cancelled]
        if not held:
            return
        cancelled = find_cancelled(held)
        with self._lock:
            for row in cancelled:
                if row in self._held:
                    self._held[row].cancelled = True

    def _keep(self) -> None:
        renew_at = look_at = 0.0
        while not self._ended.wait(max(0.0, look_at - time.monotonic())):
            now = time.monotonic()
            look_at = now + min(LOOK_S, self._renew_s)
            self._clock.enter("leases", "renewal", None, allow_s=self._lease_s)
            try:
                if now < renew_at:
                    self.notice_cancelled()
                    continue
                renew_at = now + self._renew_s
                self.renew()
                self._beat()
            except Exception as error:  # the database may come back before the lease ends; the fence guards the rest
                logger.warning("renewal failed, again in %.0f s: %s", min(LOOK_S, self._renew_s), error)
                connection.close()
                renew_at = 0.0
            finally:
                self._clock.leave("leases")
        connection.close()
