"""What the database knows of one UTC day, over the worker's role: it sees every tenant's rows. No prompt is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

TOP = 5
BEFORE_DAYS = 7  # a day's latency is held against the mean of so many days before it
TIMEOUT_S = 120
CONNECT_S = 5

ACCEPTED_SQL = """
SELECT count(*) AS accepted, count(DISTINCT tenant_id) AS tenants,
       count(*) FILTER (WHERE status = 'succeeded') AS succeeded, count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status = 'canceled') AS canceled,
       count(*) FILTER (WHERE status IN ('queued', 'running')) AS open
  FROM generation_generation WHERE created_at >= %(first)s AND created_at < %(end)s
"""
# One event for each caller, action and minute at most (accounts/domain/denials.py). A key that is no key has no row.
REFUSED_SQL = """
SELECT coalesce(a.detail ->> 'code', '') AS code, coalesce(k.prefix, a.detail ->> 'prefix', '') AS key,
       count(*) AS count
  FROM accounts_auditevent a LEFT JOIN accounts_apikey k ON k.tenant_id = a.tenant_id AND k.id = a.key
 WHERE a.created_at >= %(first)s AND a.created_at < %(end)s AND a.result = 'denied'
 GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT %(top)s
"""
FAILED_SQL = """
SELECT g.error_code AS code, coalesce(k.prefix, '') AS key, count(*) AS count
  FROM generation_generation g LEFT JOIN accounts_apikey k ON k.tenant_id = g.tenant_id AND k.id = g.key
 WHERE g.status = 'failed' AND g.finished_at >= %(first)s AND g.finished_at < %(end)s
 GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT %(top)s
"""
REASONS_SQL = """
SELECT code AS reason, count(*) AS tries, count(DISTINCT generation_id) AS generations FROM generation_failure
 WHERE created_at >= %(first)s AND created_at < %(end)s GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %(top)s
"""
LATENCY_SQL = """
SELECT (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS count,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - created_at)::float8 * 1000) AS p50,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - created_at)::float8 * 1000) AS p95
  FROM generation_generation
 WHERE status = 'succeeded' AND finished_at IS NOT NULL AND created_at >= %(before)s AND created_at < %(end)s
 GROUP BY 1 ORDER BY 1
"""
TENANTS_SQL = """
SELECT c.tenant_id::text AS id, t.name,
       coalesce(sum(c.used) FILTER (WHERE c.metric = 'images'), 0)::bigint AS images,
       round(coalesce(sum(c.used) FILTER (WHERE c.metric = 'gpu_ms'), 0) / 1000.0, 1)::float8 AS gpu_s
  FROM accounts_counter c JOIN accounts_tenant t ON t.id = c.tenant_id
 WHERE c.scope = 'tenant' AND c.period = 'day' AND c.starts_on = %(day)s AND c.metric IN ('images', 'gpu_ms')
 GROUP BY 1, 2 HAVING sum(c.used) > 0 ORDER BY 4 DESC, 3 DESC, 1 LIMIT %(top)s
"""
# A worker's process keeps what it has reserved, so its last word is near its peak.
GPU_SQL = """
SELECT name, device, lane, pool, memory_used, memory_total FROM generation_worker
 WHERE seen_at >= %(first)s AND started_at < %(end)s AND memory_used > 0 ORDER BY memory_used DESC, name LIMIT %(top)s
"""
ERRANDS_SQL = """
SELECT count(*) FILTER (WHERE failed_at >= %(first)s AND failed_at < %(end)s) AS failed, count(*) AS failed_now
  FROM accounts_errand WHERE failed_at IS NOT NULL
"""
SIGN_INS_SQL = """
SELECT count(*) FILTER (WHERE result = 'ok') AS signed_in, count(*) FILTER (WHERE result <> 'ok') AS refused
  FROM accounts_auditevent WHERE action = 'sign_in' AND created_at >= %(first)s AND created_at < %(end)s
"""
KEYS_SQL = "SELECT id::text, prefix FROM accounts_apikey WHERE id = ANY(%(ids)s::uuid[])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Rows of the statements above, and the latency of the day beside that of the days before it."""

    pictures: Mapping[str, Any]
    refused: Sequence[Mapping[str, Any]]
    failed: Sequence[Mapping[str, Any]]
    reasons: Sequence[Mapping[str, Any]]
    latency: Mapping[str, Any]
    tenants: Sequence[Mapping[str, Any]]
    gpu: Sequence[Mapping[str, Any]]
    errands: Mapping[str, Any]
    sign_ins: Mapping[str, Any]
    prefixes: Mapping[str, str]
    """Of the asked keys, by id."""


def read_stored(url: str, *, day: date, keys: Collection[str] = ()) -> Stored:
    """Everything in one look; raises psycopg's errors."""
    first = datetime.combine(day, time(), UTC)
    values: dict[str, Any] = {
        "day": day,
        "first": first,
        "end": first + timedelta(days=1),
        "before": first - timedelta(days=BEFORE_DAYS),
        "top": TOP,
        "ids": list(keys),
    }
    options = f"-c statement_timeout={TIMEOUT_S * 1000}"
    with psycopg.connect(url, connect_timeout=CONNECT_S, options=options, row_factory=dict_row) as database:

        def rows(sql: str) -> list[DictRow]:
            return database.execute(sql.encode(), values).fetchall()

        return Stored(
            pictures=rows(ACCEPTED_SQL)[0],
            refused=rows(REFUSED_SQL),
            failed=rows(FAILED_SQL),
            reasons=rows(REASONS_SQL),
            latency=compare_latency(rows(LATENCY_SQL), day=day),
            tenants=rows(TENANTS_SQL),
            gpu=rows(GPU_SQL),
            errands=rows(ERRANDS_SQL)[0],
            sign_ins=rows(SIGN_INS_SQL)[0],
            prefixes={row["id"]: row["prefix"] for row in rows(KEYS_SQL)} if keys else {},
        )


def compare_latency(rows: Sequence[Mapping[str, Any]], *, day: date) -> dict[str, Any]:
    """The day's median and 95th percentile in milliseconds, and the mean of each over the days before it."""
    today = next((row for row in rows if row["day"] == day), None)
    earlier = [row for row in rows if row["day"] != day]
    found: dict[str, Any] = {"pictures": today["count"] if today else 0, "days_before": len(earlier)}
    for name in ("p50", "p95"):
        found[f"{name}_ms"] = round(today[name]) if today else None
        found[f"{name}_ms_before"] = round(sum(row[name] for row in earlier) / len(earlier)) if earlier else None
    return found
