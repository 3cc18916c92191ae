"""Tenants: making, suspending, bringing back."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from accounts.domain.audit import record
from accounts.enums import Role
from accounts.errors import InvalidField
from accounts.ids import uuid7
from accounts.models import Membership, Plan, Tenant, User
from accounts.tenancy import in_tenant

DEFAULT_PLAN = "default"
MAX_REASON = 200


def create_tenant(*, name: str, owner: User, plan: Plan | None = None) -> Tenant:
    """A new tenant with its first owner; without a plan it gets the default one. Raises `InvalidField`."""
    if not name.strip() or len(name) > 120:
        raise InvalidField("name must have 1 to 120 characters", field="name")
    tenant_id = uuid7()
    # The id is known before the row is: the policy lets a tenant insert itself.
    with in_tenant(tenant_id), transaction.atomic():
        tenant = Tenant.objects.create(
            id=tenant_id, name=name.strip(), plan=plan or Plan.objects.get(slug=DEFAULT_PLAN)
        )
        Membership.objects.create(tenant_id=tenant_id, user=owner, role=Role.OWNER)
        record("tenant.made", target=f"tenant:{tenant_id}", detail={"owner": str(owner.pk)})
    return tenant


def suspend_tenant(tenant: Tenant, *, reason: str) -> None:
    """Refuse everything a tenant asks for, from the next request on. Its rows and files stay.

    Raises `InvalidField` without a reason: its admins read it in their audit log.
    """
    _set_suspended(tenant, suspended=True, reason=reason)


def restore_tenant(tenant: Tenant, *, reason: str) -> None:
    """Undo `suspend_tenant`. Raises `InvalidField` without a reason."""
    _set_suspended(tenant, suspended=False, reason=reason)


def _set_suspended(tenant: Tenant, *, suspended: bool, reason: str) -> None:
    reason = reason.strip()
    if not 1 <= len(reason) <= MAX_REASON:
        raise InvalidField(f"say why, in 1 to {MAX_REASON} characters", field="reason")
    with in_tenant(tenant.pk), transaction.atomic():
        tenant.suspended_at = timezone.now() if suspended else None
        tenant.save(update_fields=["suspended_at"])
        action = "tenant.suspended" if suspended else "tenant.restored"
        record(action, target=f"tenant:{tenant.pk}", detail={"reason": reason})
