"""Everything that `/metrics` says, on one page.

Prometheus waits ten seconds. The parts that may hang have bounds of their own (the database 5 s, Valkey 1 s); a part
that cannot be read is left out and says so in `studio_metrics_source_up`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from django.conf import settings
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from accounts.meters.share import make_families, own_numbers, read_together
from qwenstudio.metrics.levels import read_levels
from qwenstudio.metrics.machine import read_machine

logger = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
FRESH_S = 1.0  # one look a second, however many ask

_lock = threading.Lock()
_last: tuple[float, bytes] | None = None


def show_metrics() -> bytes:
    """The page, at most one second old."""
    global _last
    with _lock:
        if _last is None or time.monotonic() - _last[0] > FRESH_S:
            page = generate_latest(Page(read_counts, read_machine, read_levels))
            _last = (time.monotonic(), page)
        return _last[1]


def show_machine() -> bytes:
    """Without what only the pages' machine need say: what this machine's processes count."""
    return generate_latest(Page(read_counts))


class Page:
    """Families of several sources, in their order."""

    def __init__(self, *sources: Callable[[], Iterator[Metric]]) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """All of them, and how long it took."""
        started = time.perf_counter()
        build = GaugeMetricFamily("studio_build_info", "The release that answers.", labels=("lane", "release"))
        build.add_metric((settings.STUDIO_LANE, settings.RELEASE), 1)
        yield build
        up = GaugeMetricFamily("studio_metrics_source_up", "1 where a source could be read.", labels=("source",))
        for source in self._sources:
            name = source.__name__.removeprefix("read_")
            try:
                yield from source()
            except Exception:  # the rest of the page is worth more than none
                logger.exception("metrics: %s cannot be read", name)
                up.add_metric((name,), 0)
            else:
                up.add_metric((name,), 1)
        yield up
        took = GaugeMetricFamily("studio_metrics_duration_seconds", "How long it took to put this page together.")
        took.add_metric((), time.perf_counter() - started)
        yield took


def read_counts() -> Iterator[Metric]:
    """What the processes of this machine and lane have counted; this one alone where their folder cannot be read."""
    try:
        numbers, living = read_together()
    except OSError as error:
        logger.warning("metrics of other processes cannot be read: %s", error)
        numbers, living = own_numbers(), {}
    yield from make_families(numbers)
    processes = GaugeMetricFamily(
        "studio_processes", "Processes of this machine and lane that run, by kind.", labels=("lane", "process")
    )
    for kind, number in sorted(living.items()):
        processes.add_metric((settings.STUDIO_LANE, kind), number)
    yield processes
