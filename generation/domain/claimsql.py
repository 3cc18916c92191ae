"""The statements of the claim (`claim.py`), which are long and belong together."""

from __future__ import annotations

from generation.domain.clocks import REMAINING_MS
from generation.domain.cost import LORA_FACTOR, STEPS_RUN

LOCK_SQL = """
SELECT set_config('synchronous_commit', 'off', true), pg_advisory_xact_lock(hashtextextended(%(name)s, 0)),
       EXISTS (SELECT FROM generation_generation
                WHERE status = 'running' AND lease_until < now() AND lane = %(lane)s AND pool = %(pool)s) AS expired
"""

# Rows that lost their last allowed lease, or were to be cancelled, are not for claiming: the sweep ends them.
# The clock keeps what the lost run was charged: a GPU was busy with it.
REQUEUE_SQL = f"""
WITH gone AS MATERIALIZED (
  SELECT id, claimed_ms FROM generation_generation
   WHERE status = 'running' AND lease_until < clock_timestamp() AND lane = %(lane)s AND pool = %(pool)s
     AND lost + 1 < %(max_lost)s AND cancel_requested_at IS NULL
   ORDER BY id LIMIT 200 FOR UPDATE SKIP LOCKED
),
back AS (
  UPDATE generation_generation g
     SET status = 'queued', fence = g.fence + 1, lost = g.lost + 1, lease_until = NULL, worker = NULL,
         step = g.done * g.steps / g.n
    FROM gone WHERE g.id = gone.id
  RETURNING g.id, g.tenant_id, gone.claimed_ms, {REMAINING_MS.format(row="g")} AS left_ms
),
counted AS (
  UPDATE generation_fairclock c
     SET running = c.running - d.rows, running_ms = c.running_ms - d.claimed_ms,
         queued = c.queued + d.rows, queued_ms = c.queued_ms + d.left_ms
    FROM (SELECT tenant_id, count(*) AS rows, sum(claimed_ms)::bigint AS claimed_ms, sum(left_ms)::bigint AS left_ms
            FROM back GROUP BY tenant_id) d
   WHERE c.lane = %(lane)s AND c.pool = %(pool)s AND c.tenant = d.tenant_id
)
SELECT id FROM back
"""  # noqa: S608  (only constants of this package are put in, here and below)

_FREE = """(
  coalesce((SELECT coalesce((t.limits ->> 'concurrent_generations')::bigint, p.concurrent_generations)
              FROM accounts_tenant t JOIN accounts_plan p ON p.id = t.plan_id
             WHERE t.id = c.tenant AND t.suspended_at IS NULL AND t.delete_after IS NULL), 0)
  - (SELECT sum(r.running) FROM generation_fairclock r WHERE r.tenant = c.tenant))"""

# Clocks are walked from the lowest on, of equal ones whoever has least waiting; a tenant at its concurrency limit,
# suspended, about to be deleted or without a row for us is passed over. The cost is this hardware's where it was
# measured, else what the row was estimated at.
HEAD_SQL = f"""
SELECT c.tenant, c.vtime, g.id, g.model_id, g.batch_key, g.lost, g.n - g.done AS left,
       g.task, g.width, g.height, coalesce((g.params ->> 'guided')::boolean, false) AS guided,
       coalesce((SELECT k.ms * {LORA_FACTOR} FROM generation_cost k
                  WHERE k.model_id = g.model_id AND k.hardware = %(hardware)s AND k.task = g.task AND k.width = g.width
                    AND k.height = g.height AND k.steps = {STEPS_RUN}
                    AND k.guided = coalesce((g.params ->> 'guided')::boolean, false)),
                g.estimate_ms::float8 / g.n) AS image_ms
  FROM generation_fairclock c
 CROSS JOIN LATERAL (
   SELECT h.* FROM unnest(%(models)s::text[]) AS m (slug)
    CROSS JOIN LATERAL (
      SELECT q.id, q.model_id, q.batch_key, q.lost, q.estimate_ms, q.n, q.done, q.task, q.width, q.height, q.steps,
             q.params, q.priority, q.queued_at
        FROM generation_generation q
       WHERE q.status = 'queued' AND q.lane = %(lane)s AND q.tenant_id = c.tenant AND q.model_id = m.slug
         AND q.pool = %(pool)s AND q.schema_version = ANY(%(schemas)s)
       ORDER BY q.priority DESC, q.queued_at, q.id LIMIT 1 FOR UPDATE SKIP LOCKED) h
    ORDER BY h.priority DESC, h.queued_at, h.id LIMIT 1) g
 WHERE c.lane = %(lane)s AND c.pool = %(pool)s AND c.queued > 0
   AND NOT EXISTS (SELECT FROM generation_pool p
                    WHERE p.lane = %(lane)s AND p.name = %(pool)s AND p.paused_at IS NOT NULL)
   AND {_FREE} > 0
 ORDER BY c.vtime, c.queued LIMIT 1
"""  # noqa: S608

# The head, and beside it what could share its pass. Each seat goes to the lowest clock, so no more tenants than seats
# can get one: the walk ends after them. One row for each of these tenants, with its rows in its own order: 64 rows of
# eight columns would take longer to read than to find; a statement for each half, longer than both.
NEXT_SQL = f"""
WITH head AS MATERIALIZED ({HEAD_SQL})
SELECT h.*, f.tenant AS other, f.vtime AS starts, f.weight, f.free, f.ids, f.lefts
  FROM head h
  LEFT JOIN LATERAL (
    SELECT c.tenant, c.vtime, c.weight, c.free, g.ids, g.lefts
      FROM (SELECT c.tenant, c.vtime, c.weight, {_FREE} AS free FROM generation_fairclock c
             WHERE c.lane = %(lane)s AND c.pool = %(pool)s AND c.queued > 0 AND c.vtime >= h.vtime
               AND c.vtime + h.image_ms / c.weight <= h.vtime + greatest(%(pass_ms)s, h.image_ms) / c.weight
             ORDER BY c.vtime, c.tenant <> h.tenant LIMIT %(searched)s) c
     CROSS JOIN LATERAL (
       SELECT array_agg(q.id) AS ids, array_agg(q.n - q.done) AS lefts
         FROM (SELECT q.id, q.n, q.done FROM generation_generation q
                WHERE q.status = 'queued' AND q.lane = %(lane)s AND q.batch_key = h.batch_key AND q.tenant_id = c.tenant
                  AND q.pool = %(pool)s AND q.schema_version = ANY(%(schemas)s) AND q.lost < %(alone)s
                ORDER BY q.priority DESC, q.queued_at, q.id LIMIT %(seats)s) q) g
     WHERE c.free > 0 AND g.ids IS NOT NULL AND h.lost < %(alone)s AND %(seats)s > 1
     ORDER BY c.vtime, c.tenant <> h.tenant LIMIT %(seats)s) f ON true
"""  # noqa: S608

# Takes the rows, charges their tenants' clocks, and moves on those whose turn was passed over: a tenant that waits for
# its own limit (or for a row of another release) saves up no time. One that waits for a model which this worker would
# have to load keeps its turn, as far as the patience goes: what the loaded ones get meanwhile is not its loss. The
# pool's clock is the head's, for newcomers.
_TAKE_FRAME = f"""
WITH wanted AS (
  SELECT * FROM unnest(%(ids)s::uuid[], %(claimed)s::bigint[]) AS w (id, claimed_ms)
),
picked AS MATERIALIZED (
  SELECT g.id, w.claimed_ms, {REMAINING_MS.format(row="g")} AS left_ms, g.started_at IS NULL AS first
    FROM generation_generation g JOIN wanted w ON w.id = g.id
   WHERE g.status = 'queued' ORDER BY g.id FOR UPDATE OF g SKIP LOCKED
),
taken AS (
  UPDATE generation_generation g
     SET status = 'running', fence = g.fence + 1 + (random() * 1000000000)::bigint,
         worker = %(worker)s, claimed_ms = p.claimed_ms,
         lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s),
         started_at = coalesce(g.started_at, clock_timestamp())
    FROM picked p WHERE g.id = p.id
  RETURNING g.id, g.tenant_id AS tenant, g."user", g.key, g.fence, g.attempt, g.lost, g.model_id AS model, g.task,
            g.prompt, g.negative_prompt, g.width, g.height, g.steps, g.params, g.seed, g.n, g.done, g.charged_on,
            g.estimate_ms, g.claimed_ms, g.created_at, p.left_ms,
            CASE WHEN p.first THEN extract(epoch FROM g.started_at - g.created_at)::float8 END AS waited_s
),
charged AS (
  UPDATE generation_fairclock c
     SET vtime = c.vtime + d.claimed_ms::float8 / c.weight,
         queued = c.queued - d.rows, queued_ms = c.queued_ms - d.left_ms,
         running = c.running + d.rows, running_ms = c.running_ms + d.claimed_ms
    FROM (SELECT tenant, count(*) AS rows, sum(claimed_ms)::bigint AS claimed_ms, sum(left_ms)::bigint AS left_ms
            FROM taken GROUP BY tenant) d
   WHERE c.lane = %(lane)s AND c.pool = %(pool)s AND c.tenant = d.tenant
     AND c.tenant = ANY (ARRAY(SELECT tenant FROM taken))  -- by its index: the clocks of all are many
),
{{passed_over}},
reached AS (
  INSERT INTO generation_pool AS p (lane, name, paused_reason, vtime)
  SELECT %(lane)s, %(pool)s, '', %(start)s WHERE EXISTS (SELECT FROM taken)
  ON CONFLICT (lane, name) DO UPDATE SET vtime = greatest(p.vtime, excluded.vtime)
)
SELECT * FROM taken
"""  # noqa: S608
_BEHIND = """FROM generation_fairclock c
   WHERE c.lane = %(lane)s AND c.pool = %(pool)s AND c.queued > 0 AND c.vtime < %(start)s
     AND c.tenant <> ALL (SELECT tenant FROM taken)"""
TAKE_SQL = _TAKE_FRAME.format(
    passed_over=f"""passed_over AS (
  UPDATE generation_fairclock SET vtime = %(start)s WHERE id IN (SELECT c.id {_BEHIND})
)"""  # noqa: S608
)
TAKE_WITH_ABSENT_SQL = _TAKE_FRAME.format(
    passed_over=f"""behind AS MATERIALIZED (
  SELECT c.id, %(start)s - CASE
           WHEN {_FREE} > 0
            AND EXISTS (SELECT FROM generation_generation q
                         WHERE q.status = 'queued' AND q.lane = %(lane)s AND q.tenant_id = c.tenant
                           AND q.model_id = ANY(%(absent)s) AND q.pool = %(pool)s
                           AND q.schema_version = ANY(%(schemas)s))
           THEN %(patience_ms)s::float8 / c.weight ELSE 0 END AS least
    {_BEHIND}
),
passed_over AS (
  UPDATE generation_fairclock c SET vtime = b.least FROM behind b WHERE c.id = b.id AND c.vtime < b.least
)"""  # noqa: S608
)

# Locked in the order of ids, so that two renewals never wait for each other in a circle.
RENEW_SQL = """
WITH held AS MATERIALIZED (
  SELECT g.id, h.step FROM generation_generation g
    JOIN unnest(%(ids)s::uuid[], %(fences)s::bigint[], %(steps)s::int[]) AS h (id, fence, step) ON h.id = g.id
   WHERE g.fence = h.fence AND g.status = 'running'
   ORDER BY g.id FOR UPDATE OF g
)
UPDATE generation_generation g
   SET lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s), step = coalesce(held.step, g.step)
  FROM held WHERE g.id = held.id
RETURNING g.id, g.cancel_requested_at IS NOT NULL AS cancelled
"""
