"""Retention: a plan may say for how many days pictures are kept. What has ended before that goes, rows and files.

Stars protect nothing: else who stars everything keeps everything, and the plan's number would be none. The ticker looks
every hour which tenants have something to delete and asks for it by an errand of the tenant's own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from accounts.domain.audit import record
from accounts.domain.errands import ClaimedErrand, Lease, add_errand, errand
from accounts.domain.sql import fetch_all
from accounts.enums import ErrandKind
from accounts.tenancy import current_tenant, in_tenant
from generation.domain.remove import remove_ended

log = logging.getLogger(__name__)

BATCH = 100
MOST_DAYS = 36_500  # what is more is for ever, and more than dates can say

# A tenant's own number stands before its plan's; null is none.
_KEPT = f"""
  SELECT least(CASE WHEN jsonb_exists(t.limits, 'retention_days') THEN (t.limits->>'retention_days')::bigint
                    ELSE p.retention_days END, {MOST_DAYS})::int AS days
    FROM accounts_plan p WHERE p.id = t.plan_id
"""  # noqa: S608  (a number of this module)
_OLD = """
  g.tenant_id = t.id AND g.status IN ('succeeded', 'failed', 'canceled')
  AND g.created_at < now() - make_interval(days => k.days) AND g.finished_at < now() - make_interval(days => k.days)
"""
_DUE_SQL = f"""
SELECT t.id AS tenant FROM accounts_tenant t CROSS JOIN LATERAL ({_KEPT}) AS k
 WHERE k.days IS NOT NULL AND EXISTS (SELECT FROM generation_generation g WHERE {_OLD})
   AND NOT EXISTS (SELECT FROM accounts_errand e
                    WHERE e.tenant_id = t.id AND e.kind = %(kind)s AND e.failed_at IS NULL)
 ORDER BY t.id
"""  # noqa: S608  (as above)
_EXPIRED_SQL = f"""
SELECT g.id FROM accounts_tenant t CROSS JOIN LATERAL ({_KEPT}) AS k JOIN generation_generation g ON {_OLD}
 WHERE t.id = %(tenant)s ORDER BY g.created_at, g.id LIMIT %(most)s
"""  # noqa: S608  (as above)


def kept_until(finished_at: datetime | None, *, days: int | None) -> datetime | None:
    """Until when a plan that keeps pictures for so many days keeps one that ended then; None where that is no date."""
    if finished_at is None or days is None or days >= MOST_DAYS:
        return None
    return finished_at + timedelta(days=days)


def ask_retention() -> int:
    """Ask for the deletion of what plans keep no longer; returns for how many tenants. Under the worker's role."""
    due = fetch_all(_DUE_SQL, kind=ErrandKind.DELETE_EXPIRED.value)
    for row in due:
        with in_tenant(row["tenant"]):
            add_errand(kind=ErrandKind.DELETE_EXPIRED, tenant=row["tenant"])
    return len(due)


@errand(ErrandKind.DELETE_EXPIRED)
def delete_expired(claimed: ClaimedErrand) -> None:
    """Delete a tenant's pictures that its plan keeps no longer, as the plan is now. Runs in the tenant's scope.

    Some at a time, each time in one transaction: whoever is killed in the middle is followed by another one.
    """
    lease, removed = Lease(claimed), 0
    while ids := expired_ids(current_tenant(), most=BATCH):
        removed += _delete(ids)
        lease.keep()
    if removed:
        log.info("pictures were kept as long as the plan says", extra={"generations": removed})


def _delete(ids: Sequence[UUID]) -> int:
    """Together with the word of it in the audit log: whoever is killed has told of all that is gone."""
    with transaction.atomic():
        removed = len(remove_ended(ids).ids)
        record("pictures.expired", detail={"generations": removed})
    return removed


def expired_ids(tenant: UUID, *, most: int) -> Sequence[UUID]:
    """Generations that have ended and are older than the tenant's plan keeps them, oldest first."""
    return [row["id"] for row in fetch_all(_EXPIRED_SQL, tenant=tenant, most=most)]
