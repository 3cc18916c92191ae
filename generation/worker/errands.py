"""The errand worker: the GPU worker's loop around errands, twice. Loads no torch.

Quick errands (e-mails, files) have the main thread and its wake-ups; the slow ones (exports, deletions) have a thread
of their own that looks every two seconds, so that neither holds the other up.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable

from django.conf import settings
from django.db import connection

from accounts.domain import mail  # noqa: F401  (registers the handler that sends e-mails)
from accounts.domain.errands import LEASE_S, claim_errand, is_ending, run_errand
from accounts.logcontext import bind_log
from accounts.meters import ERRANDS_RUN
from accounts.valkey import blocking_connection
from generation.queue.jobs import StudioJob
from generation.queue.wake import errand_queue
from generation.worker import loop
from generation.worker.clock import PhaseClock
from generation.worker.database import insist
from generation.worker.stop import StopFlag
from generation.worker.wakeups import WakeUps
from qwenstudio import notify

logger = logging.getLogger(__name__)

SLOW_IDLE_S = 2.0


def serve_errands(*, lane: str, stop: StopFlag) -> None:
    """Run errands until asked to end: one quick and one slow at a time. What more is needed is another process."""
    wakeups = WakeUps(
        queue=errand_queue(lane=lane),
        name=f"errands-{socket.gethostname()}-{os.getpid()}",
        connection=blocking_connection(),
        job_class=StudioJob,
    )
    pulse = Pulse()

    def ending() -> bool:
        pulse.beat()  # a slow errand asks this while it works
        return stop.asked

    is_ending.append(ending)
    slow = SlowErrands(stop, pulse=pulse)
    slow.start()
    notify.watchdog(pulse.moves)
    notify.ready()
    logger.info("errand worker is ready")
    try:
        loop.work(pulse.around(errand_turn), wakeups=wakeups, stop=stop)
    finally:
        notify.stopping()
        slow.finish()
        is_ending.remove(ending)


class Pulse:
    """Whether both threads move: a turn may take as long as an errand's lease, after which another worker has it."""

    def __init__(self, clock: PhaseClock | None = None) -> None:
        self._clock = clock or PhaseClock()

    def moves(self) -> bool:
        """No turn has taken too long."""
        return self._clock.find_overdue() is None

    def beat(self) -> None:
        """This thread is in a turn and moves."""
        self._clock.enter(threading.current_thread().name, "errand", "errand", allow_s=LEASE_S)

    def around(self, turn: Callable[[], bool]) -> Callable[[], bool]:
        """The turn, watched."""

        def watched() -> bool:
            self.beat()
            try:
                return turn()
            finally:
                self._clock.leave(threading.current_thread().name)

        return watched


class SlowErrands:
    """The thread that does the slow kinds."""

    def __init__(self, stop: StopFlag, *, pulse: Pulse | None = None) -> None:
        self._stop = stop
        self._turn = pulse.around(slow_turn) if pulse else slow_turn
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="slow errands")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """Wait for its end, which `Lease.keep` brings soon after the stop; raises what ended it before."""
        self._stop.ask()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            loop.work(self._turn, wakeups=NoWakeUps(), stop=self._stop, idle_s=SLOW_IDLE_S)
        except BaseException as error:  # half a worker would look alive: the process ends, and is started again
            self._error = error
            self._stop.ask()
        finally:
            connection.close()


class NoWakeUps:
    """Waiting without Redis."""

    def wait(self, seconds: float, *, stop: StopFlag) -> None:
        """Sleep, sooner awake when asked to end."""
        stop.wait(seconds)

    def leave(self) -> None:
        """Nothing to sign off from."""


def errand_turn() -> bool:
    """Claim one quick errand and run it; whether there was one."""
    return _turn(slow=False)


def slow_turn() -> bool:
    """The same for the slow kinds."""
    return _turn(slow=True)


def _turn(*, slow: bool) -> bool:
    claimed = claim_errand(f"{socket.gethostname()}-{os.getpid()}", slow=slow)
    if claimed is None:
        return False
    with bind_log(tenant=claimed.tenant, errand=claimed.id, kind=claimed.kind):
        # A handler that fails is written down by run_errand; what comes through here is the database going away.
        outcome = insist(lambda: run_errand(claimed), what="run an errand").value
        logger.info("errand %s", outcome)
        ERRANDS_RUN.labels(settings.STUDIO_LANE, claimed.kind, outcome).inc()
    return True
