"""Everything that `/metrics` says, on one page.

Prometheus waits ten seconds. The parts that may hang have bounds of their own (the database 5 s, Valkey 1 s); a part
that cannot be read is left out and says so in `studio_metrics_source_up`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from django.conf import settings
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from accounts.meters.share import own_numbers, read_together, render
from qwenstudio.metrics.levels import read_levels
from qwenstudio.metrics.machine import read_machine

logger = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
Source = Callable[[], Iterator[Metric]]
FRESH_S = 1.0  # one look a second, however many ask

_lock = threading.Lock()
_last: tuple[float, bytes] | None = None


def show_metrics() -> bytes:
    """The page, at most one second old."""
    global _last
    with _lock:
        if _last is None or time.monotonic() - _last[0] > FRESH_S:
            _last = (time.monotonic(), make_page(read_machine, read_levels))
        return _last[1]


def show_machine() -> bytes:
    """Without what only the pages' machine need say: what this machine's processes count."""
    return make_page()


def make_page(*sources: Source) -> bytes:
    """What the processes counted, then the other sources' families."""
    started = time.perf_counter()
    counts, living = read_counts()
    return counts.encode() + generate_latest(Rest(sources, living=living, started=started))


def read_counts() -> tuple[str, Mapping[str, int]]:
    """The counts of this machine's and lane's processes, and how many live; of this one alone where that fails."""
    try:
        numbers, living = read_together()
    except OSError as error:
        logger.warning("metrics of other processes cannot be read: %s", error)
        numbers, living = own_numbers(), {}
    return render(numbers), living


class Rest:
    """Everything that no process counts."""

    def __init__(self, sources: Sequence[Source], *, living: Mapping[str, int], started: float) -> None:
        self._sources = sources
        self._living = living
        self._started = started

    def collect(self) -> Iterator[Metric]:
        """All of it, and how long it took."""
        lane = settings.STUDIO_LANE
        build = GaugeMetricFamily("studio_build_info", "The release that answers.", labels=("lane", "release"))
        build.add_metric((lane, settings.RELEASE), 1)
        yield build
        processes = GaugeMetricFamily(
            "studio_processes", "Processes of this machine and lane that run, by kind.", labels=("lane", "process")
        )
        for kind, number in sorted(self._living.items()):
            processes.add_metric((lane, kind), number)
        yield processes
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
        took.add_metric((), time.perf_counter() - self._started)
        yield took
