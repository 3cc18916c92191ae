"""Why work waits, for staff: by tenant, pool and lane, from the clocks and workers that decide it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from accounts.domain.sql import fetch_all
from generation.enums import WorkerState

SHOWN = 25  # tenants, those whose oldest row has waited longest

# One row for each tenant that waits somewhere. All waiting rows are counted: 100,000 of them take some 40 ms.
WAITING_SQL = """
WITH waiting AS (
  SELECT lane, pool, tenant_id AS tenant, count(*)::int AS queued, min(queued_at) AS oldest
    FROM generation_generation WHERE status = 'queued' GROUP BY 1, 2, 3
)
SELECT w.lane, w.pool, w.tenant, w.queued, w.oldest, t.name, t.suspended_at IS NOT NULL AS suspended,
       coalesce((t.limits ->> 'concurrent_generations')::int, p.concurrent_generations) AS slots,
       coalesce(c.vtime, 0) AS vtime, coalesce(r.running, 0)::int AS running
  FROM waiting w
  JOIN accounts_tenant t ON t.id = w.tenant JOIN accounts_plan p ON p.id = t.plan_id
  LEFT JOIN generation_fairclock c ON c.lane = w.lane AND c.pool = w.pool AND c.tenant = w.tenant
  LEFT JOIN (SELECT tenant, sum(running) AS running FROM generation_fairclock WHERE running > 0 GROUP BY 1) r
         ON r.tenant = w.tenant
 ORDER BY w.oldest, w.tenant
"""

# The next row of each of these tenants; parameters: lanes, pools, tenants (one of each for every pair).
HEADS_SQL = """
SELECT k.n, g.id, g.model_id AS model, m.title, m.enabled, g.width, g.height, g.steps
  FROM unnest(%(lanes)s::text[], %(pools)s::text[], %(tenants)s::uuid[]) WITH ORDINALITY AS k (lane, pool, tenant, n)
 CROSS JOIN LATERAL (
   SELECT q.id, q.model_id, q.width, q.height, q.steps FROM generation_generation q
    WHERE q.status = 'queued' AND q.lane = k.lane AND q.tenant_id = k.tenant AND q.pool = k.pool
    ORDER BY q.priority DESC, q.queued_at, q.id LIMIT 1) g
  JOIN generation_model m ON m.slug = g.model_id
"""


class Why(StrEnum):
    """What a tenant's next row waits for; the first that holds, from the outermost on."""

    SUSPENDED = "suspended"
    PAUSED = "paused"
    MODEL_OFF = "model_off"
    NO_WORKER = "no_worker"
    DRAINED = "drained"
    LOADING = "loading"
    NOT_SERVED = "not_served"
    OWN_LIMIT = "own_limit"
    BEHIND = "behind"
    NEXT = "next"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """One tenant's waiting rows in one pool; `head` is its next one."""

    lane: str
    pool: str
    tenant: UUID
    name: str
    queued: int
    oldest: datetime
    running: int
    slots: int
    why: Why
    behind: int = 0  # tenants whose turn comes first
    head: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hands:
    """The workers of one pool, by what they can do for it."""

    states: Counter[str]
    serves: frozenset[str]

    @property
    def draw(self) -> int:
        """How many draw, or could at once."""
        return self.states["draws"]


def read_waiting() -> list[dict[str, Any]]:
    """Every tenant that waits, who waits longest first. Runs across tenants, as all of this module."""
    return fetch_all(WAITING_SQL)


def count_hands(workers: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Hands]:
    """The live workers of each pool; each is a row with lane, pool, state, silent, drain_requested_at and serves."""
    states: dict[tuple[str, str], Counter[str]] = {}
    serves: dict[tuple[str, str], set[str]] = {}
    for worker in workers:
        where = (worker["lane"], worker["pool"])
        kind = _kind(worker)
        states.setdefault(where, Counter())[kind] += 1
        if kind == "draws":
            serves.setdefault(where, set()).update(worker["serves"])
    return {where: Hands(found, frozenset(serves.get(where, ()))) for where, found in states.items()}


def _kind(worker: Mapping[str, Any]) -> str:
    if worker["silent"] or worker["state"] in (WorkerState.STOPPED, WorkerState.FAILED, WorkerState.STOPPING):
        return "gone"
    if worker["state"] == WorkerState.LOADING:
        return "loading"
    return "drained" if worker["drain_requested_at"] else "draws"


def explain_waits(
    waiting: Sequence[Mapping[str, Any]],
    *,
    hands: Mapping[tuple[str, str], Hands],
    paused: Iterable[tuple[str, str]],
    serving: str | None = None,
    shown: int = SHOWN,
) -> list[Wait]:
    """Why each of the first `shown` waits. One query, for their next rows.

    `serving`: the lane that serves. As in `place.py`: where nobody draws in a row's own lane, the sweep hands it over
    to that one, whose workers count then.
    """
    first = waiting[:shown]
    heads = {
        row["n"] - 1: row
        for row in fetch_all(
            HEADS_SQL,
            lanes=[row["lane"] for row in first],
            pools=[row["pool"] for row in first],
            tenants=[row["tenant"] for row in first],
        )
    }
    resting = frozenset(paused)
    return [
        _explain(row, heads.get(place, {}), waiting=waiting, hands=hands, paused=resting, serving=serving)
        for place, row in enumerate(first)
    ]


def _explain(
    row: Mapping[str, Any],
    head: Mapping[str, Any],
    *,
    waiting: Sequence[Mapping[str, Any]],
    hands: Mapping[tuple[str, str], Hands],
    paused: frozenset[tuple[str, str]],
    serving: str | None,
) -> Wait:
    where = (row["lane"], row["pool"])
    ahead = sum(1 for other in waiting if (other["lane"], other["pool"]) == where and _goes_before(other, row))
    return Wait(
        lane=row["lane"],
        pool=row["pool"],
        tenant=row["tenant"],
        name=row["name"],
        queued=row["queued"],
        oldest=row["oldest"],
        running=row["running"],
        slots=row["slots"],
        why=_find_why(row, head, hands=_find_hands(where, head, hands, serving), paused=where in paused, ahead=ahead),
        behind=ahead,
        head=head,
    )


def _find_hands(
    where: tuple[str, str],
    head: Mapping[str, Any],
    hands: Mapping[tuple[str, str], Hands],
    serving: str | None,
) -> Hands | None:
    """The workers that will draw a row: its own lane's, or those of the lane that serves."""
    own = hands.get(where)
    if serving is None or (own is not None and head.get("model") in own.serves):
        return own
    other = hands.get((serving, where[1]))
    return other if other is not None and (own is None or other.draw or other.states["loading"]) else own


def _find_why(row: Mapping[str, Any], head: Mapping[str, Any], *, hands: Hands | None, paused: bool, ahead: int) -> Why:
    if row["suspended"]:
        return Why.SUSPENDED
    if paused:
        return Why.PAUSED
    served = hands is not None and head.get("model") in hands.serves
    if head and not head["enabled"] and not served:
        return Why.MODEL_OFF
    if hands is None or not hands.draw:
        return _find_missing(hands)
    if head and not served:
        return Why.NOT_SERVED
    if row["running"] >= row["slots"]:
        return Why.OWN_LIMIT
    return Why.BEHIND if ahead else Why.NEXT


def _find_missing(hands: Hands | None) -> Why:
    """What the workers are that could draw and do not."""
    if hands is not None and hands.states["loading"]:
        return Why.LOADING
    return Why.DRAINED if hands is not None and hands.states["drained"] else Why.NO_WORKER


def _goes_before(other: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether the claim would take another tenant first: by clocks, of equal ones whoever has least waiting."""
    may_run = not other["suspended"] and other["running"] < other["slots"]
    return may_run and (other["vtime"], other["queued"]) < (row["vtime"], row["queued"])
