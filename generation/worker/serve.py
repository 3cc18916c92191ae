"""A GPU worker: load, warm up, claim and draw until asked to end."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from dataclasses import dataclass

from django.db import connection

from accounts.valkey import blocking_connection
from generation.domain.claim import claim_pass
from generation.domain.workers import is_drain_wanted
from generation.engine.errors import CatalogError, CheckpointError
from generation.enums import WorkerState
from generation.queue.jobs import StudioJob
from generation.queue.wake import pool_queue
from generation.worker import loop
from generation.worker.clock import Deadlines, PhaseClock, Watchdog
from generation.worker.database import UNREACHABLE, insist
from generation.worker.engine import Engine
from generation.worker.gains import Gains
from generation.worker.gpus import GpuWatch
from generation.worker.leases import LEASE_S, Leases
from generation.worker.lines import RecentLines
from generation.worker.load import NothingToServe, find_specs
from generation.worker.passes import Desk, draw
from generation.worker.publisher import Publisher
from generation.worker.report import Report
from generation.worker.settle import Settler
from generation.worker.shelf import Shelf
from generation.worker.stop import StopFlag
from generation.worker.wakeups import WakeUps
from qwenstudio import notify

logger = logging.getLogger(__name__)

EXIT_BROKEN_MODEL = 3  # what the operator must repair: the supervisor shows it and backs off
EXIT_STUCK = 70
REFUSED_PAUSE_S = 60.0
_PAUSE_S = 5.0  # between two claims while files cannot be stored
_DRAINED_LOOK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one worker process is started for. `slugs` empty: every enabled model of the pool.

    `room`: bytes that its models may take together; 0 means the device's memory.
    """

    lane: str
    pool: str
    slugs: tuple[str, ...] = ()
    room: int = 0
    lease_s: int = LEASE_S


class GpuWorker:
    """One process. `run` returns the exit code."""

    def __init__(self, plan: Plan, *, engine: Engine, stop: StopFlag, deadlines: Deadlines | None = None) -> None:
        self._plan = plan
        self._engine = engine
        self._stop = stop
        self._report = Report(lane=plan.lane, pool=plan.pool)
        self._clock = PhaseClock(deadlines)
        self._watchdog = Watchdog(self._clock, expired=self._end_stuck)
        self._leases = Leases(beat=self._beat, clock=self._clock, lease_s=plan.lease_s)
        self._publisher = Publisher()
        self._shelf = Shelf(
            engine=engine,
            report=self._report,
            clock=self._clock,
            leases=self._leases,
            stop=stop,
            lane=plan.lane,
            pool=plan.pool,
        )
        self._hardware = ""
        self._paused_until = 0.0
        self._lines = RecentLines()
        self._gpus = GpuWatch()
        self._gains = Gains()
        settler = Settler(
            leases=self._leases,
            lane=plan.lane,
            pause=self._pause,
            lines=self._lines,
            worker=self._report.id,
            worker_name=self._report.name,
        )
        self._desk = Desk(
            engine=engine,
            clock=self._clock,
            leases=self._leases,
            publisher=self._publisher,
            settler=settler,
            stop=stop,
            gains=self._gains,
        )

    # 1. Load, before anything is claimed

    def run(self) -> int:
        """Load, serve, stop; 0 after a request to end, 3 when a model cannot be loaded, whatever the reason."""
        root = logging.getLogger()
        root.addHandler(self._lines)
        try:
            return self._run()
        finally:
            root.removeHandler(self._lines)

    def _run(self) -> int:
        started = time.monotonic()
        insist(self._report.write, what="register")
        try:
            self._load()
        except UNREACHABLE:
            raise  # no model is at fault: started again, it may do
        except (CheckpointError, CatalogError, NothingToServe) as error:
            logger.error("worker cannot serve: %s", error)
            return self._fail(str(error))
        except Exception as error:
            logger.exception("worker cannot serve")
            # What a library says may hold anything: it goes to the log, not to the admin.
            return self._fail(f"{self._report.detail} ended with {type(error).__name__}; the worker's log says more")
        self._watchdog.start()
        self._publisher.start()
        self._report.set(load_ms=round((time.monotonic() - started) * 1000))
        self._say(WorkerState.IDLE)
        self._leases.start()
        self._gpus.start()
        notify.watchdog(lambda: self._clock.find_overdue() is None)
        notify.ready(f"serves {', '.join(self._shelf.slugs)}")
        try:
            self._serve()
        finally:
            self._close()
        return 0

    def _fail(self, reason: str) -> int:
        self._report.set(state=WorkerState.FAILED, detail=reason)
        insist(self._report.write, what="say why I stop")
        if notify.say_status(f"cannot serve: {reason}"):
            # The next try ends alike until somebody helps, and systemd's pause is the same for every end.
            self._stop.wait(REFUSED_PAUSE_S)
        return EXIT_BROKEN_MODEL

    def _load(self) -> None:
        device = self._engine.describe()
        self._hardware = device.key
        self._gains.on = device.kind != "cpu"
        self._report.set(hardware=device.key, device=device.name, memory_total=device.memory_total)
        plan = self._plan
        specs = insist(
            lambda: find_specs(lane=plan.lane, pool=plan.pool, slugs=plan.slugs), what="read the models"
        ).value
        self._shelf.fill(specs, device, room=plan.room)

    # 2. Serve

    def _serve(self) -> None:
        global _current
        wakeups = WakeUps(
            queue=pool_queue(lane=self._plan.lane, pool=self._plan.pool),
            name=f"gpu-{self._report.id}",
            connection=blocking_connection(),
            job_class=StudioJob,
        )
        _current = self
        try:
            loop.work(self.turn, wakeups=wakeups, stop=self._stop)
        finally:
            _current = None

    def turn(self) -> bool:
        """Claim one pass and draw it; whether there was one. Its pictures may still be in the tail."""
        if self._stop.asked or time.monotonic() < self._paused_until:
            return False
        if is_drain_wanted(self._report.id):
            self._rest()
            return True
        self._shelf.change(hardware=self._hardware, idle=False)
        sizes = self._shelf.batch_sizes()
        claim = claim_pass(
            lane=self._plan.lane,
            pool=self._plan.pool,
            models=sizes,
            most=lambda *shape: self._gains.most(shape, batch_max=sizes[shape[0]]),
            worker=self._report.id,
            hardware=self._hardware,
            lease_s=self._plan.lease_s,
            absent=self._shelf.absent(),
            patience_ms=self._shelf.patience_ms,
        )
        if claim is None:
            if self._shelf.change(hardware=self._hardware, idle=True):
                return True
            if self._report.state in (WorkerState.BUSY, WorkerState.DRAINED):
                self._say(WorkerState.IDLE)
            return False
        if self._report.state != WorkerState.BUSY:
            self._say(WorkerState.BUSY)
        draw(claim, self._shelf.take(claim.model), self._desk)
        if any(row.loras for row in claim.rows):
            self._report.set(loras=self._shelf.loras())  # written with the next beat
        self._report.passes += 1
        return True

    def _rest(self) -> None:
        """Drained: claim nothing for a second, then look again whether staff still want it.

        Nor listen for wake-ups: one that a drained worker took would be lost to those that draw.
        """
        if self._leases.count == 0 and self._report.state != WorkerState.DRAINED:
            logger.info("drained: nothing is held any more, nothing is claimed")
            self._say(WorkerState.DRAINED)
        self._stop.wait(_DRAINED_LOOK_S)

    def _pause(self, reason: str) -> None:
        self._paused_until = time.monotonic() + _PAUSE_S
        self._report.set(detail=reason)

    # 3. Stop

    def _close(self) -> None:
        """Wait for the tail, then say goodbye. Leases are renewed until the last picture is stored."""
        notify.stopping()
        try:
            self._say(WorkerState.STOPPING)
        except Exception as error:  # a goodbye nobody hears must not cost the pictures in the tail
            logger.warning("could not say that I stop: %s", error)
        self._shelf.close()
        self._leases.stop()
        self._watchdog.stop()
        self._publisher.stop()
        self._gpus.stop()
        try:
            self._say(WorkerState.STOPPED)
        except Exception as error:  # likewise
            logger.warning("could not say that I stopped: %s", error)
        connection.close()

    # Threads and reports

    def _say(self, state: WorkerState, detail: str = "") -> None:
        self._report.write(state=state, detail=detail)

    def _beat(self) -> None:
        self._report.write(memory_used=self._engine.memory_used())

    def _end_stuck(self, reason: str) -> None:
        """In the watchdog's thread: the work hangs. End at once, so that the leases run out."""
        logger.critical("worker is stuck and ends itself: %s", reason)

        def tell() -> None:
            self._report.write(state=WorkerState.FAILED, detail=f"stuck: {reason}")

        # The database may be what hangs.
        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        teller.join(timeout=3)
        logging.shutdown()
        sys.stderr.flush()
        os._exit(EXIT_STUCK)


_current: GpuWorker | None = None


def current_worker() -> GpuWorker | None:
    """The worker that this process is; None elsewhere."""
    return _current
