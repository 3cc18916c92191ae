"""Quotas: the append-only ledger and the counters that are its running sums.

Every function runs in its caller's transaction, so a charge lives and dies with the work it is for. Counters are locked
in one order (tenant, member, key; then metric, then period), because one statement touches all of them in that order:
parallel charges wait for each other, and never in a circle. Periods are UTC days and months by the database's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, cast
from uuid import UUID

from django.db import transaction

from accounts.domain.cancels import COUNT_CANCELS, too_many_cancels
from accounts.domain.counters import (
    COUNTER_COLUMNS,
    COUNTER_KEY,
    PREFIXES,
    START_OF_PERIOD,
    ceiling_of,
    columns_of,
    counters_of,
    limit_name,
    move_counters,
)
from accounts.domain.ledger import write_entries
from accounts.domain.limits import Budget, KeyLimits, PlanLimits
from accounts.domain.sql import fetch_all
from accounts.enums import CounterScope, EntryKind, Metric, Period
from accounts.errors import QuotaExceeded

# In a refusal: whose limit it is, and what to ask an admin for.
_WHOSE = {
    CounterScope.TENANT: ("the limit", "plan"),
    CounterScope.MEMBER: ("your budget", "budget"),
    CounterScope.KEY: ("this key's limit", "key"),
}
_WORDS = {Metric.GPU_MS: "GPU milliseconds", Metric.IMAGES: "images", Metric.TOKENS: "tokens"}

# One row per counter that the work touches. A counter is raised only where it stays within its ceiling; whoever asked
# rolls back when one of them was not. `resets_in_s` is the time until the counter's period ends.
_RESERVE_SQL = f"""
WITH clock AS (SELECT (now() AT TIME ZONE 'UTC')::date AS today),
wanted AS (
  SELECT w.*, {START_OF_PERIOD.format(day="today")} AS starts_on
    FROM clock, unnest(%(ids)s::uuid[], %(scopes)s::text[], %(scope_ids)s::uuid[], %(metrics)s::text[],
                       %(periods)s::text[], %(amounts)s::bigint[], %(ceilings)s::bigint[])
         WITH ORDINALITY AS w (id, scope, scope_id, metric, period, amount, ceiling, n)
),
granted AS (
  INSERT INTO accounts_counter AS c ({COUNTER_COLUMNS})
  SELECT id, %(tenant)s, scope, scope_id, metric, period, starts_on, 0, amount
    FROM wanted WHERE ceiling IS NULL OR amount <= ceiling ORDER BY n
  ON CONFLICT ({COUNTER_KEY}) DO UPDATE SET reserved = c.reserved + excluded.reserved
   WHERE (SELECT w.ceiling IS NULL OR c.used + c.reserved + excluded.reserved <= w.ceiling FROM wanted w
           WHERE w.scope = excluded.scope AND w.scope_id = excluded.scope_id
             AND w.metric = excluded.metric AND w.period = excluded.period)
  RETURNING c.scope, c.scope_id, c.metric, c.period
)
SELECT w.scope, w.metric, w.period, w.amount, w.ceiling, g.scope IS NOT NULL AS fits, clock.today,
       ceil(extract(epoch FROM (w.starts_on + ('1 ' || w.period)::interval) AT TIME ZONE 'UTC' - now()))::int
         AS resets_in_s,
       {COUNT_CANCELS} AS canceled
  FROM clock, wanted w LEFT JOIN granted g USING (scope, scope_id, metric, period)
 ORDER BY w.n
"""  # noqa: S608  (only constants of this module are put in, here and below)


def reserve(
    *,
    ref: UUID,
    tenant: UUID,
    user: UUID | None,
    key: UUID | None,
    plan: PlanLimits,
    amounts: Mapping[Metric, int],
    key_limits: KeyLimits | None = None,
    budget: Budget | None = None,
    label: str = "",
) -> date:
    """Set amounts aside for a piece of work; returns the UTC day that is charged, for `settle` and `refund`.

    `label` names the model, for the usage page: the ledger outlives the work's own row. Raises `QuotaExceeded`, which
    names the limit and when it ends, having changed nothing, and `AlreadySettled` when this `ref` has reserved before.
    """
    counters = counters_of(tenant=tenant, user=user, key=key, metrics=_checked(amounts))
    limits = {CounterScope.TENANT: plan, CounterScope.MEMBER: budget, CounterScope.KEY: key_limits}
    ceilings = [ceiling_of(limits.get(scope), metric, period) for scope, _, metric, period in counters]
    with transaction.atomic():
        rows = fetch_all(
            _RESERVE_SQL,
            tenant=tenant,
            amounts=[amounts[metric] for _, _, metric, _ in counters],
            ceilings=ceilings,
            most_cancels=plan.cancels_per_day if Metric.IMAGES in amounts else None,
            **columns_of(counters),
        )
        _check_granted(rows, plan)
        today = cast(date, rows[0]["today"])
        write_entries(
            kind=EntryKind.RESERVE,
            step="reserve",
            ref=ref,
            tenant=tenant,
            user=user,
            key=key,
            charged_on=today,
            amounts=amounts,
            label=label,
        )
    return today


def settle(
    *,
    ref: UUID,
    tenant: UUID,
    user: UUID | None,
    key: UUID | None,
    charged_on: date,
    reserved: Mapping[Metric, int],
    actual: Mapping[Metric, int],
    label: str = "",
) -> None:
    """Turn a reserve into what the work has cost in the end; once per `ref`, a second call raises `AlreadySettled`.

    More than the reserve is charged too: the counter may pass its limit, and the next `reserve` is refused.
    """
    metrics = dict.fromkeys((*_checked(reserved), *_checked(actual)), 0)
    _close(
        kind=EntryKind.SETTLE,
        ref=ref,
        tenant=tenant,
        user=user,
        key=key,
        charged_on=charged_on,
        reserved={**metrics, **reserved},
        actual={**metrics, **actual},
        label=label,
    )


def refund(
    *,
    ref: UUID,
    tenant: UUID,
    user: UUID | None,
    key: UUID | None,
    charged_on: date,
    reserved: Mapping[Metric, int],
    reason: str = "",
    label: str = "",
) -> None:
    """Give a whole reserve back; once per `ref`, and not after a `settle`: both raise `AlreadySettled`.

    With the reason `CANCELED` it counts for the plan's `cancels_per_day`.
    """
    _close(
        kind=EntryKind.REFUND,
        ref=ref,
        tenant=tenant,
        user=user,
        key=key,
        charged_on=charged_on,
        reserved=reserved,
        actual=dict.fromkeys(_checked(reserved), 0),
        reason=reason,
        label=label,
    )


def _close(
    *,
    kind: EntryKind,
    ref: UUID,
    tenant: UUID,
    user: UUID | None,
    key: UUID | None,
    charged_on: date,
    reserved: Mapping[Metric, int],
    actual: Mapping[Metric, int],
    reason: str = "",
    label: str = "",
) -> None:
    counters = counters_of(tenant=tenant, user=user, key=key, metrics=list(reserved))
    with transaction.atomic():
        # The ledger first: its unique event decides who may move the counters.
        write_entries(
            kind=kind,
            step="settle",
            ref=ref,
            tenant=tenant,
            user=user,
            key=key,
            charged_on=charged_on,
            amounts={metric: actual[metric] - amount for metric, amount in reserved.items()},
            reason=reason,
            label=label,
        )
        move_counters(counters, tenant=tenant, charged_on=charged_on, used=actual, reserved=reserved)


def _checked(amounts: Mapping[Metric, int]) -> list[Metric]:
    if not amounts:
        raise ValueError("amounts must name at least one metric")
    for metric, amount in amounts.items():
        if amount < 0:
            raise ValueError(f"the amount of {metric} must not be negative, it is {amount}")
    return list(amounts)


def _check_granted(rows: Sequence[Mapping[str, Any]], plan: PlanLimits) -> None:
    for row in rows:
        if not row["fits"]:
            raise quota_exceeded(
                scope=CounterScope(row["scope"]),
                metric=Metric(row["metric"]),
                period=Period(row["period"]),
                amount=row["amount"],
                ceiling=row["ceiling"],
                resets_in_s=row["resets_in_s"],
            )
    most, day = plan.cancels_per_day, rows[0]  # the tenant's own counters come first, days before months
    if most is not None and day["canceled"] >= most:
        raise too_many_cancels(limit=most, resets_in_s=max(1, day["resets_in_s"]))


def quota_exceeded(
    *, scope: CounterScope, metric: Metric, period: Period, amount: int, ceiling: int, resets_in_s: int
) -> QuotaExceeded:
    """The refusal of an amount that a counter has no room for: whose limit it is, and what helps."""
    whose, other = _WHOSE[scope]
    limit = f"{whose} of {ceiling} {_WORDS[metric]} a {period.value}"
    if amount > ceiling:  # no waiting helps
        advice = f"does not allow {amount} at once; ask for less"
    else:
        advice = f"does not allow this; it starts anew in {resets_in_s} s"
    return QuotaExceeded(
        f"{limit} {advice}, or ask an admin of your organisation for another {other}",
        limit=PREFIXES[scope] + limit_name(metric, period),
        retry_after_s=max(1, resets_in_s),
        quota=ceiling,
        window_s=86_400 if period == Period.DAY else 30 * 86_400,
    )
