"""Giving one lane's waiting rows to the other, with the clocks that count them.

Locks, in the order of `docs/data.md`: the pool's advisory locks of both lanes (by the lanes' names), the rows (skipping
what somebody holds), the clocks. Whoever moves more than one clock holds its pool's lock, so nothing waits in a circle.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from accounts.domain.audit import record
from accounts.domain.sql import fetch_all, fetch_one
from generation.domain.clocks import REMAINING_MS, lock_pool
from generation.domain.place import WORKER_SILENT_S
from generation.queue.wake import wake_pool

AT_ONCE = 500  # rows of one transaction: claims of both lanes wait for it

_DRAWING = f"""state IN ('idle', 'busy') AND drain_requested_at IS NULL
   AND seen_at > now() - interval '{WORKER_SILENT_S} seconds'"""

# What the workers of a lane can draw: a model in a pool, in the versions of `params` that they know. A worker of before
# it said so knows the first.
_OFFERS_SQL = f"""
SELECT w.pool, m.slug AS model, v.version::int AS version
  FROM generation_worker w
 CROSS JOIN LATERAL jsonb_array_elements_text(w.serves) AS m (slug)
 CROSS JOIN LATERAL jsonb_array_elements_text(coalesce(nullif(w.schemas, 'null'), '[1]')) AS v (version)
 WHERE w.lane = %(lane)s AND {_DRAWING}
 GROUP BY 1, 2, 3
"""  # noqa: S608  (only constants of this package are put in, here and below)

# `idle_only`: rows whose model somebody in their own lane draws stay with him.
_MOVE_SQL = f"""
WITH offers AS (
  SELECT * FROM unnest(%(models)s::text[], %(versions)s::int[]) AS o (model, version)
),
picked AS MATERIALIZED (
  SELECT g.id, g.tenant_id AS tenant, {REMAINING_MS.format(row="g")} AS ms
    FROM generation_generation g
   WHERE g.status = 'queued' AND g.lane = %(source)s AND g.pool = %(pool)s
     AND EXISTS (SELECT FROM offers o WHERE o.model = g.model_id AND o.version = g.schema_version)
     AND NOT (%(idle_only)s AND EXISTS (
           SELECT FROM generation_worker w
            WHERE w.lane = %(source)s AND w.pool = %(pool)s AND w.serves ? g.model_id AND w.{_DRAWING}))
   ORDER BY g.queued_at, g.id LIMIT %(at_once)s FOR UPDATE OF g SKIP LOCKED
),
moved AS (
  UPDATE generation_generation g SET lane = %(target)s FROM picked p WHERE g.id = p.id
  RETURNING g.id
),
sums AS (
  SELECT p.tenant, count(*)::int AS rows, sum(p.ms)::bigint AS ms FROM picked p JOIN moved m ON m.id = p.id GROUP BY 1
),
left_behind AS (
  UPDATE generation_fairclock c SET queued = c.queued - s.rows, queued_ms = c.queued_ms - s.ms
    FROM sums s WHERE c.lane = %(source)s AND c.pool = %(pool)s AND c.tenant = s.tenant
  RETURNING c.tenant, c.weight, c.vtime
),
entered AS (
  INSERT INTO generation_fairclock AS c (lane, pool, tenant, weight, vtime, queued, queued_ms, running, running_ms)
  SELECT %(target)s, %(pool)s, s.tenant, coalesce(b.weight, 1),
         %(reached)s::float8 + greatest(0, coalesce(b.vtime, 0) - %(left)s::float8), s.rows, s.ms, 0, 0
    FROM sums s LEFT JOIN left_behind b ON b.tenant = s.tenant
  ON CONFLICT (lane, pool, tenant) DO UPDATE
     SET weight = excluded.weight,
         vtime = CASE WHEN c.queued = 0 THEN greatest(c.vtime, excluded.vtime) ELSE c.vtime END,
         queued = c.queued + excluded.queued, queued_ms = c.queued_ms + excluded.queued_ms
)
SELECT coalesce(sum(rows), 0)::int AS rows, count(*)::int AS tenants FROM sums
"""  # noqa: S608
_POOLS_SQL = """
SELECT DISTINCT pool FROM generation_fairclock WHERE lane = %(lane)s AND queued > 0 ORDER BY pool
"""
_REACHED_SQL = """
SELECT coalesce(max(vtime) FILTER (WHERE lane = %(source)s), 0) AS left,
       coalesce(max(vtime) FILTER (WHERE lane = %(target)s), 0) AS reached
  FROM generation_pool WHERE name = %(pool)s
"""
_STRANDED_SQL = """
SELECT l.name AS source, d.name AS target FROM generation_lane l JOIN generation_lane d ON d.state = 'serving'
 WHERE l.state <> 'serving'
   AND EXISTS (SELECT FROM generation_fairclock c WHERE c.lane = l.name AND c.queued > 0) LIMIT 1
"""
_COUNT_SQL = """
SELECT coalesce(sum(queued), 0)::int AS queued, coalesce(sum(running), 0)::int AS running
  FROM generation_fairclock WHERE lane = %(lane)s
"""
_REST_SQL = """
SELECT model_id AS model, schema_version AS version, count(*)::int AS rows FROM generation_generation
 WHERE lane = %(lane)s AND status = 'queued' GROUP BY 1, 2 ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Left:
    """What a lane still has to do."""

    queued: int
    running: int

    @property
    def is_nothing(self) -> bool:
        """Whether it has nothing to do."""
        return self.queued == 0 and self.running == 0


def hand_over_queue(*, source: str, target: str, idle_only: bool = False) -> int:
    """Move what waits in one lane and can be drawn by the other's workers; how many rows. Runs as the worker's role.

    Rows that the other lane does not serve stay, and so do those that somebody holds at this moment: they are taken by
    the next call. With `idle_only` only rows move that nobody in their own lane draws.

    A tenant keeps its place among the others: how far its clock was ahead of the pool's, it is in the new lane, unless
    it waits there already.
    """
    offers = fetch_all(_OFFERS_SQL, lane=target)
    moved = 0
    for pool in [row["pool"] for row in fetch_all(_POOLS_SQL, lane=source)]:
        mine = [offer for offer in offers if offer["pool"] == pool]
        if mine:
            here = _move_pool(mine, pool=pool, source=source, target=target, idle_only=idle_only)
            moved += here
            if here:
                wake_pool(lane=target, pool=pool)
    return moved


def _move_pool(offers: list[dict[str, object]], *, pool: str, source: str, target: str, idle_only: bool) -> int:
    moved = 0
    while True:
        with transaction.atomic():
            for lane in sorted((source, target)):
                lock_pool(lane=lane, pool=pool)
            places = fetch_one(_REACHED_SQL, source=source, target=target, pool=pool) or {}
            row = fetch_one(
                _MOVE_SQL,
                source=source,
                target=target,
                pool=pool,
                models=[offer["model"] for offer in offers],
                versions=[offer["version"] for offer in offers],
                idle_only=idle_only,
                at_once=AT_ONCE,
                **places,
            )
            here = int(row["rows"]) if row else 0
            if row and here:
                detail = {"from": source, "to": target, "pool": pool, "rows": here, "tenants": row["tenants"]}
                record("queue.handed_over", target=f"lane:{source}", detail=detail)
        moved += here
        if here < AT_ONCE:
            return moved


def hand_over_stranded() -> int:
    """Move what waits in the lane that does not serve and that nobody draws there, to the one that does. For the sweep.

    A browser may be kept in a lane whose workers were drained or handed over; its requests are accepted all the same.
    """
    row = fetch_one(_STRANDED_SQL)
    return hand_over_queue(source=row["source"], target=row["target"], idle_only=True) if row else 0


def count_left(lane: str) -> Left:
    """What waits and runs in a lane, by the clocks."""
    row = fetch_one(_COUNT_SQL, lane=lane) or {"queued": 0, "running": 0}
    return Left(queued=row["queued"], running=row["running"])


def say_rest(lane: str) -> str:
    """What waits in a lane, by model: for whoever has to decide about it."""
    rows = fetch_all(_REST_SQL, lane=lane)
    return ", ".join(f"{row['rows']} of {row['model']} (version {row['version']})" for row in rows)
