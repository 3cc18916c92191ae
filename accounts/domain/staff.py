"""Staff acting in a tenant: with an owner's rights, and without belonging to it. Whether they may, the admin has asked.

They go through the same functions as members do, so the same rules hold (the last owner stays) and the same events are
recorded; the event's user is the one of staff.
"""

from __future__ import annotations

from accounts.domain.callers import Caller
from accounts.domain.limits import PLAN_COLUMNS, PlanLimits
from accounts.domain.members import add_member, change_role, remove_member
from accounts.domain.roles import ROLE_SCOPES
from accounts.enums import Role
from accounts.errors import InvalidField, NotAllowed
from accounts.models import Membership, Tenant, User
from accounts.tenancy import in_tenant


def caller_of_staff(*, person: User, tenant: Tenant) -> Caller:
    """Somebody of staff as the caller of a domain function in a tenant, a suspended one too."""
    return Caller(
        tenant=tenant.pk,
        user=person.pk,
        role=Role.OWNER.value,
        scopes=ROLE_SCOPES[Role.OWNER],
        key=None,
        plan=PlanLimits(**{name: getattr(tenant.plan, name) for name in PLAN_COLUMNS}),
        tenant_name=tenant.name,
    )


def let_in(*, by: User, tenant: Tenant, user: User, role: str) -> Membership:
    """Make a person a member. Raises `NotAllowed` for oneself, `AlreadyMember`, `InvalidField`.

    Who may say who belongs to a tenant could let themselves in and look at its pictures: that only superusers can, who
    can do everything, and the audit log says it.
    """
    if user.pk == by.pk and not by.is_superuser:
        raise NotAllowed("you cannot make yourself a member; ask a superuser")
    if role not in Role.values:
        raise InvalidField(f"role must be one of {', '.join(Role.values)}", field="role")
    with in_tenant(tenant.pk):
        return add_member(tenant=tenant.pk, user=user, role=Role(role))


def give_role(*, by: User, tenant: Tenant, user: User, role: str) -> Membership:
    """Give a member another role. Raises what `change_role` does; nobody's own."""
    with in_tenant(tenant.pk):
        return change_role(by=caller_of_staff(person=by, tenant=tenant), user_id=user.pk, role=role)


def take_out(*, by: User, tenant: Tenant, user: User) -> None:
    """Take a member out; the last owner stays. Raises `NotFound`, `LastOwner`."""
    with in_tenant(tenant.pk):
        remove_member(by=caller_of_staff(person=by, tenant=tenant), user_id=user.pk)
