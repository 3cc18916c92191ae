"""The counters anew from the ledger, which is the truth behind them."""

from __future__ import annotations

from uuid import UUID

from django.db import connection, transaction

from accounts.domain.counters import START_OF_PERIOD
from accounts.domain.sql import fetch_all
from accounts.models import Counter

# What every counter of a tenant must be: what is closed (settled, refunded, credited) was used, the rest is reserved.
_SUMS_SQL = f"""
WITH work AS (
  SELECT metric, "user", key, charged_on, sum(amount) AS amount, bool_or(kind <> 'reserve') AS closed
    FROM accounts_ledgerentry WHERE tenant_id = %(tenant)s
   GROUP BY ref, metric, "user", key, charged_on
),
share AS (
  SELECT s.scope, s.scope_id, w.metric, p.period, {START_OF_PERIOD.format(day="w.charged_on")} AS starts_on,
         w.amount, w.closed
    FROM work w
   CROSS JOIN (VALUES ('day'), ('month')) AS p (period)
   CROSS JOIN LATERAL (VALUES ('tenant', %(tenant)s::uuid), ('member', w."user"), ('key', w.key)) AS s (scope, scope_id)
   WHERE s.scope_id IS NOT NULL
)
SELECT scope, scope_id, metric, period, starts_on,
       coalesce(sum(amount) FILTER (WHERE closed), 0)::bigint AS used,
       coalesce(sum(amount) FILTER (WHERE NOT closed), 0)::bigint AS reserved
  FROM share GROUP BY 1, 2, 3, 4, 5
"""  # noqa: S608


def rebuild_counters(tenant: UUID) -> int:
    """Set a tenant's counters to the sums of its ledger; returns how many were wrong.

    Counters stand still meanwhile. A charge under way is in both tables already, or raises its counter afterwards.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE accounts_counter IN SHARE ROW EXCLUSIVE MODE")
        rows = fetch_all(_SUMS_SQL, tenant=tenant)
        names = ("scope", "scope_id", "metric", "period", "starts_on")
        right = {tuple(row[name] for name in names): (row["used"], row["reserved"]) for row in rows}
        counters = fetch_all("SELECT * FROM accounts_counter WHERE tenant_id = %(tenant)s", tenant=tenant)
        found = {tuple(row[name] for name in names): (row["id"], (row["used"], row["reserved"])) for row in counters}
        wrong = 0
        for identity in sorted(right.keys() | found.keys(), key=str):
            used, reserved = right.get(identity, (0, 0))
            if identity not in found:
                Counter._base_manager.create(
                    tenant_id=tenant, used=used, reserved=reserved, **dict(zip(names, identity, strict=True))
                )
            elif found[identity][1] != (used, reserved):
                Counter._base_manager.filter(pk=found[identity][0]).update(used=used, reserved=reserved)
            else:
                continue
            wrong += 1
    return wrong
