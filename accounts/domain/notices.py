"""Telling people that a limit is nearly used up, and that it is: once for each limit, period and level.

The ticker looks every few seconds at the tenants whose ledger has moved lately, so a submit pays nothing for it. What
makes it once, whoever looks at the same time, is the unique row in `LimitNotice`: who inserts it sends the e-mails, in
the same transaction. A limit counts as used by what is set aside for it too, because that is what refuses the next
request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.domain.mail import queue_mail
from accounts.domain.roles import Right
from accounts.domain.sql import fetch_all
from accounts.enums import Role
from accounts.ids import uuid7
from accounts.models import Membership, User
from accounts.tenancy import in_tenant

logger = logging.getLogger(__name__)

LEVELS = (80, 100)  # percent
OVERLAP_S = 60  # a transaction that began so long ago may commit only now
FIRST_LOOK_S = 86_400  # what a ticker that has just begun looks back on
TOLD_ROLES = [role.value for role in Role if Right.SEE_ALL_USAGE.is_held_by(role)]

# Limits of tenants and budgets of members that have reached a level that nobody was told of. A tenant's own limits
# replace its plan's, and null is none. Storage has no period of its own: it is told of once a month.
_DUE_SQL = """
WITH moved AS (
  SELECT DISTINCT tenant_id FROM accounts_ledgerentry WHERE created_at > now() - make_interval(secs => %(since_s)s)
),
mine AS (
  SELECT t.id, t.name, t.stored_bytes, to_jsonb(p) || t.limits AS limits
    FROM moved m JOIN accounts_tenant t ON t.id = m.tenant_id JOIN accounts_plan p ON p.id = t.plan_id
   WHERE t.suspended_at IS NULL AND t.delete_after IS NULL
),
reached AS (
  SELECT t.id AS tenant, t.name, NULL::uuid AS member, c.metric, c.period, c.starts_on, c.used + c.reserved AS used,
         c.metric || '_per_' || c.period AS limit_name,
         (t.limits ->> (c.metric || '_per_' || c.period))::bigint AS quota
    FROM mine t JOIN accounts_counter c ON c.tenant_id = t.id AND c.scope = 'tenant' AND c.scope_id = t.id
  UNION ALL
  SELECT t.id, t.name, b.user_id, c.metric, c.period, c.starts_on, c.used + c.reserved,
         c.metric || '_per_' || c.period, (b.limits ->> (c.metric || '_per_' || c.period))::bigint
    FROM mine t
    JOIN accounts_memberbudget b ON b.tenant_id = t.id
    JOIN accounts_counter c ON c.tenant_id = t.id AND c.scope = 'member' AND c.scope_id = b.user_id
  UNION ALL
  SELECT t.id, t.name, NULL, 'bytes', 'month', date_trunc('month', now() AT TIME ZONE 'UTC')::date, t.stored_bytes,
         'storage_bytes', (t.limits ->> 'storage_bytes')::bigint
    FROM mine t
)
SELECT r.*, CASE WHEN r.used >= r.quota THEN 100 ELSE 80 END AS percent
  FROM reached r
 WHERE r.starts_on = date_trunc(r.period, now() AT TIME ZONE 'UTC')::date
   AND r.quota IS NOT NULL AND r.used::numeric * 100 >= r.quota::numeric * 80
   AND NOT EXISTS (
     SELECT FROM accounts_limitnotice n
      WHERE n.tenant_id = r.tenant AND n.starts_on = r.starts_on
        AND n.percent = CASE WHEN r.used >= r.quota THEN 100 ELSE 80 END
        AND n.limit = coalesce('member:' || r.member || ':', '') || r.limit_name)
 ORDER BY r.tenant, r.limit_name
"""
_CLAIM_SQL = """
INSERT INTO accounts_limitnotice (id, tenant_id, "limit", starts_on, percent, created_at)
SELECT w.id, %(tenant)s, %(limit)s, %(starts_on)s, w.percent, now()
  FROM unnest(%(ids)s::uuid[], %(levels)s::int[]) AS w (id, percent) ORDER BY w.percent
ON CONFLICT DO NOTHING RETURNING percent
"""

_looked_at: float | None = None


def send_limit_notices() -> int:
    """Tell of every level reached since the last look; returns how many limits were told of. Under the worker's role.

    One transaction for each limit.
    """
    global _looked_at
    started = time.monotonic()
    since_s = FIRST_LOOK_S if _looked_at is None else started - _looked_at + OVERLAP_S
    told = 0
    for row in fetch_all(_DUE_SQL, since_s=since_s):
        with in_tenant(row["tenant"]), transaction.atomic():
            told += _tell(row)
    _looked_at = started
    return told


def _tell(row: Mapping[str, Any]) -> bool:
    """Whether it was ours to tell: the level was not in the table yet."""
    levels = [level for level in LEVELS if level <= row["percent"]]
    mine = fetch_all(
        _CLAIM_SQL,
        tenant=row["tenant"],
        limit=(f"member:{row['member']}:" if row["member"] else "") + row["limit_name"],
        starts_on=row["starts_on"],
        ids=[uuid7() for _ in levels],
        levels=levels,
    )
    if row["percent"] not in {found["percent"] for found in mine}:
        return False
    people = _people(row["tenant"], row["member"])
    for person in people:
        queue_mail(
            "limit_used",
            to=person.email,
            language=person.language,
            tenant=row["tenant"],
            context={
                "tenant": row["name"],
                "mine": row["member"] is not None,
                "limit": row["limit_name"],
                "metric": row["metric"],
                "percent": row["percent"],
                "used": row["used"],
                "quota": row["quota"],
                "resets_on": "" if row["metric"] == "bytes" else str(_end(row["starts_on"], row["period"])),
            },
        )
    logger.info("limit %s reached %d percent", row["limit_name"], row["percent"], extra={"tenant": str(row["tenant"])})
    return True


def _people(tenant: UUID, member: UUID | None) -> list[User]:
    """The member whose budget it is; else who looks after the tenant."""
    members = Membership.objects.filter(tenant_id=tenant, user__is_active=True).select_related("user")
    chosen = members.filter(user_id=member) if member else members.filter(role__in=TOLD_ROLES)
    return [membership.user for membership in chosen.order_by("created_at", "id")]


def _end(starts_on: date, period: str) -> date:
    """The day on which the next period begins."""
    if period == "day":
        return starts_on + timedelta(days=1)
    return (starts_on.replace(day=1) + timedelta(days=32)).replace(day=1)
