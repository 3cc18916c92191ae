"""Cancelling: what waits ends now, what runs ends at the step after its worker has noticed (see docs/worker.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.domain.sql import fetch_all, fetch_one
from generation.domain.claim import ClaimedRow
from generation.domain.clocks import move_clock
from generation.domain.finish import LEFT_COLUMNS, charge_ending, leave_run, scope_of, tell_change
from generation.enums import FINAL, Status
from generation.errors import AlreadyFinished, GenerationNotFound

_LOCK_SQL = """
SELECT status FROM generation_generation WHERE id = %(id)s AND tenant_id = app_tenant() FOR UPDATE
"""

_CANCEL_SQL = f"""
UPDATE generation_generation g
   SET status = CASE g.status WHEN 'queued' THEN 'canceled' ELSE g.status END,
       finished_at = CASE g.status WHEN 'queued' THEN clock_timestamp() END,
       cancel_requested_at = coalesce(g.cancel_requested_at, clock_timestamp())
 WHERE g.id = %(id)s AND g.tenant_id = app_tenant()
RETURNING {LEFT_COLUMNS}
"""  # noqa: S608  (only constants of this package are put in, here and below)

_CANCEL_RUNNING_SQL = f"""
UPDATE generation_generation g
   SET status = 'canceled', finished_at = clock_timestamp(), lease_until = NULL, worker = NULL,
       cost_ms = g.cost_ms + CASE WHEN g.cancel_is_free THEN 0 ELSE %(run_ms)s END,
       cancel_requested_at = coalesce(g.cancel_requested_at, clock_timestamp())
 WHERE g.id = %(id)s AND g.tenant_id = %(tenant)s AND g.fence = %(fence)s AND g.status = 'running'
RETURNING {LEFT_COLUMNS}
"""  # noqa: S608

# One look-up by primary key for all of them: a worker asks every second.
_WANTED_SQL = """
SELECT id FROM generation_generation WHERE id = ANY(%(ids)s::uuid[]) AND cancel_requested_at IS NOT NULL
"""


def cancel_generation(id: UUID) -> str:
    """Cancel one of the tenant's generations; returns "canceled", or "running" until its worker hears of it.

    What has not begun is refunded in full; otherwise what ran is charged. Cancelling twice changes nothing. Raises
    `GenerationNotFound` and `AlreadyFinished`.
    """
    with transaction.atomic():
        found = fetch_one(_LOCK_SQL, id=id)
        if found is None:
            raise GenerationNotFound
        status: str = found["status"]
        if status == Status.CANCELED:
            return status
        if status in FINAL:
            raise AlreadyFinished(f"this generation has {status} already, there is nothing to cancel")
        changed: dict[str, Any] | None = fetch_one(_CANCEL_SQL, id=id)
        if changed is None:
            raise GenerationNotFound
        if changed["status"] == Status.CANCELED:
            charge_ending(changed, "settle" if changed["cost_ms"] or changed["done"] else "refund")
            move_clock(
                lane=changed["lane"],
                pool=changed["pool"],
                tenant=changed["tenant_id"],
                queued=-1,
                queued_ms=-changed["remaining_ms"],
            )
            tell_change(changed)
    return str(changed["status"])


def find_cancelled(running: Sequence[UUID]) -> frozenset[UUID]:
    """Which of these rows somebody wants cancelled. Runs under the worker's role, which sees all tenants."""
    return frozenset(row["id"] for row in fetch_all(_WANTED_SQL, ids=list(running)))


def cancel_running(*, row: ClaimedRow, run_ms: float) -> bool:
    """The worker has dropped a row that was to be cancelled: charge what ran, unless that is at our cost.

    False when the row was lost.
    """
    run = max(0, round(run_ms))
    with scope_of(row.tenant), transaction.atomic():
        changed = fetch_one(_CANCEL_RUNNING_SQL, id=row.id, tenant=row.tenant, fence=row.fence, run_ms=run)
        if changed is None:
            return False
        charge_ending(changed, "settle")
        leave_run(changed, used_ms=run - changed["claimed_ms"])
        tell_change(changed)
    return True
