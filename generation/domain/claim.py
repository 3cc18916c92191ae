"""Taking rows for one pass, under a lease with a fence; and renewing it.

One transaction under the pool's advisory lock: requeue what lost its lease, find the tenant whose clock is lowest, fill
the pass with rows that can share it, take them. It is committed without waiting for the disk (`synchronous_commit`): a
crash of PostgreSQL may undo it while its worker draws on. So a fence is raised by a random leap: the next owner of the
row gets another one, and neither finish nor file name of the first can be taken for the second's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.domain.sql import fetch_all, fetch_one
from generation.domain.clocks import REMAINING_MS, pool_lock_name
from generation.domain.cost import LORA_FACTOR, STEPS_RUN
from generation.domain.fairness import SEARCHED, Waiting, count_seats, fill_pass, window_ms
from generation.engine.tasksteps import steps_run
from generation.meters import LEASES_LOST, WAITED

KNOWN_SCHEMAS = (1, 2, 3)  # versions of `params` that this release can draw; rows of others are left to their lane
MAX_LOST = 5  # leases: then the row fails
ALONE_AFTER = 2  # lost leases: from then on the row runs alone
_TRIES = 3  # a head that somebody cancels at this very moment is skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRow:
    """One row for this pass. `seeds` are (index, seed) of the images to draw in it; `done` are stored already.

    `fence` is the right to write: whoever finishes, fails, releases or renews names it.
    """

    id: UUID
    tenant: UUID
    user: UUID | None
    key: UUID | None
    fence: int
    attempt: int
    lost: int
    model: str
    task: str
    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    params: dict[str, Any]
    seeds: tuple[tuple[int, int], ...]
    n: int
    done: int
    charged_on: date
    estimate_ms: int
    claimed_ms: int
    hardware: str
    created_at: datetime
    waited_s: float | None = None
    """From its submit to this claim, where it is the row's first."""

    @property
    def guided(self) -> bool:
        """Whether true CFG runs."""
        return bool(self.params.get("guided", False))

    @property
    def steps_run(self) -> int:
        """How many of its steps run: one that begins from a picture leaves the first out."""
        return steps_run(self.steps, self.params.get("strength", 1.0))

    @property
    def loras(self) -> int:
        """How many LoRAs it is drawn with."""
        return len(self.params.get("loras", []))


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Rows that share one pass, and about how many milliseconds it will take."""

    rows: tuple[ClaimedRow, ...]
    model: str
    batch_key: str
    estimate_ms: int


@dataclass(frozen=True, slots=True)
class Renewal:
    """Rows whose lease is no longer ours, and rows that somebody wants cancelled."""

    lost: frozenset[UUID]
    cancelled: frozenset[UUID]


_LOCK_SQL = """
SELECT set_config('synchronous_commit', 'off', true), pg_advisory_xact_lock(hashtextextended(%(name)s, 0)),
       EXISTS (SELECT FROM generation_generation
                WHERE status = 'running' AND lease_until < now() AND lane = %(lane)s AND pool = %(pool)s) AS expired
"""

# Rows that lost their last allowed lease, or were to be cancelled, are not for claiming: the sweep ends them.
# The clock keeps what the lost run was charged: a GPU was busy with it.
_REQUEUE_SQL = f"""
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
_HEAD_SQL = f"""
SELECT c.tenant, c.vtime, c.weight, g.*,
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

# Each seat goes to the lowest clock, so no more tenants than seats can get one: the walk ends after them.
_FILL_SQL = f"""
SELECT g.id, c.tenant, c.vtime, c.weight, c.free, g.n - g.done AS left, g.priority, g.queued_at
  FROM (SELECT c.tenant, c.vtime, c.weight, {_FREE} AS free FROM generation_fairclock c
         WHERE c.lane = %(lane)s AND c.pool = %(pool)s AND c.queued > 0 AND c.vtime >= %(start)s
           AND c.vtime + %(image_ms)s / c.weight <= %(start)s + %(window_ms)s / c.weight
         ORDER BY c.vtime, c.tenant <> %(head)s LIMIT %(searched)s) c
 CROSS JOIN LATERAL (
   SELECT q.id, q.n, q.done, q.priority, q.queued_at FROM generation_generation q
    WHERE q.status = 'queued' AND q.lane = %(lane)s AND q.batch_key = %(batch_key)s AND q.tenant_id = c.tenant
      AND q.pool = %(pool)s AND q.schema_version = ANY(%(schemas)s) AND q.lost < %(alone)s
    ORDER BY q.priority DESC, q.queued_at, q.id LIMIT %(seats)s) g
 WHERE c.free > 0
 ORDER BY c.vtime, c.tenant <> %(head)s LIMIT %(seats)s * %(seats)s
"""  # noqa: S608

# Takes the rows, charges their tenants' clocks, and moves on those whose turn was passed over: a tenant that waits for
# its own limit (or for a row of another release) saves up no time. The pool's clock is the head's, for newcomers.
_TAKE_SQL = f"""
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
),
passed_over AS (
  UPDATE generation_fairclock c SET vtime = %(start)s
   WHERE c.lane = %(lane)s AND c.pool = %(pool)s AND c.queued > 0 AND c.vtime < %(start)s
     AND c.tenant <> ALL (SELECT tenant FROM taken)
),
reached AS (
  INSERT INTO generation_pool AS p (lane, name, paused_reason, vtime)
  SELECT %(lane)s, %(pool)s, '', %(start)s WHERE EXISTS (SELECT FROM taken)
  ON CONFLICT (lane, name) DO UPDATE SET vtime = greatest(p.vtime, excluded.vtime)
)
SELECT * FROM taken
"""  # noqa: S608


def claim_pass(
    *, lane: str, pool: str, models: Mapping[str, int], worker: UUID, hardware: str, lease_s: float = 30
) -> Claim | None:
    """Take the rows of the next pass; None when nothing may run now.

    `models`: those this worker has loaded, with the most images of each that fit a pass. Runs under the worker's role,
    which sees all tenants.
    """
    if not models:
        return None
    place = {"lane": lane, "pool": pool}
    with transaction.atomic():
        state = fetch_one(_LOCK_SQL, name=pool_lock_name(lane=lane, pool=pool), **place)
        if state and state["expired"]:
            requeue_expired(lane=lane, pool=pool)
        for _ in range(_TRIES):
            head = fetch_one(_HEAD_SQL, models=list(models), schemas=list(KNOWN_SCHEMAS), hardware=hardware, **place)
            if head is None:
                return None
            seats = count_seats(image_ms=head["image_ms"], batch_max=models[head["model_id"]])
            chosen = _choose_rows(head, seats=seats, place=place)
            rows = _take_rows(head, chosen, place=place, worker=worker, hardware=hardware, lease_s=lease_s)
            if rows:
                transaction.on_commit(lambda rows=tuple(rows): _count_waits(rows, lane=lane))  # type: ignore[misc]
                return Claim(
                    rows=tuple(rows),
                    model=head["model_id"],
                    batch_key=head["batch_key"],
                    estimate_ms=sum(row.claimed_ms for row in rows),
                )
    return None


def find_next_model(*, lane: str, pool: str, models: Sequence[str], hardware: str) -> str | None:
    """Whose turn it is among rows of `models`: the model of the row that a claim would take now. Takes nothing."""
    with transaction.atomic():
        head = fetch_one(
            _HEAD_SQL, models=list(models), schemas=list(KNOWN_SCHEMAS), hardware=hardware, lane=lane, pool=pool
        )
    return None if head is None else str(head["model_id"])


def _count_waits(rows: Sequence[ClaimedRow], *, lane: str) -> None:
    for row in rows:
        if row.waited_s is not None:
            WAITED.labels(lane, row.model).observe(max(0.0, row.waited_s))


def requeue_expired(*, lane: str, pool: str) -> int:
    """Put rows whose lease ran out back into the queue; how many. The caller's transaction holds the pool's lock."""
    lost = len(fetch_all(_REQUEUE_SQL, lane=lane, pool=pool, max_lost=MAX_LOST))
    if lost:
        transaction.on_commit(lambda: LEASES_LOST.labels(lane, pool).inc(lost))
    return lost


def renew_claims(fences: Mapping[UUID, int], *, steps: Mapping[UUID, int], lease_s: float) -> Renewal:
    """Prolong the leases of rows we hold (id → fence) and write their steps; says which are no longer ours."""
    ids = list(fences)
    rows = fetch_all(
        _RENEW_SQL,
        ids=ids,
        fences=[fences[row] for row in ids],
        steps=[steps.get(row) for row in ids],
        lease_s=lease_s,
    )
    return Renewal(
        lost=frozenset(ids) - {row["id"] for row in rows},
        cancelled=frozenset(row["id"] for row in rows if row["cancelled"]),
    )


# Locked in the order of ids, so that two renewals never wait for each other in a circle.
_RENEW_SQL = """
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


_WAITING = tuple(item.name for item in fields(Waiting))


def _choose_rows(head: Mapping[str, Any], *, seats: int, place: Mapping[str, str]) -> dict[UUID, int]:
    """How many images of which rows the pass draws."""
    left = int(head["n"]) - int(head["done"])
    if head["lost"] >= ALONE_AFTER or seats == 1:
        return {head["id"]: min(left, seats)}
    image_ms = float(head["image_ms"])
    rows = fetch_all(
        _FILL_SQL,
        head=head["tenant"],
        start=head["vtime"],
        image_ms=image_ms,
        window_ms=window_ms(image_ms),
        batch_key=head["batch_key"],
        seats=seats,
        searched=SEARCHED,
        alone=ALONE_AFTER,
        schemas=list(KNOWN_SCHEMAS),
        **place,
    )
    rows.sort(key=lambda row: (row["vtime"], row["tenant"], -row["priority"], row["queued_at"], row["id"]))
    waiting = [Waiting(**{name: row[name] for name in _WAITING}) for row in rows]
    if all(row.id != head["id"] for row in waiting):
        return {head["id"]: min(left, seats)}
    return fill_pass(waiting, head=head["id"], start=float(head["vtime"]), image_ms=image_ms, seats=seats)


def _take_rows(
    head: Mapping[str, Any],
    chosen: Mapping[UUID, int],
    *,
    place: Mapping[str, str],
    worker: UUID,
    hardware: str,
    lease_s: float,
) -> list[ClaimedRow]:
    ids = list(chosen)
    taken = fetch_all(
        _TAKE_SQL,
        ids=ids,
        claimed=[round(chosen[row] * head["image_ms"]) for row in ids],
        start=head["vtime"],
        worker=worker,
        lease_s=lease_s,
        **place,
    )
    taken.sort(key=lambda row: ids.index(row["id"]))
    return [_read_row(row, images=chosen[row["id"]], hardware=hardware) for row in taken]


def _read_row(row: dict[str, Any], *, images: int, hardware: str) -> ClaimedRow:
    first, seed = int(row["done"]), int(row.pop("seed"))
    del row["left_ms"]
    params = row.pop("params")
    return ClaimedRow(
        **row,
        params=json.loads(params) if isinstance(params, str) else params,
        seeds=tuple((index, seed + index) for index in range(first, first + images)),
        hardware=hardware,
    )
