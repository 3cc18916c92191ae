"""Budgets: what one member may use of what the tenant has."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from django.db import transaction

from accounts.domain.audit import record
from accounts.domain.callers import Caller
from accounts.domain.counters import limit_name
from accounts.domain.limits import BUDGET_LIMITS, Budget, check_limits, read_budget
from accounts.domain.roles import Right
from accounts.domain.sql import fetch_all
from accounts.errors import NotAllowed, NotFound
from accounts.models import MemberBudget, Membership

_USED_SQL = """
SELECT metric, period, used + reserved AS used FROM accounts_counter
 WHERE tenant_id = %(tenant)s AND scope = 'member' AND scope_id = %(user)s
   AND starts_on = date_trunc(period, now() AT TIME ZONE 'UTC')::date
"""


def get_budget(*, by: Caller, user: UUID) -> Budget:
    """A member's budget: one's own, or anybody's for who may set it. Raises `NotFound`."""
    if by.user != user and not by.has(Right.SET_BUDGETS):
        raise NotFound("no such member")
    if not Membership.objects.filter(tenant_id=by.tenant, user_id=user).exists():
        raise NotFound("no such member")
    return read_budget(MemberBudget.objects.filter(user_id=user).values_list("limits", flat=True).first())


def set_budget(*, by: Caller, user: UUID, limits: Mapping[str, int | None]) -> Budget:
    """Give a member this budget, all of it: what is left out or `None` is no limit. It holds from the next request on.

    Less than is used already is no mistake: the member waits until the period ends. Raises `NotAllowed` (an admin for
    an owner or for oneself), `NotFound`, `InvalidField`.
    """
    by.require(Right.SET_BUDGETS)
    check_limits(limits, allowed=BUDGET_LIMITS, unlimited=BUDGET_LIMITS)
    wanted = {name: value for name, value in limits.items() if value is not None}
    with transaction.atomic():
        member = Membership.objects.select_for_update().filter(tenant_id=by.tenant, user_id=user).first()
        if member is None:
            raise NotFound("no such member")
        _check_rank(by, member)
        row = MemberBudget.objects.filter(user_id=user).first()
        before = row.limits if row else {}
        if wanted == before:
            return read_budget(wanted)
        if wanted:
            MemberBudget.objects.update_or_create(tenant_id=by.tenant, user_id=user, defaults={"limits": wanted})
        elif row is not None:
            row.delete()
        record("budget.set", target=f"user:{user}", detail={"from": before, "to": wanted})
    return read_budget(wanted)


def _check_rank(by: Caller, member: Membership) -> None:
    """A budget would be worth nothing if whoever has it could take it off."""
    if by.has(Right.MANAGE_OWNERS):
        return
    if member.user_id == by.user:
        raise NotAllowed("you cannot set your own budget; ask an owner of your organisation")
    if Right.MANAGE_OWNERS.is_held_by(member.role):
        raise NotAllowed("only an owner may set an owner's budget")


def budget_used(*, tenant: UUID, user: UUID) -> dict[str, int]:
    """What a member has used or set aside in the present periods, by the names of the limits."""
    rows = fetch_all(_USED_SQL, tenant=tenant, user=user)
    return {limit_name(row["metric"], row["period"]): row["used"] for row in rows}
