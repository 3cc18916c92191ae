"""How full things are, for `/metrics`: a fixed number of statements, counts and ages only, nobody's rows.

Runs across tenants, under the staff role. `docs/metrics.md` has what it costs with 100,000 rows waiting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accounts.domain.sql import fetch_all, fetch_one

# Each half uses its own partial index; the first needs nothing but the index.
_QUEUE_SQL = """
SELECT q.lane, coalesce(m.pool, '') AS pool, q.model, sum(q.queued)::bigint AS queued,
       sum(q.running)::bigint AS running, extract(epoch FROM now() - min(q.oldest))::float8 AS oldest_s
  FROM (SELECT lane, model_id AS model, count(*) AS queued, 0 AS running, min(queued_at) AS oldest
          FROM generation_generation WHERE status = 'queued' GROUP BY 1, 2
        UNION ALL
        SELECT lane, model_id, 0, count(*), NULL FROM generation_generation WHERE status = 'running' GROUP BY 1, 2) q
  LEFT JOIN generation_model m ON m.slug = q.model
 GROUP BY 1, 2, 3
"""
_MODELS_SQL = "SELECT slug AS model, pool FROM generation_model WHERE enabled"
# Of those that failed only the last of its pool: a worker that cannot load is started again and again.
_WORKERS_SQL = """
SELECT w.lane, w.pool, w.state, count(*) AS workers, sum(w.memory_used)::bigint AS memory_used,
       max(extract(epoch FROM now() - w.seen_at))::float8 AS silent_s
  FROM generation_worker w
 WHERE w.state NOT IN ('stopped', 'failed')
    OR w.state = 'failed' AND w.seen_at > now() - interval '1 day'
       AND NOT EXISTS (SELECT FROM generation_worker later
                        WHERE later.lane = w.lane AND later.pool = w.pool AND later.started_at > w.started_at)
 GROUP BY 1, 2, 3
"""
_PAUSED_SQL = "SELECT lane, name AS pool, (paused_at IS NOT NULL)::int AS paused FROM generation_pool"
_ERRANDS_SQL = """
SELECT count(*) FILTER (WHERE failed_at IS NULL AND lease_until > now()) AS running,
       count(*) FILTER (WHERE failed_at IS NULL AND due_at <= now() AND (lease_until IS NULL OR lease_until <= now()))
         AS due,
       count(*) FILTER (WHERE failed_at IS NULL AND due_at > now() AND (lease_until IS NULL OR lease_until <= now()))
         AS later,
       count(*) FILTER (WHERE failed_at IS NOT NULL) AS failed,
       coalesce(extract(epoch FROM now() - min(due_at) FILTER (
         WHERE failed_at IS NULL AND due_at <= now() AND (lease_until IS NULL OR lease_until <= now()))), 0)::float8
         AS oldest_s
  FROM accounts_errand
"""
# An advisory lock's key is two halves; the ticker's belongs to its session, and PostgreSQL ends one that is frozen.
_DATABASE_SQL = """
SELECT (SELECT sum(numbackends) FROM pg_stat_database)::int AS connections,
       current_setting('max_connections')::int AS most,
       (SELECT count(*) FROM pg_locks
         WHERE locktype = 'advisory' AND granted AND objsubid = 1
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND (classid::bigint << 32) + objid::bigint = %(lock)s)::int AS tickers
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Rows of the statements above, by what they are about."""

    queue: Sequence[Mapping[str, Any]]
    models: Sequence[Mapping[str, Any]]
    workers: Sequence[Mapping[str, Any]]
    pools: Sequence[Mapping[str, Any]]
    errands: Mapping[str, Any]
    database: Mapping[str, Any]


def look_at_levels(*, ticker_lock: int) -> Levels:
    """One look."""
    return Levels(
        queue=fetch_all(_QUEUE_SQL),
        models=fetch_all(_MODELS_SQL),
        workers=fetch_all(_WORKERS_SQL),
        pools=fetch_all(_PAUSED_SQL),
        errands=fetch_one(_ERRANDS_SQL) or {},
        database=fetch_one(_DATABASE_SQL, lock=ticker_lock) or {},
    )
