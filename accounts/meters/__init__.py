"""What the studio's processes count about themselves, for `/metrics` (`docs/metrics.md` lists every series).

    __init__.py   the registry, and the series of pages, API and errands; `generation/meters.py` adds its own
    share.py      how the processes of one machine and lane put their numbers together

Labels have few values: routes by name, codes of the catalogue, models that staff offer; never a tenant, a person, a
path or an id. Counting costs microseconds, touches nothing but memory and never fails what it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol, TypeVar

from django.conf import settings
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

# They would be a series more for each of ours.
disable_created_metrics()  # type: ignore[no-untyped-call]

Series = TypeVar("Series", Counter, Gauge, Histogram)
REGISTRY = CollectorRegistry()
# Each series' labels, and its buckets or how the values of several processes become one: numbers that another release
# left under another form are not added to ours.
FORMS: dict[str, tuple[tuple[str, ...], object]] = {}
# Of gauges, `sum` or `max`. Values of processes that have ended never count.
GAUGES: dict[str, str] = {}

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
REQUEST_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 3.0, 10.0, 60.0)


def make_counter(name: str, text: str, *labels: str) -> Counter:
    """A count that only rises; its samples end in `_total`."""
    FORMS[name] = labels, ""
    return Counter(name, text, labels, registry=REGISTRY)


def make_histogram(name: str, text: str, *labels: str, buckets: Sequence[float]) -> Histogram:
    """How often, and how much."""
    FORMS[name] = labels, tuple(buckets)
    return Histogram(name, text, labels, buckets=buckets, registry=REGISTRY)


def make_gauge(name: str, text: str, *labels: str, together: str = "sum") -> Gauge:
    """What is so now; `together`: `sum` or `max` of the processes that live."""
    FORMS[name], GAUGES[name] = (labels, together), together
    return Gauge(name, text, labels, registry=REGISTRY)


HTTP_REQUESTS = make_counter(
    "studio_http_requests", "Requests answered, by route name and class of status.", "lane", "route", "method", "status"
)
HTTP_SECONDS = make_histogram(
    "studio_http_request_duration_seconds",
    "Time from a request to its answer; of an event stream, to its first byte.",
    "lane",
    "route",
    buckets=REQUEST_S,
)  # fmt: skip
REFUSALS = make_counter(
    "studio_refusals", "Answers that refuse (problem+json), by the code of docs/errors.md.", "lane", "code"
)
EVENT_STREAMS = make_gauge("studio_event_streams", "Event streams that are open.", "lane")
WAITERS = make_gauge(
    "studio_waiting_requests", "Submits that wait for their picture (Prefer: wait, /v1/images).", "lane"
)
ERRANDS_RUN = make_counter(
    "studio_errand_runs", "Errands run: done, retry (goes back), failed (for staff), lost.", "lane", "kind", "outcome"
)
POOL_CONNECTIONS = make_gauge(
    "studio_database_pool_connections",
    "Database connections held by the pools of pages and door.",
    "lane", "pool", "state",
)  # fmt: skip
POOL_MOST = make_gauge("studio_database_pool_max_connections", "Connections that these pools may hold.", "lane", "pool")
POOL_WAITING = make_gauge("studio_database_pool_waiting", "Requests that wait for a connection.", "lane", "pool")


@cache
def child(series: Series, *labels: str) -> Series:
    """The series with these labels. Found once: looking for it takes longer than counting."""
    found: Series = series.labels(*labels)
    return found


def count_request(*, route: str, method: str, status: int, seconds: float) -> None:
    """One answered request."""
    lane, known = settings.STUDIO_LANE, method if method in METHODS else "other"
    child(HTTP_REQUESTS, lane, route, known, f"{status // 100}xx").inc()
    child(HTTP_SECONDS, lane, route).observe(seconds)


def count_refusal(code: str) -> None:
    """One answer that refuses. Codes are constants of our code, each with an entry in the catalogue."""
    REFUSALS.labels(settings.STUDIO_LANE, code).inc()


class Pool(Protocol):
    """What psycopg's pools have in common."""

    @property
    def closed(self) -> bool: ...

    def get_stats(self) -> dict[str, int]: ...


def show_pool(name: str, find_pool: Callable[[], Pool | None], *, most: int) -> None:
    """Let the gauges ask a pool whenever somebody looks; `find_pool` says None while there is none."""
    lane = settings.STUDIO_LANE

    def stat(key: str) -> float:
        pool = find_pool()
        # One that was not opened yet says that its connections to be are in use.
        return 0.0 if pool is None or pool.closed else float(pool.get_stats().get(key, 0))

    POOL_CONNECTIONS.labels(lane, name, "used").set_function(lambda: stat("pool_size") - stat("pool_available"))
    POOL_CONNECTIONS.labels(lane, name, "free").set_function(lambda: stat("pool_available"))
    POOL_WAITING.labels(lane, name).set_function(lambda: stat("requests_waiting"))
    POOL_MOST.labels(lane, name).set(most)
