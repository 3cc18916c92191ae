"""Members: who belongs to a tenant, and in which role."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.domain.audit import record
from accounts.domain.callers import Caller
from accounts.domain.keys import end_keys
from accounts.domain.pages import Page, read_page
from accounts.domain.roles import Right, right_over
from accounts.enums import Role
from accounts.errors import AlreadyMember, InvalidField, LastOwner, NotAllowed, NotFound, OwnRole
from accounts.models import ApiKey, Invitation, MemberBudget, Membership, Tenant, User
from accounts.tenancy import in_tenant


@dataclass(frozen=True, slots=True)
class TenantChoice:
    """One of the tenants a person belongs to. `state` is `open`, `suspended` or `closing`."""

    id: UUID
    name: str
    role: str
    state: str = "open"
    delete_after: datetime | None = None
    logo: str = ""


def tenants_of(user_id: UUID) -> list[TenantChoice]:
    """The tenants a person belongs to, the first one they joined first."""
    memberships = Membership.objects.filter(user_id=user_id).order_by("created_at", "id")
    return [_choice(membership) for membership in memberships]


def tenant_ids_of(user_id: UUID) -> list[UUID]:
    """The same as ids: where somebody lands who has not chosen, and where next if the first is closed to them."""
    rows = Membership.objects.filter(user_id=user_id).order_by("created_at", "id")
    return list(rows.values_list("tenant_id", flat=True))


def first_tenant_of(user_id: UUID) -> UUID | None:
    """The tenant that somebody joined first."""
    return next(iter(tenant_ids_of(user_id)), None)


def add_member(*, tenant: UUID, user: User, role: Role) -> Membership:
    """Let a person join; raises `AlreadyMember`. Runs in the tenant's scope."""
    try:
        with transaction.atomic():
            membership = Membership.objects.create(tenant_id=tenant, user=user, role=role)
            record("member.added", target=f"user:{user.pk}", detail={"role": role.value})
    except IntegrityError:
        raise AlreadyMember("this person is a member already") from None
    return membership


def list_members(*, by: Caller, cursor: str | None, limit: int) -> Page[Membership]:
    """The caller's tenant's members with their users, who joined last first. Raises `NotAllowed`, `InvalidField`."""
    by.require(Right.SEE_MEMBERS)
    rows = Membership.objects.filter(tenant_id=by.tenant).select_related("user")
    return read_page(rows, cursor=cursor, limit=limit)


def get_member(*, by: Caller, user_id: UUID) -> Membership:
    """One of them. Raises `NotAllowed`, `NotFound`."""
    by.require(Right.SEE_MEMBERS)
    found = Membership.objects.filter(tenant_id=by.tenant, user_id=user_id).select_related("user").first()
    if found is None:
        raise NotFound("no such member")
    return found


def owners_of(tenant: UUID) -> list[User]:
    """Whom to ask: the people with all rights there."""
    return list(User.objects.filter(memberships__tenant_id=tenant, memberships__role=Role.OWNER).order_by("created_at"))


def change_role(*, by: Caller, user_id: UUID, role: str) -> Membership:
    """Give a member of the caller's tenant another role.

    Raises `NotAllowed` (owners are made and unmade by owners), `OwnRole`, `InvalidField`, `NotFound` and `LastOwner`.
    """
    by.require(Right.MANAGE_MEMBERS)
    if role not in Role.values:
        raise InvalidField(f"role must be one of {', '.join(Role.values)}", field="role")
    if by.user == user_id:
        raise OwnRole
    with transaction.atomic():
        membership = _lock_member(tenant=by.tenant, user_id=user_id)
        for touched in (membership.role, role):
            by.require(right_over(touched))
        before, membership.role = membership.role, role
        membership.save(update_fields=["role"])
        _keep_an_owner(by.tenant)
        _withdraw_invitations(user_id, role=role)
        record("member.role", target=f"user:{user_id}", detail={"from": before, "to": role})
    return membership


def remove_member(*, by: Caller, user_id: UUID) -> None:
    """Take a member out, or leave oneself.

    With the next request the person is refused; their keys and the open invitations that they sent are revoked, so that
    neither joining again nor an address of theirs brings anything back. Raises `NotAllowed`, `NotFound`, `LastOwner`.
    """
    leaves = by.user == user_id
    if leaves and by.key is not None and not by.has(Right.MANAGE_MEMBERS):
        raise NotAllowed("a key cannot take its own member out; sign in to leave")
    if not leaves:
        by.require(Right.MANAGE_MEMBERS)
    with transaction.atomic():
        membership = _lock_member(tenant=by.tenant, user_id=user_id)
        if not leaves:
            by.require(right_over(membership.role))
        membership.delete()
        _keep_an_owner(by.tenant)
        end_membership(user_id=user_id)
        record("member.left" if leaves else "member.removed", target=f"user:{user_id}")


def end_membership(*, user_id: UUID) -> None:
    """Revoke what a person who leaves a tenant had there: keys, budget, invitations. Runs in the tenant's scope."""
    _withdraw_invitations(user_id, role=None)  # before keys: docs/data.md has the order of locks
    keys = list(ApiKey.objects.select_for_update().filter(user_id=user_id, revoked_at=None).order_by("pk"))
    end_keys(keys)
    MemberBudget.objects.filter(user_id=user_id).delete()
    for key in keys:
        record("key.revoked", target=f"key:{key.pk}", detail={"reason": "its member has left"})


def _withdraw_invitations(inviter: UUID, *, role: str | None) -> None:
    """Take back what somebody has sent who could not send it any more: it would be a way back in."""
    waiting = Invitation.objects.filter(invited_by=inviter, accepted_at=None, revoked_at=None)
    for invitation in waiting.select_for_update().order_by("pk"):
        if role is not None and right_over(invitation.role).is_held_by(role):
            continue
        invitation.revoked_at = timezone.now()
        invitation.save(update_fields=["revoked_at"])
        detail = {"email": invitation.email, "reason": "its sender may not invite any more"}
        record("invitation.revoked", target=f"invitation:{invitation.pk}", detail=detail)


def _lock_member(*, tenant: UUID, user_id: UUID) -> Membership:
    # All owners are locked first: two owners who leave at the same moment wait for each other here.
    list(Membership.objects.select_for_update().filter(tenant_id=tenant, role=Role.OWNER).order_by("id"))
    membership = Membership.objects.select_for_update().filter(tenant_id=tenant, user_id=user_id).first()
    if membership is None:
        raise NotFound("no such member")
    return membership


def _keep_an_owner(tenant: UUID) -> None:
    if not Membership.objects.filter(tenant_id=tenant, role=Role.OWNER).exists():
        raise LastOwner


def _choice(membership: Membership) -> TenantChoice:
    # Tenants are rows of their own scope: the list crosses no border, it enters each tenant that is the person's own.
    with in_tenant(membership.tenant_id):
        tenant = Tenant.objects.get(pk=membership.tenant_id)
    state = "closing" if tenant.delete_after else "suspended" if tenant.suspended_at else "open"
    return TenantChoice(
        id=tenant.pk,
        name=tenant.name,
        role=membership.role,
        state=state,
        delete_after=tenant.delete_after,
        logo=tenant.logo,
    )
