"""The counters: running sums of a scope, a metric and a UTC period, and the limits that bound them.

They are locked in one order (tenant, member, key; then metric, then period), because one statement touches all of
them in that order: parallel charges wait for each other, and never in a circle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, cast
from uuid import UUID

from accounts.domain.limits import Budget, PlanLimits
from accounts.domain.sql import execute
from accounts.enums import CounterScope, Metric, Period
from accounts.ids import uuid7

# How a counter's limit is named: "images_per_day", "member_images_per_day", "key_images_per_day".
PREFIXES = {CounterScope.TENANT: "", CounterScope.MEMBER: "member_", CounterScope.KEY: "key_"}

Counted = tuple[CounterScope, UUID, Metric, Period]

COUNTER_COLUMNS = "id, tenant_id, scope, scope_id, metric, period, starts_on, used, reserved"
COUNTER_KEY = "tenant_id, scope, scope_id, metric, period, starts_on"
START_OF_PERIOD = "CASE period WHEN 'day' THEN {day} ELSE date_trunc('month', {day}::timestamp)::date END"

_MOVE_SQL = f"""
INSERT INTO accounts_counter AS c ({COUNTER_COLUMNS})
SELECT id, %(tenant)s, scope, scope_id, metric, period, {START_OF_PERIOD.format(day="%(charged_on)s::date")},
       used, reserved
  FROM unnest(%(ids)s::uuid[], %(scopes)s::text[], %(scope_ids)s::uuid[], %(metrics)s::text[],
              %(periods)s::text[], %(used)s::bigint[], %(reserved)s::bigint[])
       WITH ORDINALITY AS w (id, scope, scope_id, metric, period, used, reserved, n)
 ORDER BY n
ON CONFLICT ({COUNTER_KEY}) DO UPDATE SET used = c.used + excluded.used, reserved = c.reserved + excluded.reserved
"""  # noqa: S608  (only constants of this module are put in)


def counters_of(*, tenant: UUID, user: UUID | None, key: UUID | None, metrics: Sequence[Metric]) -> list[Counted]:
    """The counters that a piece of work touches, in the order in which they are locked."""
    owners = ((CounterScope.TENANT, tenant), (CounterScope.MEMBER, user), (CounterScope.KEY, key))
    return [
        (scope, owner, metric, period)
        for scope, owner in owners
        if owner is not None
        for metric in sorted(metrics)
        for period in Period
    ]


def columns_of(counters: Sequence[Counted]) -> dict[str, list[Any]]:
    """The same as the arrays that the statements take."""
    return {
        "ids": [uuid7() for _ in counters],
        "scopes": [scope.value for scope, _, _, _ in counters],
        "scope_ids": [owner for _, owner, _, _ in counters],
        "metrics": [Metric(metric).value for _, _, metric, _ in counters],
        "periods": [period.value for _, _, _, period in counters],
    }


def move_counters(
    counters: Sequence[Counted],
    *,
    tenant: UUID,
    charged_on: date,
    used: Mapping[Metric, int],
    reserved: Mapping[Metric, int],
) -> None:
    """Add to what is used, and take from what is reserved, by metric."""
    execute(
        _MOVE_SQL,
        tenant=tenant,
        charged_on=charged_on,
        used=[used[metric] for _, _, metric, _ in counters],
        reserved=[-reserved[metric] for _, _, metric, _ in counters],
        **columns_of(counters),
    )


def limit_name(metric: str, period: str) -> str:
    """The field of a plan, budget or key that bounds a counter: "images_per_day"."""
    return f"{Metric(metric).value}_per_{Period(period).value}"


def ceiling_of(plan: PlanLimits | Budget | None, metric: Metric, period: Period) -> int | None:
    """What a counter may reach; a plan has no field for every pair (no tokens a month), which is counted only."""
    return cast("int | None", getattr(plan, limit_name(metric, period), None))
