"""Where a waiting generation stands, honestly: by the clocks that decide who goes next.

The web sees other tenants' clocks (sums of counts and milliseconds), never their rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from generation.domain.clocks import REMAINING_MS

WORKER_SILENT_S = 60  # a worker that has not been seen for so long is gone

# What those who ask now will ask for before this row's turn, as a share of all that their clocks let them have. And the
# range: that nobody asks for more and what is there is drawn in half the time; that everybody does, and it takes this
# many times as long. Four of five simulated waits end within it (`docs/fairness.md`).
LATER_SHARE = 0.5
QUICKER, SLOWER = 0.5, 2.5
ENDS_LATER_IMAGES = 2.0  # of a pass, after one's own
SLACK_MS = 2_000.0

ReasonCode = Literal[
    "paused", "model_off", "no_worker", "drained", "loading", "not_in_memory", "lora_not_in_memory", "own_limit"
]
REASONS: dict[ReasonCode, str] = {
    "paused": "the queue is paused",
    "model_off": "staff have switched this model off, and no worker serves it any more",
    "no_worker": "no GPU worker is running for this model at the moment",
    "drained": "staff have stopped the GPU workers from taking more work",
    "loading": "the GPU worker is loading the model",
    "not_in_memory": "the model is not in memory: it is loaded when its turn comes",
    "lora_not_in_memory": "a LoRA is not in memory: it is loaded when its turn comes",
    "own_limit": "as many of your generations are being drawn at once as your plan allows",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePlace:
    """`position` 1 is next. `eta_ms` is about when the picture is there; None with a `reason` when nobody can say.
    `eta_range_ms`: at the earliest and at the latest, four times of five.

    While the worker loads it is known where the pool's models were loaded before.
    """

    position: int
    eta_ms: int | None
    own: int
    others: int
    reason: ReasonCode | None = None
    detail: str = ""
    eta_range_ms: tuple[int, int] | None = None


# The workers that would draw a row of `w`: those that serve, of its lane or of the one that takes it over.
_DRAWING = f"""(k.lane = w.lane OR k.lane = (SELECT l.name FROM generation_lane l WHERE l.state = 'serving'))
                  AND k.pool = w.pool AND k.state IN ('idle', 'busy') AND k.drain_requested_at IS NULL
                  AND coalesce(nullif(k.resident, 'null'), k.serves) ? w.model
                  AND k.seen_at > now() - interval '{WORKER_SILENT_S} seconds'"""  # noqa: S608  (a number)

# What a pool is like for somebody who waits in it. Uses: lane, pool, model, vtime (the waiting row's start on its
# tenant's clock), tenant and loras (those of the row itself: no other's name is ever read) of the relation `w`. A
# worker counts that serves the model: of the row's own lane, or, where nobody draws in it, of the lane that serves, to
# which the sweep hands the row over. One that loads (in a hand-over that of the lane which takes over) is expected to
# take as long as the pool's last one that has loaded; before it begins, while the other lane's ends, the hand-over's
# beginning counts.
#   Rows of another tenant begin before that start at its own clock's pace; they are taken as equally long. Tenants at
#   their own limit are not left out: they come as their pictures end, and the place would jump.
_POOL_COLUMNS = f"""
       coalesce(o.rows, 0)::int AS others, coalesce(o.ms, 0)::float8 AS others_ms,
       coalesce(o.most_ms, 0)::float8 AS most_ms, coalesce(o.running_ms, 0)::float8 AS running_ms,
       (SELECT coalesce(nullif(count(*) FILTER (WHERE k.lane = w.lane), 0), count(*)) FROM generation_worker k
         WHERE (k.lane = w.lane OR k.lane = (SELECT l.name FROM generation_lane l WHERE l.state = 'serving'))
           AND k.pool = w.pool AND k.state IN ('idle', 'busy') AND k.serves ? w.model AND k.drain_requested_at IS NULL
           AND k.seen_at > now() - interval '{WORKER_SILENT_S} seconds')::int AS workers,
       (SELECT extract(epoch FROM now() - max(b.since)) * 1000
          FROM (SELECT k.started_at FROM generation_worker k
                 WHERE k.pool = w.pool AND k.state = 'loading'
                   AND (k.lane = w.lane OR EXISTS (SELECT FROM generation_lane l
                                                    WHERE l.name = k.lane AND l.state IN ('promoting', 'serving')))
                   AND k.seen_at > now() - interval '15 minutes'
                UNION ALL
                SELECT l.changed_at FROM generation_lane l JOIN generation_release r ON r.id = l.release_id
                 WHERE r.mode = 'hand-over' AND l.changed_at > now() - interval '15 minutes'
                   AND (l.state = 'promoting' OR (l.state = 'ready' AND r.state = 'withdrawn'))) b (since)
       )::float8 AS loading_for_ms,
       (SELECT k.load_ms FROM generation_worker k WHERE k.pool = w.pool AND k.load_ms IS NOT NULL
         ORDER BY k.started_at DESC LIMIT 1) AS load_ms,
       (SELECT count(*) FILTER (WHERE k.drain_requested_at IS NOT NULL) FROM generation_worker k
         WHERE (k.lane = w.lane OR k.lane = (SELECT l.name FROM generation_lane l WHERE l.state = 'serving'))
           AND k.pool = w.pool AND k.state NOT IN ('stopped', 'failed', 'stopping') AND k.serves ? w.model
           AND k.seen_at > now() - interval '{WORKER_SILENT_S} seconds')::int AS drained,
       EXISTS (SELECT FROM generation_worker k WHERE {_DRAWING}) AS in_memory,
       (SELECT array_agg(u.use ->> 'name') FROM jsonb_array_elements(w.loras) AS u (use)
         WHERE NOT EXISTS (SELECT FROM generation_worker k WHERE {_DRAWING}
                              AND coalesce(nullif(k.loras, 'null') ? (u.use ->> 'sha256'), true))) AS absent_loras,
       EXISTS (SELECT FROM generation_model o WHERE o.slug = w.model AND NOT o.enabled) AS model_off,
       p.paused_at IS NOT NULL AS paused, coalesce(p.paused_reason, '') AS paused_reason,
       (SELECT coalesce(sum(r.running), 0) FROM generation_fairclock r WHERE r.tenant = w.tenant)::int AS running,
       (SELECT coalesce((t.limits ->> 'concurrent_generations')::bigint, l.concurrent_generations)
          FROM accounts_tenant t JOIN accounts_plan l ON l.id = t.plan_id WHERE t.id = w.tenant) AS slots
"""  # noqa: S608  (a number of this module)
_POOL_JOINS = """
  LEFT JOIN generation_pool p ON p.lane = w.lane AND p.name = w.pool
  LEFT JOIN LATERAL (
    SELECT sum(b.rows) AS rows, sum(least(b.queued_ms, b.most_ms)) AS ms, sum(b.most_ms) AS most_ms,
           sum(b.running_ms) AS running_ms
      FROM (SELECT c.running_ms, c.queued_ms,
                   CASE WHEN c.tenant = w.tenant THEN 0
                        ELSE greatest(0, w.vtime + (w.own_row_ms - w.image_ms) / w.weight - c.vtime) * c.weight
                    END AS most_ms,
                   CASE WHEN c.queued <= 0 OR c.tenant = w.tenant OR c.vtime >= w.vtime THEN 0
                        ELSE least(c.queued, ceil((w.vtime - c.vtime) * c.weight * c.queued
                                                  / greatest(c.queued_ms, 1))) END AS rows
              FROM generation_fairclock c
             WHERE c.lane = w.lane AND c.pool = w.pool AND (c.queued > 0 OR c.running > 0)) b) o ON true
"""

# Parameter: ids. One row for each of them that waits. Runs in a tenant's scope.
PLACE_SQL = f"""
WITH w AS (
  SELECT g.id, g.lane, g.pool, g.model_id AS model, g.tenant_id AS tenant, a.rows AS own, a.ms AS own_ms,
         {REMAINING_MS.format(row="g")} AS own_row_ms, g.estimate_ms::float8 / g.n AS image_ms,
         coalesce(g.params -> 'loras', '[]') AS loras,
         coalesce(c.weight, 1) AS weight, coalesce(c.vtime, 0) + a.ms / coalesce(c.weight, 1) AS vtime
    FROM generation_generation g
    LEFT JOIN generation_fairclock c ON c.lane = g.lane AND c.pool = g.pool AND c.tenant = g.tenant_id
   CROSS JOIN LATERAL (
     SELECT count(*)::int AS rows, coalesce(sum({REMAINING_MS.format(row="b")}), 0)::float8 AS ms
       FROM generation_generation b
      WHERE b.status = 'queued' AND b.lane = g.lane AND b.tenant_id = g.tenant_id AND b.pool = g.pool
        AND (-b.priority, b.queued_at, b.id) < (-g.priority, g.queued_at, g.id)) a
   WHERE g.id = ANY(%(ids)s) AND g.status = 'queued'
)
SELECT w.id, w.own, w.own_ms, w.own_row_ms, w.image_ms, {_POOL_COLUMNS}
  FROM w {_POOL_JOINS}
"""  # noqa: S608  (only constants of this package are put in, here and below)

# Parameters: lane, pool, model, tenant, weight, ms, image_ms, loras (as JSON). The place that a new row of
# the tenant would get.
NEW_PLACE_SQL = f"""
WITH w AS (
  SELECT n.*, coalesce(c.queued, 0) AS own, coalesce(c.queued_ms, 0)::float8 AS own_ms,
         CASE WHEN coalesce(c.queued, 0) = 0 THEN greatest(coalesce(c.vtime, 0), coalesce(q.vtime, 0)) ELSE c.vtime END
           + coalesce(c.queued_ms, 0)::float8 / n.weight AS vtime
    FROM (SELECT %(lane)s::text AS lane, %(pool)s::text AS pool, %(model)s::text AS model, %(tenant)s::uuid AS tenant,
                 %(weight)s::int AS weight, %(ms)s::bigint AS own_row_ms,
                 %(image_ms)s::float8 AS image_ms, %(loras)s::jsonb AS loras) n
    LEFT JOIN generation_fairclock c ON c.lane = n.lane AND c.pool = n.pool AND c.tenant = n.tenant
    LEFT JOIN generation_pool q ON q.lane = n.lane AND q.name = n.pool
)
SELECT w.own, w.own_ms, w.own_row_ms, w.image_ms, {_POOL_COLUMNS}
  FROM w {_POOL_JOINS}
"""  # noqa: S608


def read_place(row: Mapping[str, Any]) -> QueuePlace:
    """A row of `PLACE_SQL` or `NEW_PLACE_SQL` as a place.

    What runs now is half done on average. Workers of a pool share the work.
    """
    own, others = int(row["own"]), int(row["others"])
    reason, detail = _find_reason(row)
    eta_ms: int | None = None
    within: tuple[int, int] | None = None
    loads = reason == "loading" and row["load_ms"] is not None
    if reason in (None, "own_limit", "not_in_memory", "lora_not_in_memory") or loads:
        pause_ms = max(0.0, row["load_ms"] - row["loading_for_ms"]) if loads else 0.0
        if reason == "not_in_memory":
            pause_ms = float(row["load_ms"] or 0)
        eta_ms = round(pause_ms + _finish_ms(row, later=LATER_SHARE, running=0.5))
        least = pause_ms + _finish_ms(row, later=0, running=0)
        most = pause_ms + _finish_ms(row, later=1, running=1, images=ENDS_LATER_IMAGES)
        within = (min(eta_ms, round(QUICKER * least)), max(eta_ms, round(SLOWER * most + SLACK_MS)))
    return QueuePlace(
        position=own + others + 1,
        eta_ms=eta_ms,
        eta_range_ms=within,
        own=own,
        others=others,
        reason=reason,
        detail=detail,
    )


def _finish_ms(row: Mapping[str, Any], *, later: float, running: float, images: float = 0) -> float:
    """Until the last picture is there, if `later` of what others may still ask for and `running` of what runs count."""
    others_ms, most_ms = float(row["others_ms"]), float(row["most_ms"])
    before_ms = float(row["own_ms"]) + others_ms + later * max(0.0, most_ms - others_ms)
    before_ms += running * float(row["running_ms"])
    workers = max(1, int(row["workers"]))
    return before_ms / workers + float(row["own_row_ms"]) + images * float(row["image_ms"])


def _find_reason(row: Mapping[str, Any]) -> tuple[ReasonCode | None, str]:
    code: ReasonCode | None = None
    if row["paused"]:
        code = "paused"
    elif not row["workers"]:
        code = _find_missing(row)
    elif row["slots"] is not None and row["running"] >= row["slots"]:
        code = "own_limit"
    elif not row["in_memory"]:
        code = "not_in_memory"
    elif row["absent_loras"]:
        code = "lora_not_in_memory"
    if code is None:
        return None, ""
    if code == "lora_not_in_memory":
        return code, _say_absent(row["absent_loras"])
    return code, (row["paused_reason"] if code == "paused" and row["paused_reason"] else REASONS[code])


def _say_absent(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"the LoRA {names[0]} is not in memory: it is loaded when its turn comes"
    return f"the LoRAs {', '.join(names)} are not in memory: they are loaded when their turn comes"


def _find_missing(row: Mapping[str, Any]) -> ReasonCode:
    """Why no worker draws."""
    if row["model_off"]:
        return "model_off"
    if row["loading_for_ms"] is not None:
        return "loading"
    return "drained" if row["drained"] else "no_worker"
