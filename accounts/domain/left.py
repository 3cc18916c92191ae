"""What is left of the limits that hold for a caller: of its tenant, of its own budget, of its key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from accounts.domain.callers import Caller
from accounts.domain.counters import PREFIXES, ceiling_of, limit_name
from accounts.domain.limits import Budget, PlanLimits
from accounts.domain.sql import fetch_all
from accounts.enums import CounterScope, Metric, Period


@dataclass(frozen=True, slots=True)
class LimitLeft:
    """One limit and what is left of it. `quota` and `left` are `None` where the plan sets no limit.

    What staff have credited makes `used` smaller, below zero even, and `left` larger than the quota.
    """

    limit: (
        str  # the plan's field, "images_per_day"; a budget's is "member_images_per_day", a key's "key_images_per_day"
    )
    quota: int | None
    used: int
    reserved: int
    left: int | None
    resets_in_s: int


@dataclass(frozen=True, slots=True)
class StorageLeft:
    """What the pictures of a tenant take, in bytes."""

    quota: int | None
    used: int
    left: int | None


_COUNTERS_SQL = """
SELECT w.scope, w.metric, w.period, coalesce(c.used, 0) AS used, coalesce(c.reserved, 0) AS reserved, w.ends_at, now()
  FROM (SELECT scope, scope_id, metric, period, date_trunc(period, now() AT TIME ZONE 'UTC')::date AS starts_on,
               (date_trunc(period, now() AT TIME ZONE 'UTC') + ('1 ' || period)::interval)
                 AT TIME ZONE 'UTC' AS ends_at, n
          FROM unnest(%(scopes)s::text[], %(scope_ids)s::uuid[], %(metrics)s::text[], %(periods)s::text[])
               WITH ORDINALITY AS u (scope, scope_id, metric, period, n)) AS w
  LEFT JOIN accounts_counter c
    ON c.tenant_id = %(tenant)s AND c.scope = w.scope AND c.scope_id = w.scope_id
   AND c.metric = w.metric AND c.period = w.period AND c.starts_on = w.starts_on
 ORDER BY w.n
"""


def usage_left(caller: Caller) -> list[LimitLeft]:
    """Every limit of the caller's plan, then those that its budget and key set, with their present state.

    Runs in the tenant's scope; one statement.
    """
    limits: dict[CounterScope, PlanLimits | Budget] = {
        CounterScope.TENANT: caller.plan,
        CounterScope.MEMBER: caller.budget,
        CounterScope.KEY: caller.key_limits,
    }
    owners: dict[CounterScope, UUID | None] = {
        CounterScope.TENANT: caller.tenant,
        CounterScope.MEMBER: caller.user,
        CounterScope.KEY: caller.key,
    }
    wanted = [
        (scope, owner, metric, period)
        for scope, owner in owners.items()
        if owner is not None
        for metric in Metric
        for period in Period
        if _is_told(scope, limits[scope], metric, period)
    ]
    rows = fetch_all(
        _COUNTERS_SQL,
        tenant=caller.tenant,
        scopes=[scope.value for scope, _, _, _ in wanted],
        scope_ids=[owner for _, owner, _, _ in wanted],
        metrics=[metric.value for _, _, metric, _ in wanted],
        periods=[period.value for _, _, _, period in wanted],
    )
    return [_limit_left(limits[CounterScope(row["scope"])], row) for row in rows]


def storage_left(caller: Caller) -> StorageLeft:
    """What is left of the tenant's storage, as of the beginning of the request."""
    quota, used = caller.plan.storage_bytes, caller.stored_bytes
    return StorageLeft(quota=quota, used=used, left=None if quota is None else max(0, quota - used))


def _is_told(scope: CounterScope, limits: PlanLimits | Budget, metric: Metric, period: Period) -> bool:
    if scope is CounterScope.TENANT:  # those without a limit too: they are counted
        return limit_name(metric, period) in PlanLimits.__slots__
    return ceiling_of(limits, metric, period) is not None


def _limit_left(limits: PlanLimits | Budget, row: Mapping[str, Any]) -> LimitLeft:
    quota = ceiling_of(limits, Metric(row["metric"]), Period(row["period"]))
    ends_at, now = cast(datetime, row["ends_at"]), cast(datetime, row["now"])
    return LimitLeft(
        limit=PREFIXES[row["scope"]] + limit_name(row["metric"], row["period"]),
        quota=quota,
        used=row["used"],
        reserved=row["reserved"],
        left=None if quota is None else max(0, quota - row["used"] - row["reserved"]),
        resets_in_s=max(1, round((ends_at - now).total_seconds())),
    )
