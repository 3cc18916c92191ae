"""Credit: what staff give back to a tenant by hand, with a reason."""

from __future__ import annotations

from datetime import date
from typing import cast
from uuid import UUID

from django.db import IntegrityError, transaction

from accounts.domain.audit import record
from accounts.domain.counters import counters_of, move_counters
from accounts.domain.limits import MAX_LARGE_LIMIT
from accounts.domain.sql import fetch_one
from accounts.enums import EntryKind, Metric
from accounts.errors import InvalidField, NotAllowed
from accounts.models import LedgerEntry, User

MAX_REASON = 200
PERMISSION = "accounts.change_tenant"


def credit_tenant(*, by_staff: User, tenant: UUID, metric: str, amount: int, reason: str, token: UUID) -> bool:
    """Lower what a tenant has used today and this month; True, or False when this very credit was given before.

    Members' budgets and keys' limits stay as they are. `token` is the form's: sent again, it credits nothing new.
    Raises `NotAllowed`, and `InvalidField` for an amount that is none, a missing reason, or a token that has credited
    something else.
    """
    if not by_staff.has_perm(PERMISSION):
        raise NotAllowed("only staff who may change tenants can give credit")
    reason = _check(metric=metric, amount=amount, reason=reason)
    row = fetch_one("SELECT (now() AT TIME ZONE 'UTC')::date AS today")
    today = cast(date, row["today"] if row else None)
    try:
        with transaction.atomic():
            LedgerEntry.objects.create(
                tenant_id=tenant,
                event_id=f"{token}:credit",
                kind=EntryKind.CREDIT,
                metric=metric,
                amount=-amount,
                ref=token,
                reason=reason,
                charged_on=today,
            )
            move_counters(
                counters_of(tenant=tenant, user=None, key=None, metrics=[Metric(metric)]),
                tenant=tenant,
                charged_on=today,
                used={Metric(metric): -amount},
                reserved={Metric(metric): 0},
            )
            record(
                "tenant.credited",
                target=f"tenant:{tenant}",
                tenant=tenant,
                detail={"metric": metric, "amount": amount, "reason": reason},
            )
    except IntegrityError:
        earlier = LedgerEntry.objects.filter(tenant_id=tenant, event_id=f"{token}:credit").first()
        if earlier is None:
            raise
        if (earlier.metric, earlier.amount) != (metric, -amount):
            raise InvalidField("this form has given another credit before; open it anew", field="token") from None
        return False
    return True


def _check(*, metric: str, amount: int, reason: str) -> str:
    if metric not in Metric.values:
        raise InvalidField(f"metric must be one of {', '.join(Metric.values)}", field="metric")
    if not isinstance(amount, int) or isinstance(amount, bool) or not 1 <= amount <= MAX_LARGE_LIMIT:
        raise InvalidField(f"amount must be a whole number from 1 to {MAX_LARGE_LIMIT}", field="amount")
    reason = " ".join(reason.replace("\x00", "").split())
    if not 1 <= len(reason) <= MAX_REASON:
        raise InvalidField(f"reason must have 1 to {MAX_REASON} characters", field="reason")
    return reason
