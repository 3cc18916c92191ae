"""The virtual clocks' table: every move of a generation moves its tenant's clock row in the same transaction.

Whoever moves more than one clock of a pool holds the pool's advisory lock (`lock_pool`); all others touch one clock, as
the last row they lock but the cost table's. So nothing waits in a circle.
"""

from __future__ import annotations

from uuid import UUID

from accounts.domain.sql import execute, fetch_all, fetch_one
from generation.errors import QueueFull

# What a row still has to be drawn for, in estimated milliseconds. Integer arithmetic: what was added is subtracted.
REMAINING_MS = "({row}.estimate_ms * ({row}.n - {row}.done) / {row}.n)"

# Parameters: lane, pool, tenant, weight, ms, limit. No row: the tenant's queue is full.
# Whoever gets work after idling starts where the tenant served last was served: it neither waits for what others had
# while it was away, nor gets that back. The sum is over all pools: `queue_length` is the tenant's.
_ENTER_SQL = """
INSERT INTO generation_fairclock AS c (lane, pool, tenant, weight, vtime, queued, queued_ms, running, running_ms)
SELECT %(lane)s, %(pool)s, %(tenant)s, %(weight)s,
       coalesce((SELECT p.vtime FROM generation_pool p WHERE p.lane = %(lane)s AND p.name = %(pool)s), 0),
       1, %(ms)s, 0, 0
 WHERE (SELECT coalesce(sum(o.queued), 0) FROM generation_fairclock o WHERE o.tenant = %(tenant)s) < %(limit)s
ON CONFLICT (lane, pool, tenant) DO UPDATE
   SET weight = excluded.weight,
       vtime = CASE WHEN c.queued = 0 THEN greatest(c.vtime, excluded.vtime) ELSE c.vtime END,
       queued = c.queued + 1, queued_ms = c.queued_ms + excluded.queued_ms
RETURNING c.queued
"""

_MOVE_SQL = """
UPDATE generation_fairclock
   SET queued = queued + %(queued)s, queued_ms = queued_ms + %(queued_ms)s,
       running = running + %(running)s, running_ms = running_ms + %(running_ms)s,
       vtime = vtime + %(used_ms)s::float8 / weight
 WHERE lane = %(lane)s AND pool = %(pool)s AND tenant = %(tenant)s
"""

_LOCK_CLOCKS_SQL = """
SELECT tenant FROM generation_fairclock WHERE lane = %(lane)s AND pool = %(pool)s ORDER BY tenant FOR UPDATE
"""

_REPAIR_SQL = f"""
WITH truth AS (
  SELECT tenant_id AS tenant,
         count(*) FILTER (WHERE g.status = 'queued') AS queued,
         coalesce(sum({REMAINING_MS.format(row="g")}) FILTER (WHERE g.status = 'queued'), 0)::bigint AS queued_ms,
         count(*) FILTER (WHERE g.status = 'running') AS running,
         coalesce(sum(g.claimed_ms) FILTER (WHERE g.status = 'running'), 0)::bigint AS running_ms
    FROM generation_generation g
   WHERE g.status IN ('queued', 'running') AND g.lane = %(lane)s AND g.pool = %(pool)s
   GROUP BY tenant_id
),
wanted AS (
  SELECT c.id, coalesce(t.queued, 0) AS queued, coalesce(t.queued_ms, 0) AS queued_ms,
         coalesce(t.running, 0) AS running, coalesce(t.running_ms, 0) AS running_ms,
         coalesce((a.limits ->> 'weight')::int, p.weight) AS weight
    FROM generation_fairclock c
    LEFT JOIN truth t ON t.tenant = c.tenant
    LEFT JOIN accounts_tenant a ON a.id = c.tenant LEFT JOIN accounts_plan p ON p.id = a.plan_id
   WHERE c.lane = %(lane)s AND c.pool = %(pool)s
)
UPDATE generation_fairclock c
   SET queued = w.queued, queued_ms = w.queued_ms, running = w.running, running_ms = w.running_ms,
       weight = coalesce(w.weight, c.weight)
  FROM wanted w
 WHERE w.id = c.id AND (c.queued, c.queued_ms, c.running, c.running_ms, c.weight)
       IS DISTINCT FROM (w.queued, w.queued_ms, w.running, w.running_ms, coalesce(w.weight, c.weight))
RETURNING c.tenant
"""  # noqa: S608  (only constants of this module are put in)

_LOCK_POOL_SQL = "SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 0))"


def pool_lock_name(*, lane: str, pool: str) -> str:
    """What the pool's advisory lock is made from."""
    return f"generation.claim:{lane}:{pool}"


def lock_pool(*, lane: str, pool: str) -> None:
    """Wait for the pool's lock; it ends with the transaction."""
    fetch_one(_LOCK_POOL_SQL, name=pool_lock_name(lane=lane, pool=pool))


def enter_queue(*, lane: str, pool: str, tenant: UUID, weight: int, ms: int, limit: int) -> None:
    """Count one more waiting generation; raises `QueueFull`.

    The caller has locked the tenant's counters before (`reserve` does): so the sum over the pools is exact.
    """
    row = fetch_one(_ENTER_SQL, lane=lane, pool=pool, tenant=tenant, weight=weight, ms=ms, limit=limit)
    if row is None:
        raise QueueFull(
            f"{limit} generations of your organisation are waiting, which is its limit: wait for one or cancel one",
            limit="queue_length",
            retry_after_s=10,
            quota=limit,
        )


def move_clock(
    *,
    lane: str,
    pool: str,
    tenant: UUID,
    queued: int = 0,
    queued_ms: int = 0,
    running: int = 0,
    running_ms: int = 0,
    used_ms: float = 0.0,
) -> None:
    """Add to a tenant's counts and, with `used_ms` of GPU time (unweighted, may be negative), to its clock."""
    execute(
        _MOVE_SQL,
        lane=lane,
        pool=pool,
        tenant=tenant,
        queued=queued,
        queued_ms=queued_ms,
        running=running,
        running_ms=running_ms,
        used_ms=used_ms,
    )


def repair_clocks(*, lane: str, pool: str) -> list[UUID]:
    """Count a pool's rows anew and write what differs; returns the tenants whose counts were wrong (none, always).

    Runs in a transaction of the caller. First the clocks are locked, then counted in a second statement: whoever moved
    a row has either committed, and is seen, or waits for the clock, and adds its move afterwards.
    """
    lock_pool(lane=lane, pool=pool)
    execute(_LOCK_CLOCKS_SQL, lane=lane, pool=pool)
    return [row["tenant"] for row in fetch_all(_REPAIR_SQL, lane=lane, pool=pool)]
