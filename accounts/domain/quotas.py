"""Quotas: the append-only ledger and the counters that are its running sums.

Every function runs in its caller's transaction, so a charge lives and dies with the work it is for. Counters are locked
in one order (tenant, member, key; then metric, then period), because one statement touches all of them in that order:
parallel charges wait for each other, and never in a circle. Periods are UTC days and months by the database's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, cast
from uuid import UUID

from django.db import connection, transaction

from accounts.domain.callers import Caller
from accounts.domain.limits import Budget, KeyLimits, PlanLimits
from accounts.domain.sql import execute, fetch_all
from accounts.enums import CounterScope, EntryKind, Metric, Period
from accounts.errors import AlreadySettled, QuotaExceeded
from accounts.ids import uuid7
from accounts.models import Counter

# How a refusal names a counter's limit: its prefix, whose it is, and what to ask an admin for.
_WHOSE = {
    CounterScope.TENANT: ("", "the limit", "plan"),
    CounterScope.MEMBER: ("member_", "your budget", "budget"),
    CounterScope.KEY: ("key_", "this key's limit", "key"),
}
_WORDS = {Metric.GPU_MS: "GPU milliseconds", Metric.IMAGES: "images", Metric.TOKENS: "tokens"}

_COUNTER_COLUMNS = "id, tenant_id, scope, scope_id, metric, period, starts_on, used, reserved"
_COUNTER_KEY = "tenant_id, scope, scope_id, metric, period, starts_on"
_START = "CASE period WHEN 'day' THEN {day} ELSE date_trunc('month', {day}::timestamp)::date END"

# One row per counter that the work touches. A counter is raised only where it stays within its ceiling; whoever asked
# rolls back when one of them was not. `resets_in_s` is the time until the counter's period ends.
_RESERVE_SQL = f"""
WITH clock AS (SELECT (now() AT TIME ZONE 'UTC')::date AS today),
wanted AS (
  SELECT w.*, {_START.format(day="today")} AS starts_on
    FROM clock, unnest(%(ids)s::uuid[], %(scopes)s::text[], %(scope_ids)s::uuid[], %(metrics)s::text[],
                       %(periods)s::text[], %(amounts)s::bigint[], %(ceilings)s::bigint[])
         WITH ORDINALITY AS w (id, scope, scope_id, metric, period, amount, ceiling, n)
),
granted AS (
  INSERT INTO accounts_counter AS c ({_COUNTER_COLUMNS})
  SELECT id, %(tenant)s, scope, scope_id, metric, period, starts_on, 0, amount
    FROM wanted WHERE ceiling IS NULL OR amount <= ceiling ORDER BY n
  ON CONFLICT ({_COUNTER_KEY}) DO UPDATE SET reserved = c.reserved + excluded.reserved
   WHERE (SELECT w.ceiling IS NULL OR c.used + c.reserved + excluded.reserved <= w.ceiling FROM wanted w
           WHERE w.scope = excluded.scope AND w.scope_id = excluded.scope_id
             AND w.metric = excluded.metric AND w.period = excluded.period)
  RETURNING c.scope, c.scope_id, c.metric, c.period
)
SELECT w.scope, w.metric, w.period, w.ceiling, g.scope IS NOT NULL AS fits, clock.today,
       ceil(extract(epoch FROM (w.starts_on + ('1 ' || w.period)::interval) AT TIME ZONE 'UTC' - now()))::int
         AS resets_in_s
  FROM clock, wanted w LEFT JOIN granted g USING (scope, scope_id, metric, period)
 ORDER BY w.n
"""  # noqa: S608  (only constants of this module are put in, here and below)

# Skips an event that is there already: fewer rows than asked for means somebody was faster.
_ENTRIES_SQL = """
INSERT INTO accounts_ledgerentry
       (id, tenant_id, event_id, kind, metric, amount, ref, "user", key, reason, charged_on, created_at)
SELECT e.id, %(tenant)s, e.event_id, %(kind)s, e.metric, e.amount, %(ref)s, %(user)s, %(key)s, '', %(charged_on)s, now()
  FROM unnest(%(ids)s::uuid[], %(events)s::text[], %(metrics)s::text[], %(amounts)s::bigint[])
       AS e (id, event_id, metric, amount)
ON CONFLICT (tenant_id, event_id) DO NOTHING
"""

_MOVE_SQL = f"""
INSERT INTO accounts_counter AS c ({_COUNTER_COLUMNS})
SELECT id, %(tenant)s, scope, scope_id, metric, period, {_START.format(day="%(charged_on)s::date")}, used, reserved
  FROM unnest(%(ids)s::uuid[], %(scopes)s::text[], %(scope_ids)s::uuid[], %(metrics)s::text[],
              %(periods)s::text[], %(used)s::bigint[], %(reserved)s::bigint[])
       WITH ORDINALITY AS w (id, scope, scope_id, metric, period, used, reserved, n)
 ORDER BY n
ON CONFLICT ({_COUNTER_KEY}) DO UPDATE SET used = c.used + excluded.used, reserved = c.reserved + excluded.reserved
"""  # noqa: S608

# What every counter of a tenant must be: what is closed (settled, refunded, credited) was used, the rest is reserved.
_SUMS_SQL = f"""
WITH work AS (
  SELECT metric, "user", key, charged_on, sum(amount) AS amount, bool_or(kind <> 'reserve') AS closed
    FROM accounts_ledgerentry WHERE tenant_id = %(tenant)s
   GROUP BY ref, metric, "user", key, charged_on
),
share AS (
  SELECT s.scope, s.scope_id, w.metric, p.period, {_START.format(day="w.charged_on")} AS starts_on, w.amount, w.closed
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


@dataclass(frozen=True, slots=True)
class LimitLeft:
    """One limit of a plan and what is left of it. `quota` and `left` are `None` where the plan sets no limit."""

    limit: str  # the plan's field: "images_per_day"
    quota: int | None
    used: int
    reserved: int
    left: int | None
    resets_in_s: int


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
) -> date:
    """Set amounts aside for a piece of work; returns the UTC day that is charged, for `settle` and `refund`.

    Raises `QuotaExceeded`, which names the limit and when it ends, having changed nothing. Raises `AlreadySettled` when
    this `ref` has reserved before.
    """
    counters = _counters(tenant=tenant, user=user, key=key, metrics=_checked(amounts))
    limits = {CounterScope.TENANT: plan, CounterScope.MEMBER: budget, CounterScope.KEY: key_limits}
    ceilings = [_ceiling(limits.get(scope), metric, period) for scope, _, metric, period in counters]
    with transaction.atomic():
        rows = fetch_all(
            _RESERVE_SQL,
            tenant=tenant,
            amounts=[amounts[metric] for _, _, metric, _ in counters],
            ceilings=ceilings,
            **_columns(counters),
        )
        for row in rows:
            if not row["fits"]:
                raise _exceeded(row)
        today = cast(date, rows[0]["today"])
        _write_entries(
            kind=EntryKind.RESERVE,
            step="reserve",
            ref=ref,
            tenant=tenant,
            user=user,
            key=key,
            charged_on=today,
            amounts=amounts,
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
    )


def refund(
    *,
    ref: UUID,
    tenant: UUID,
    user: UUID | None,
    key: UUID | None,
    charged_on: date,
    reserved: Mapping[Metric, int],
) -> None:
    """Give a whole reserve back; once per `ref`, and not after a `settle`: both raise `AlreadySettled`."""
    _close(
        kind=EntryKind.REFUND,
        ref=ref,
        tenant=tenant,
        user=user,
        key=key,
        charged_on=charged_on,
        reserved=reserved,
        actual=dict.fromkeys(_checked(reserved), 0),
    )


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


def usage_left(caller: Caller) -> list[LimitLeft]:
    """Every limit of the caller's plan with its present state. Runs in the tenant's scope."""
    limits = [
        (metric, period)
        for metric in Metric
        for period in Period
        if _limit_name(metric, period) in PlanLimits.__slots__
    ]
    rows = fetch_all(
        """
        SELECT w.metric, w.period, coalesce(c.used, 0) AS used, coalesce(c.reserved, 0) AS reserved, w.ends_at, now()
          FROM (SELECT metric, period, date_trunc(period, now() AT TIME ZONE 'UTC')::date AS starts_on,
                       (date_trunc(period, now() AT TIME ZONE 'UTC') + ('1 ' || period)::interval)
                         AT TIME ZONE 'UTC' AS ends_at, n
                  FROM unnest(%(metrics)s::text[], %(periods)s::text[]) WITH ORDINALITY AS u (metric, period, n)) AS w
          LEFT JOIN accounts_counter c
            ON c.tenant_id = %(tenant)s AND c.scope = 'tenant' AND c.scope_id = %(tenant)s
           AND c.metric = w.metric AND c.period = w.period AND c.starts_on = w.starts_on
         ORDER BY w.n
        """,
        tenant=caller.tenant,
        metrics=[metric.value for metric, _ in limits],
        periods=[period.value for _, period in limits],
    )
    return [_limit_left(caller.plan, row) for row in rows]


def _limit_left(plan: PlanLimits, row: Mapping[str, Any]) -> LimitLeft:
    quota = _ceiling(plan, Metric(row["metric"]), Period(row["period"]))
    ends_at, now = cast(datetime, row["ends_at"]), cast(datetime, row["now"])
    return LimitLeft(
        limit=_limit_name(row["metric"], row["period"]),
        quota=quota,
        used=row["used"],
        reserved=row["reserved"],
        left=None if quota is None else max(0, quota - row["used"] - row["reserved"]),
        resets_in_s=max(1, round((ends_at - now).total_seconds())),
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
) -> None:
    counters = _counters(tenant=tenant, user=user, key=key, metrics=list(reserved))
    with transaction.atomic():
        # The ledger first: its unique event decides who may move the counters.
        _write_entries(
            kind=kind,
            step="settle",
            ref=ref,
            tenant=tenant,
            user=user,
            key=key,
            charged_on=charged_on,
            amounts={metric: actual[metric] - amount for metric, amount in reserved.items()},
        )
        execute(
            _MOVE_SQL,
            tenant=tenant,
            charged_on=charged_on,
            used=[actual[metric] for _, _, metric, _ in counters],
            reserved=[-reserved[metric] for _, _, metric, _ in counters],
            **_columns(counters),
        )


def _write_entries(
    *,
    kind: EntryKind,
    step: str,
    ref: UUID,
    tenant: UUID,
    user: UUID | None,
    key: UUID | None,
    charged_on: date,
    amounts: Mapping[Metric, int],
) -> None:
    written = execute(
        _ENTRIES_SQL,
        tenant=tenant,
        kind=kind.value,
        ref=ref,
        user=user,
        key=key,
        charged_on=charged_on,
        ids=[uuid7() for _ in amounts],
        events=[f"{ref}:{step}:{Metric(metric).value}" for metric in amounts],
        metrics=[Metric(metric).value for metric in amounts],
        amounts=list(amounts.values()),
    )
    if written != len(amounts):
        raise AlreadySettled(f"{ref} has been charged or refunded before")


Counted = tuple[CounterScope, UUID, Metric, Period]


def _counters(*, tenant: UUID, user: UUID | None, key: UUID | None, metrics: Sequence[Metric]) -> list[Counted]:
    """The counters that a piece of work touches, in the order in which they are locked."""
    owners = ((CounterScope.TENANT, tenant), (CounterScope.MEMBER, user), (CounterScope.KEY, key))
    return [
        (scope, owner, metric, period)
        for scope, owner in owners
        if owner is not None
        for metric in sorted(metrics)
        for period in Period
    ]


def _columns(counters: Sequence[Counted]) -> dict[str, list[Any]]:
    return {
        "ids": [uuid7() for _ in counters],
        "scopes": [scope.value for scope, _, _, _ in counters],
        "scope_ids": [owner for _, owner, _, _ in counters],
        "metrics": [Metric(metric).value for _, _, metric, _ in counters],
        "periods": [period.value for _, _, _, period in counters],
    }


def _checked(amounts: Mapping[Metric, int]) -> list[Metric]:
    if not amounts:
        raise ValueError("amounts must name at least one metric")
    for metric, amount in amounts.items():
        if amount < 0:
            raise ValueError(f"the amount of {metric} must not be negative, it is {amount}")
    return list(amounts)


def _limit_name(metric: str, period: str) -> str:
    return f"{Metric(metric).value}_per_{Period(period).value}"


def _ceiling(plan: PlanLimits | Budget | None, metric: Metric, period: Period) -> int | None:
    # A plan has no field for every pair (no tokens per month): that one is counted and not limited.
    return cast("int | None", getattr(plan, _limit_name(metric, period), None))


def _exceeded(row: Mapping[str, Any]) -> QuotaExceeded:
    metric, period = Metric(row["metric"]), Period(row["period"])
    prefix, whose, other = _WHOSE[row["scope"]]
    return QuotaExceeded(
        f"{whose} of {row['ceiling']} {_WORDS[metric]} a {period.value} does not allow this; it starts anew in "
        f"{row['resets_in_s']} s, or ask an admin of your tenant for another {other}",
        limit=prefix + _limit_name(metric, period),
        retry_after_s=max(1, row["resets_in_s"]),
        quota=row["ceiling"],
        window_s=86_400 if period == Period.DAY else 30 * 86_400,
    )
