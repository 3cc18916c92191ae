"""Tenants: making, changing, suspending, bringing back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.domain.addresses import read_networks
from accounts.domain.audit import record
from accounts.domain.callers import Caller, check_network
from accounts.domain.logos import discard_logo, replace_logo, write_logo
from accounts.domain.names import is_one_line
from accounts.domain.people import lock_person
from accounts.domain.roles import Right
from accounts.enums import Role
from accounts.errors import InvalidField, NotAllowed, OwnAddressShutOut, SignUpClosed, TooManyTenants
from accounts.ids import uuid7
from accounts.models import Membership, Plan, Tenant, User
from accounts.tenancy import in_tenant

DEFAULT_PLAN = "default"
NAME_CHARS = 120
MAX_OWNED = 5  # each has a plan of its own: without a bound one person would have any number of plans
MAX_REASON = 200


def create_tenant(*, name: str, owner: User, plan: Plan | None = None) -> Tenant:
    """A new tenant with its first owner; without a plan it gets the default one. Raises `InvalidField`."""
    name = _check_name(name)
    tenant_id = uuid7()
    # The id is known before the row is: the policy lets a tenant insert itself.
    with in_tenant(tenant_id), transaction.atomic():
        tenant = Tenant.objects.create(id=tenant_id, name=name, plan=plan or Plan.objects.get(slug=DEFAULT_PLAN))
        Membership.objects.create(tenant_id=tenant_id, user=owner, role=Role.OWNER)
        record("tenant.made", target=f"tenant:{tenant_id}", detail={"owner": str(owner.pk)})
    return tenant


def found_tenant(*, user: User, name: str) -> Tenant:
    """A further tenant that a person makes for themselves, where the studio is open for that.

    Raises `SignUpClosed`, `NotAllowed` (an account that is gone since), `TooManyTenants`, `InvalidField`.
    """
    if settings.STUDIO_SIGNUP != "open":
        raise SignUpClosed
    with transaction.atomic():
        person = lock_person(user.pk)  # two clicks at once are counted one after the other
        if not person.is_active:
            raise NotAllowed("this account has been deleted or switched off")
        if Membership.objects.filter(user=user, role=Role.OWNER).count() >= MAX_OWNED:
            raise TooManyTenants(MAX_OWNED)
        return create_tenant(name=name, owner=user)


def get_tenant(*, by: Caller) -> Tenant:
    """The caller's own."""
    return Tenant.objects.get(pk=by.tenant)


def change_tenant(
    *,
    by: Caller,
    address: str | None,
    name: str | None = None,
    networks: Collection[str] | None = None,
    logo: bytes | None = None,
    keeps_chats: bool | None = None,
) -> Tenant:
    """Rename the caller's tenant, say from where its members and keys may come, give it a logo (or, empty, none), and
    say whether the words of its chat calls are kept.

    `None` leaves as it is; all of it is changed or nothing. `address` is the caller's own. Raises `NotAllowed`,
    `InvalidField`, `OwnAddressShutOut`, OSError.
    """
    by.require(Right.CHANGE_TENANT)
    wanted: dict[str, Any] = {}
    if name is not None:
        wanted["name"] = _check_name(name)
    if networks is not None:
        wanted["networks"] = read_networks(networks)
        _check_own_address(by, wanted["networks"], address=address)
    if keeps_chats is not None:
        wanted["keeps_chats"] = keeps_chats
    path = write_logo(by.tenant, logo) if logo else ""
    try:
        with transaction.atomic():
            tenant = Tenant.objects.select_for_update().get(pk=by.tenant)
            _set_fields(tenant, wanted)
            if path or (logo is not None and tenant.logo):
                replace_logo(tenant, path)
    except BaseException:
        if path:
            discard_logo(path)
        raise
    return tenant


def _set_fields(tenant: Tenant, wanted: dict[str, Any]) -> None:
    changes = {field: value for field, value in wanted.items() if getattr(tenant, field) != value}
    if not changes:
        return
    detail = {field: {"from": getattr(tenant, field), "to": value} for field, value in changes.items()}
    for field, value in changes.items():
        setattr(tenant, field, value)
    tenant.save(update_fields=list(changes))
    record("tenant.changed", target=f"tenant:{tenant.pk}", detail=detail)


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


def _check_name(name: str) -> str:
    """The trimmed name; raises `InvalidField`."""
    name = name.strip()
    if not 1 <= len(name) <= NAME_CHARS or not is_one_line(name):
        raise InvalidField(f"name must be one line of 1 to {NAME_CHARS} characters", field="name")
    return name


def _check_own_address(by: Caller, networks: list[str], *, address: str | None) -> None:
    try:
        check_network(replace(by, tenant_networks=tuple(networks)), address=address)
    except NotAllowed:
        raise OwnAddressShutOut(address) from None
