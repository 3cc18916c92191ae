"""What a tenant's limits become when its plan is another, its plan changes, or it gets limits of its own.

A limit below what is used already refuses everything until its period ends. That may be meant, so it can be done, but
only by who has read it: `BelowUse` says what is used now, and nothing is changed until it is confirmed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from accounts.domain.counters import limit_name
from accounts.domain.limits import PLAN_COLUMNS, TENANT_LIMITS, UNLIMITED, check_limits
from accounts.domain.sql import fetch_all
from accounts.enums import Metric, Period
from accounts.errors import BelowUse, InvalidField
from accounts.models import Plan, Tenant

SHOWN = 5  # tenants that a refusal names

_METERED = {limit_name(metric, period): (metric, period) for metric in Metric for period in Period}

# Tenants that have used more than these ceilings; of a plan those without a limit of their own in its place.
_ABOVE_SQL = """
WITH wanted AS (
  SELECT * FROM unnest(%(limits)s::text[], %(metrics)s::text[], %(periods)s::text[], %(ceilings)s::bigint[])
         AS w (name, metric, period, ceiling)
)
SELECT t.id AS tenant, t.name, w.name AS limit, w.ceiling,
       CASE w.name WHEN 'storage_bytes' THEN t.stored_bytes ELSE c.used + c.reserved END AS used
  FROM accounts_tenant t
 CROSS JOIN wanted w
  LEFT JOIN accounts_counter c
    ON c.tenant_id = t.id AND c.scope = 'tenant' AND c.scope_id = t.id AND c.metric = w.metric AND c.period = w.period
   AND c.starts_on = date_trunc(nullif(w.period, ''), now() AT TIME ZONE 'UTC')::date
 WHERE CASE WHEN %(tenant)s::uuid IS NULL THEN t.plan_id = %(plan)s AND NOT jsonb_exists(t.limits, w.name)
            ELSE t.id = %(tenant)s END
   AND CASE w.name WHEN 'storage_bytes' THEN t.stored_bytes ELSE c.used + c.reserved END > w.ceiling
 ORDER BY t.name, t.id, w.name LIMIT 1000
"""


@dataclass(frozen=True, slots=True)
class Above:
    """A tenant that has used more than a limit would allow."""

    tenant: UUID
    name: str
    limit: str
    ceiling: int
    used: int


def check_overrides(limits: Mapping[str, object]) -> None:
    """Raise `InvalidField` for a tenant's own limits that name none, or are no numbers from 1 on (or `None`: none)."""
    check_limits(limits, allowed=TENANT_LIMITS, unlimited=UNLIMITED)


def check_plan_values(values: Mapping[str, Any]) -> None:
    """Raise `InvalidField` for a plan's limits that are no numbers from 1 on, or contradict each other."""
    for name, value in values.items():
        try:
            check_limits({name: value}, allowed=TENANT_LIMITS, unlimited=UNLIMITED)
        except InvalidField as error:
            raise InvalidField(error.message, field=name) from None
    for small, large in (
        ("images_per_day", "images_per_month"),
        ("gpu_ms_per_day", "gpu_ms_per_month"),
        ("requests_per_minute", "tenant_requests_per_minute"),
    ):
        less, more = values.get(small), values.get(large)
        if less is not None and more is not None and less > more:
            raise InvalidField(
                f"{small} ({less}) is more than {large} ({more}), so it could never be used", field=small
            )


def check_tenant_change(*, tenant: Tenant | None, plan: Plan, limits: Mapping[str, Any]) -> None:
    """Raise `BelowUse` where a tenant's limits would fall below what it has used. Runs across tenants."""
    if tenant is None:
        return
    before, after = _effective(tenant.plan, tenant.limits), _effective(plan, limits)
    _refuse(_find_above(_lowered(before, after), tenant=tenant.pk))


def check_plan_change(*, before: Plan, after: Mapping[str, Any]) -> None:
    """Raise `BelowUse` where a plan's limits would fall below what tenants on it have used. Runs across tenants."""
    _refuse(_find_above(_lowered(_effective(before, {}), after), plan=before.pk))


def _effective(plan: Plan, limits: Mapping[str, Any]) -> dict[str, Any]:
    of_plan = {name: getattr(plan, name) for name in PLAN_COLUMNS if name in TENANT_LIMITS}
    return of_plan | {name: value for name, value in limits.items() if name in of_plan}


def _lowered(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, int]:
    """The limits with a sum behind them that are lower than they were."""
    found = {name: after.get(name) for name in (*_METERED, "storage_bytes")}
    return {
        name: value
        for name, value in found.items()
        if value is not None and (before.get(name) is None or value < before[name])
    }


def _find_above(ceilings: Mapping[str, int], *, tenant: UUID | None = None, plan: int | None = None) -> list[Above]:
    if not ceilings:
        return []
    periods = {name: (metric.value, period.value) for name, (metric, period) in _METERED.items()}
    rows = fetch_all(
        _ABOVE_SQL,
        tenant=tenant,
        plan=plan,
        limits=list(ceilings),
        metrics=[periods.get(name, ("", ""))[0] for name in ceilings],
        periods=[periods.get(name, ("", ""))[1] for name in ceilings],
        ceilings=list(ceilings.values()),
    )
    return [Above(**row) for row in rows]


def _refuse(found: Sequence[Above]) -> None:
    if not found:
        return
    words = [f"{above.name}: {above.limit} {above.ceiling}, used now {above.used}" for above in found[:SHOWN]]
    more = len(found) - len(words)
    rest = f"; and {more} more" if more else ""
    raise BelowUse(
        f"below present use: {'; '.join(words)}{rest}. Everything new would be refused until the period ends "
        "or pictures are deleted. Nothing was changed; confirm to set it all the same",
        above=found,
    )
