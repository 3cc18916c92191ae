"""What PostgreSQL knows, asked over a connection of its own and never for longer than five seconds.

Not over the pages' pool: when every connection of that is busy, this is what somebody needs to see.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from prometheus_client.core import GaugeMetricFamily, Metric

from accounts.tenancy import across_tenants
from generation.domain.levels import Levels, look_at_levels
from generation.enums import WorkerState
from generation.worker.ticker import LOCK

logger = logging.getLogger(__name__)

CONNECT_S = 2
STATEMENT_MS = 2000
PATIENCE_S = 5.0
SHOWN_STATES = [state.value for state in WorkerState if state != WorkerState.STOPPED]
SILENT_STATES = (WorkerState.LOADING, WorkerState.FAILED)  # a worker that loads says nothing for minutes


def read_levels() -> Iterator[Metric]:
    """Queues, workers, errands, connections; where PostgreSQL is away only that. Raises what a statement raises."""
    look = Look()
    look.run()
    yield make_up(connected=look.connected)
    if look.error is not None and look.connected:
        raise look.error
    if look.levels is not None:
        yield from make_families(look.levels)


def make_up(*, connected: bool) -> Metric:
    """The one that is always there."""
    up = GaugeMetricFamily("studio_database_up", "1 where PostgreSQL lets us in and answers.")
    up.add_metric((), int(connected))
    return up


class Look:
    """One look in a thread of its own, with a connection of its own. Never two at a time: one may hang."""

    _busy = threading.Lock()

    def __init__(self) -> None:
        self.connected = False
        self.levels: Levels | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        """Look, and wait for it as long as `PATIENCE_S`."""
        if not self._busy.acquire(blocking=False):
            return  # the last one hangs still
        thread = threading.Thread(target=self._look, name="levels", daemon=True)
        thread.start()
        thread.join(PATIENCE_S)
        if thread.is_alive():
            self.connected, self.levels, self.error = False, None, None

    def _look(self) -> None:
        try:
            wrapper = _own_connection()
            connections[DEFAULT_DB_ALIAS] = wrapper  # of this thread alone
            try:
                with across_tenants(), wrapper.cursor() as cursor:
                    cursor.execute(f"SET statement_timeout = {STATEMENT_MS}")
                    self.connected = True
                    self.levels = look_at_levels(ticker_lock=LOCK)
            finally:
                wrapper.close()
        except Exception as error:
            logger.log(logging.ERROR if self.connected else logging.WARNING, "metrics: no levels: %s", error)
            self.error = error
        finally:
            self._busy.release()


def _own_connection() -> Any:
    """A connection outside of the pool that gives up soon."""
    wrapper = connections.create_connection(DEFAULT_DB_ALIAS)
    options = {name: value for name, value in wrapper.settings_dict.get("OPTIONS", {}).items() if name != "pool"}
    wrapper.settings_dict = {**wrapper.settings_dict, "OPTIONS": options | {"connect_timeout": CONNECT_S}}
    return wrapper


def make_families(levels: Levels) -> Iterator[Metric]:
    """The rows as series. What is empty is 0, not absent, for every model on offer and every pool with a worker."""
    yield from _queue(levels)
    yield from _workers(levels)
    yield from _errands(levels)
    connections_now = GaugeMetricFamily("studio_database_connections", "Connections to the whole PostgreSQL server.")
    connections_now.add_metric((), levels.database["connections"])
    yield connections_now
    most = GaugeMetricFamily("studio_database_max_connections", "Connections that the server allows.")
    most.add_metric((), levels.database["most"])
    yield most
    ticker = GaugeMetricFamily("studio_ticker_running", "1 while a ticker holds its lock, on whichever machine.")
    ticker.add_metric((), min(1, levels.database["tickers"]))
    yield ticker


def _queue(levels: Levels) -> Iterator[Metric]:
    labels = ("lane", "pool", "model")
    depth = GaugeMetricFamily("studio_queue_depth", "Generations that wait.", labels=labels)
    oldest = GaugeMetricFamily("studio_queue_oldest_seconds", "Age of the one that waits longest.", labels=labels)
    running = GaugeMetricFamily("studio_generations_running", "Generations that are drawn.", labels=labels)
    lanes = {settings.STUDIO_LANE, *(row["lane"] for row in levels.workers)}
    rows: dict[tuple[str, str, str], dict[str, Any]] = {
        (lane, row["pool"], row["model"]): {"queued": 0, "running": 0, "oldest_s": None}
        for lane in lanes
        for row in levels.models
    }
    rows |= {(row["lane"], row["pool"], row["model"]): dict(row) for row in levels.queue}
    for key, row in sorted(rows.items()):
        depth.add_metric(key, row["queued"])
        oldest.add_metric(key, max(0.0, row["oldest_s"] or 0.0))
        running.add_metric(key, row["running"])
    yield from (depth, oldest, running)
    paused = GaugeMetricFamily("studio_pool_paused", "1 where staff have paused a pool.", labels=("lane", "pool"))
    for pool in levels.pools:
        paused.add_metric((pool["lane"], pool["pool"]), pool["paused"])
    yield paused


def _workers(levels: Levels) -> Iterator[Metric]:
    workers = GaugeMetricFamily("studio_workers", "GPU workers by state.", labels=("lane", "pool", "state"))
    heartbeat = GaugeMetricFamily(
        "studio_worker_heartbeat_age_seconds",
        "Age of the oldest heartbeat of a pool's workers.",
        labels=("lane", "pool"),
    )
    memory = GaugeMetricFamily(
        "studio_worker_memory_bytes", "Memory that a pool's workers hold on their devices.", labels=("lane", "pool")
    )
    pools = sorted({(row["lane"], row["pool"]) for row in levels.workers})
    for lane, pool in pools:
        here = {row["state"]: row for row in levels.workers if (row["lane"], row["pool"]) == (lane, pool)}
        for state in SHOWN_STATES:
            workers.add_metric((lane, pool, state), here[state]["workers"] if state in here else 0)
        memory.add_metric((lane, pool), sum(row["memory_used"] for row in here.values() if row["state"] != "failed"))
        ages = [row["silent_s"] for state, row in here.items() if state not in SILENT_STATES]
        if ages:
            heartbeat.add_metric((lane, pool), max(0.0, *ages))
    yield from (workers, heartbeat, memory)


def _errands(levels: Levels) -> Iterator[Metric]:
    errands = GaugeMetricFamily(
        "studio_errands",
        "Errands: due (waits for a worker), running, later, failed (waits for staff).",
        labels=("state",),
    )
    for state in ("due", "running", "later", "failed"):
        errands.add_metric((state,), levels.errands[state])
    yield errands
    oldest = GaugeMetricFamily("studio_errands_oldest_seconds", "How long the errand that is due longest has waited.")
    oldest.add_metric((), max(0.0, levels.errands["oldest_s"]))
    yield oldest
