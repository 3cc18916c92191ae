"""Members: who belongs to a tenant, and in which role."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import IntegrityError, transaction

from accounts.domain.audit import record
from accounts.domain.callers import Caller
from accounts.enums import Role, Scope
from accounts.errors import AlreadyMember, InvalidField, LastOwner, NotAllowed, NotFound
from accounts.models import Membership, Tenant, User
from accounts.tenancy import in_tenant


@dataclass(frozen=True, slots=True)
class TenantChoice:
    """One of the tenants a person may switch to."""

    id: UUID
    name: str
    role: str


def tenants_of(user_id: UUID) -> list[TenantChoice]:
    """The tenants a person belongs to, the first one they joined first."""
    return [
        TenantChoice(id=membership.tenant_id, name=_tenant_name(membership.tenant_id), role=membership.role)
        for membership in Membership.objects.filter(user_id=user_id).order_by("created_at", "id")
    ]


def first_tenant_of(user_id: UUID) -> UUID | None:
    """The tenant somebody lands in who has not chosen one."""
    return (
        Membership.objects.filter(user_id=user_id)
        .order_by("created_at", "id")
        .values_list("tenant_id", flat=True)
        .first()
    )


def add_member(*, tenant: UUID, user: User, role: Role) -> Membership:
    """Let a person join; raises `AlreadyMember`. Runs in the tenant's scope."""
    try:
        with transaction.atomic():
            membership = Membership.objects.create(tenant_id=tenant, user=user, role=role)
            record("member.added", target=f"user:{user.pk}", detail={"role": role.value})
    except IntegrityError:
        raise AlreadyMember("this person is a member already") from None
    return membership


def change_role(*, by: Caller, user_id: UUID, role: str) -> Membership:
    """Give a member of the caller's tenant another role.

    Raises `NotFound`, `NotAllowed` (not an admin, one's own role, an owner's role by who is none) and `LastOwner`.
    """
    if role not in Role.values:
        raise InvalidField(f"role must be one of {', '.join(Role.values)}", field="role")
    with transaction.atomic():
        membership = _lock_member(by=by, user_id=user_id)
        if by.user == user_id:
            raise NotAllowed("you cannot change your own role; ask another owner")
        if by.role != Role.OWNER and Role.OWNER in (membership.role, role):
            raise NotAllowed("only an owner may make or unmake owners")
        before, membership.role = membership.role, role
        membership.save(update_fields=["role"])
        _keep_an_owner(by.tenant)
        record("member.role", target=f"user:{user_id}", detail={"from": before, "to": role})
    return membership


def remove_member(*, by: Caller, user_id: UUID) -> None:
    """Take a member out, or leave oneself; the person's keys stop with the next request.

    Raises `NotFound`, `NotAllowed`, `LastOwner`.
    """
    with transaction.atomic():
        membership = _lock_member(by=by, user_id=user_id)
        if membership.role == Role.OWNER and by.role != Role.OWNER:
            raise NotAllowed("only an owner may remove an owner")
        membership.delete()
        _keep_an_owner(by.tenant)
        record("member.removed", target=f"user:{user_id}")


def _lock_member(*, by: Caller, user_id: UUID) -> Membership:
    # All owners are locked first: two owners who leave at the same moment wait for each other here.
    list(Membership.objects.select_for_update().filter(tenant_id=by.tenant, role=Role.OWNER).order_by("id"))
    membership = Membership.objects.select_for_update().filter(tenant_id=by.tenant, user_id=user_id).first()
    if membership is None:
        raise NotFound("no such member")
    if not by.may(Scope.ADMIN) and by.user != user_id:
        raise NotAllowed("your role may not manage members; ask an admin of your tenant")
    return membership


def _keep_an_owner(tenant: UUID) -> None:
    if not Membership.objects.filter(tenant_id=tenant, role=Role.OWNER).exists():
        raise LastOwner


def _tenant_name(tenant: UUID) -> str:
    # Tenants are rows of their own scope: the list crosses no border, it enters each tenant that is the person's own.
    with in_tenant(tenant):
        return Tenant.objects.values_list("name", flat=True).get(pk=tenant)
