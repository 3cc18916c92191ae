"""What happens in the whole studio at this moment, for staff: a fixed number of statements, whatever there is.

Runs across tenants, under the staff role. No prompt is read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from accounts.domain.sql import fetch_all, fetch_one
from accounts.valkey import breaker, redis_client
from generation.domain.place import WORKER_SILENT_S
from generation.domain.waits import Hands, Wait, count_hands, explain_waits, read_waiting

RUNNING_SHOWN = 50
FAILURES_SHOWN = 10
TENANTS_SHOWN = 15
ERRANDS_SHOWN = 10
WORKERS_SHOWN = 200

_RUNNING_SQL = """
SELECT g.id, g.tenant_id AS tenant, t.name AS tenant_name, m.title AS model, g.width, g.height, g.step, g.steps, g.n,
       g.done, g.lane, g.pool, g.started_at, g.lease_until < now() AS expired,
       g.cancel_requested_at IS NOT NULL AS cancelling, g.worker, w.name AS worker_name, count(*) OVER () AS total
  FROM generation_generation g
  JOIN accounts_tenant t ON t.id = g.tenant_id JOIN generation_model m ON m.slug = g.model_id
  LEFT JOIN generation_worker w ON w.id = g.worker
 WHERE g.status = 'running' ORDER BY g.started_at, g.id LIMIT %(limit)s
"""
_LANES_SQL = """
SELECT l.name, l.state, l.detail, l.changed_at, coalesce(r.name, '') AS release, coalesce(r.mode, '') AS mode,
       coalesce(c.queued, 0)::int AS queued, coalesce(c.running, 0)::int AS running,
       k.id AS comparison, coalesce(k.verdict, '') AS verdict
  FROM generation_lane l LEFT JOIN generation_release r ON r.id = l.release_id
  LEFT JOIN LATERAL (SELECT id, verdict FROM generation_comparison
                      WHERE release_id = l.release_id AND finished_at IS NOT NULL
                      ORDER BY started_at DESC, id DESC LIMIT 1) k ON true
  LEFT JOIN (SELECT lane, sum(queued) AS queued, sum(running) AS running FROM generation_fairclock
              WHERE queued > 0 OR running > 0 GROUP BY 1) c ON c.lane = l.name
 ORDER BY l.state <> 'serving', l.name
"""
_POOLS_SQL = """
SELECT p.lane, p.name, q.paused_at, coalesce(q.paused_reason, '') AS paused_reason, u.email AS paused_by,
       coalesce(c.queued_ms, 0)::bigint AS queued_ms, coalesce(c.running, 0)::int AS running
  FROM (SELECT lane, name FROM generation_pool
        UNION SELECT lane, pool FROM generation_fairclock WHERE queued > 0 OR running > 0
        UNION SELECT lane, pool FROM generation_worker) p
  LEFT JOIN generation_pool q ON q.lane = p.lane AND q.name = p.name
  LEFT JOIN accounts_user u ON u.id = q.paused_by
  LEFT JOIN (SELECT lane, pool, sum(queued_ms) AS queued_ms, sum(running) AS running FROM generation_fairclock
              WHERE queued > 0 OR running > 0 GROUP BY 1, 2) c ON c.lane = p.lane AND c.pool = p.name
 ORDER BY p.lane, p.name
"""
_WORKERS_SQL = f"""
SELECT id, name, pid, lane, pool, serves, state, detail, device, dtype, memory_total, memory_used, drain_requested_at,
       release, passes, started_at, seen_at,
       seen_at < now() - make_interval(secs => CASE state WHEN 'loading' THEN 900 ELSE {WORKER_SILENT_S} END) AS silent
  FROM generation_worker
 WHERE state NOT IN ('stopped', 'failed') OR seen_at > now() - CASE state WHEN 'failed' THEN interval '1 day'
                                                                          ELSE interval '10 minutes' END
 ORDER BY state IN ('stopped', 'failed'), lane, pool, name, id LIMIT %(limit)s
"""  # noqa: S608  (a number of this package)
_FAILURES_SQL = """
SELECT f.id, f.tries, f.generation_id AS generation, f.tenant_id AS tenant, t.name AS tenant_name, f.worker_name,
       f.code, f.lines, f.created_at, g.status, m.title AS model
  FROM (SELECT DISTINCT ON (n.generation_id) n.*, count(*) OVER (PARTITION BY n.generation_id) AS tries
          FROM (SELECT * FROM generation_failure ORDER BY created_at DESC LIMIT 4 * %(limit)s) n
         ORDER BY n.generation_id, n.created_at DESC) f
  JOIN accounts_tenant t ON t.id = f.tenant_id
  LEFT JOIN generation_generation g ON g.tenant_id = f.tenant_id AND g.id = f.generation_id
  LEFT JOIN generation_model m ON m.slug = g.model_id
 ORDER BY f.created_at DESC, f.id DESC LIMIT %(limit)s
"""
_USAGE_SQL = """
SELECT c.tenant_id AS tenant, t.name, c.images, c.gpu_ms, c.reserved_ms, sum(c.images) OVER ()::bigint AS all_images,
       sum(c.gpu_ms) OVER ()::bigint AS all_gpu_ms, count(*) OVER () AS tenants
  FROM (SELECT tenant_id, coalesce(sum(used) FILTER (WHERE metric = 'images'), 0)::bigint AS images,
               coalesce(sum(used) FILTER (WHERE metric = 'gpu_ms'), 0)::bigint AS gpu_ms,
               coalesce(sum(reserved) FILTER (WHERE metric = 'gpu_ms'), 0)::bigint AS reserved_ms
          FROM accounts_counter
         WHERE scope = 'tenant' AND period = 'day' AND starts_on = (now() AT TIME ZONE 'UTC')::date
           AND metric IN ('images', 'gpu_ms') GROUP BY 1) c
  JOIN accounts_tenant t ON t.id = c.tenant_id
 WHERE c.images > 0 OR c.gpu_ms > 0 OR c.reserved_ms > 0
 ORDER BY c.gpu_ms DESC, c.images DESC, c.tenant_id LIMIT %(limit)s
"""
_ERRANDS_SQL = """
SELECT count(*) FILTER (WHERE failed_at IS NULL AND lease_until > now()) AS running,
       count(*) FILTER (WHERE failed_at IS NULL AND due_at <= now() AND (lease_until IS NULL OR lease_until <= now()))
         AS due,
       count(*) FILTER (WHERE failed_at IS NULL AND due_at > now() AND (lease_until IS NULL OR lease_until <= now()))
         AS later,
       count(*) FILTER (WHERE failed_at IS NOT NULL) AS failed,
       min(due_at) FILTER (WHERE failed_at IS NULL AND due_at <= now()) AS oldest
  FROM accounts_errand
"""
_FAILED_ERRANDS_SQL = """
SELECT e.id, e.kind, e.error, e.failed_at, e.attempt, e.tenant_id AS tenant, t.name AS tenant_name
  FROM accounts_errand e LEFT JOIN accounts_tenant t ON t.id = e.tenant_id
 WHERE e.failed_at IS NOT NULL ORDER BY e.failed_at DESC, e.id LIMIT %(limit)s
"""
_DATABASE_SQL = """
SELECT current_setting('server_version') AS version, current_setting('max_connections')::int AS most,
       (SELECT sum(numbackends) FROM pg_stat_database)::int AS connections,
       now() AS now
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolNow:
    """One pool of one lane: its depth, the age of its oldest waiting row, its hands."""

    lane: str
    name: str
    queued: int
    queued_ms: int
    running: int
    tenants: int
    oldest: datetime | None
    paused_at: datetime | None
    paused_reason: str
    paused_by: str
    drawing: int
    loading: int
    drained: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """Everything that the page shows; rows are dictionaries of the statements above."""

    now: datetime
    running: Sequence[Mapping[str, Any]]
    running_total: int
    waits: Sequence[Wait]
    waiting: int  # rows
    waiting_tenants: int  # tenant and pool, counted once each
    lanes: Sequence[Mapping[str, Any]]  # the one that serves first
    pools: Sequence[PoolNow]
    workers: Sequence[Mapping[str, Any]]
    failures: Sequence[Mapping[str, Any]]
    usage: Sequence[Mapping[str, Any]]
    usage_total: Mapping[str, int]
    errands: Mapping[str, Any]
    failed_errands: Sequence[Mapping[str, Any]]
    database: Mapping[str, Any]
    redis_ms: float | None


def read_now() -> Now:
    """One look at everything."""
    started = time.perf_counter()
    database = fetch_one(_DATABASE_SQL) or {}
    database["ms"] = (time.perf_counter() - started) * 1000
    workers = [_read_worker(row) for row in fetch_all(_WORKERS_SQL, limit=WORKERS_SHOWN)]
    running = fetch_all(_RUNNING_SQL, limit=RUNNING_SHOWN)
    waiting = read_waiting()
    hands = count_hands(workers)
    pools = [_pool_now(row, waiting, hands) for row in fetch_all(_POOLS_SQL)]
    paused = [(pool.lane, pool.name) for pool in pools if pool.paused_at]
    lanes = fetch_all(_LANES_SQL)
    serving = next((lane["name"] for lane in lanes if lane["state"] == "serving"), None)
    usage = fetch_all(_USAGE_SQL, limit=TENANTS_SHOWN)
    top = usage[0] if usage else {}
    return Now(
        now=database["now"],
        running=running,
        running_total=running[0]["total"] if running else 0,
        waits=explain_waits(waiting, hands=hands, paused=paused, serving=serving),
        waiting=sum(row["queued"] for row in waiting),
        waiting_tenants=len(waiting),
        lanes=lanes,
        pools=pools,
        workers=workers,
        failures=fetch_all(_FAILURES_SQL, limit=FAILURES_SHOWN),
        usage=usage,
        usage_total={name: top.get(name, 0) for name in ("all_images", "all_gpu_ms", "tenants")},
        errands=fetch_one(_ERRANDS_SQL) or {},
        failed_errands=fetch_all(_FAILED_ERRANDS_SQL, limit=ERRANDS_SHOWN),
        database=database,
        redis_ms=_ping_redis(),
    )


def _read_worker(row: dict[str, Any]) -> dict[str, Any]:
    serves = row["serves"]
    return row | {"serves": json.loads(serves) if isinstance(serves, str) else serves}


def _pool_now(
    row: Mapping[str, Any], waiting: Sequence[Mapping[str, Any]], hands: Mapping[tuple[str, str], Hands]
) -> PoolNow:
    where = (row["lane"], row["name"])
    here = [wait for wait in waiting if (wait["lane"], wait["pool"]) == where]
    found = hands.get(where)
    return PoolNow(
        lane=row["lane"],
        name=row["name"],
        queued=sum(wait["queued"] for wait in here),
        queued_ms=row["queued_ms"],
        running=row["running"],
        tenants=len(here),
        oldest=min((wait["oldest"] for wait in here), default=None),
        paused_at=row["paused_at"],
        paused_reason=row["paused_reason"],
        paused_by=row["paused_by"] or "",
        drawing=found.draw if found else 0,
        loading=found.states["loading"] if found else 0,
        drained=found.states["drained"] if found else 0,
    )


def _ping_redis() -> float | None:
    """Milliseconds until it answers; None while it is away."""
    started = time.perf_counter()
    if not breaker.attempt("ping", lambda: redis_client().ping()):
        return None
    return (time.perf_counter() - started) * 1000
