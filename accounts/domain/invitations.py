"""Invitations: an e-mail with a link that lets one person join a tenant, once, within a week.

The link's token is random and stored as its hash only (`TokenDirectory`), which is global: it says which invitation of
which tenant it is before a tenant is in scope. A renewed invitation has a new token, and the old one is unknown.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.domain.audit import record
from accounts.domain.callers import Caller
from accounts.domain.keys import hash_secret
from accounts.domain.mail import queue_mail
from accounts.domain.members import add_member
from accounts.domain.names import is_plain_email
from accounts.domain.pages import Page, read_page
from accounts.domain.people import lock_person
from accounts.domain.roles import Right, right_over
from accounts.enums import Role, TokenPurpose
from accounts.errors import (
    AlreadyInvited,
    AlreadyMember,
    InvalidField,
    InvitationClosed,
    InvitationExpired,
    InvitationForAnother,
    InvitationNotFound,
    InvitationRevoked,
    InvitationUsed,
    NotAllowed,
    NotFound,
    RateLimited,
    StudioError,
)
from accounts.models import AuditEvent, Invitation, Membership, Tenant, TokenDirectory, User
from accounts.models.user import normal_email
from accounts.tenancy import in_tenant

LINK_PATH = "/join/"
LIFETIME = timedelta(days=7)
MAILS_A_DAY = 200  # for one tenant: its name and its people's stand in them, so they would carry advertisements
MAILS_TO_ONE = 5  # of one tenant, a day: inviting and taking back would fill a stranger's mailbox
_MAILED = ("invitation.made", "invitation.renewed")


@dataclass(frozen=True, slots=True)
class Offer:
    """What an invitation's link offers to whoever holds it."""

    id: UUID
    tenant: UUID
    tenant_name: str
    email: str
    role: str
    inviter: str  # empty where they are gone
    expires_at: datetime


def invite_person(*, by: Caller, email: str, role: str) -> Invitation:
    """Invite somebody by e-mail. Runs in the caller's tenant scope.

    Raises `NotAllowed`, `InvalidField`, `AlreadyMember`, `AlreadyInvited` (renew that one instead) and `RateLimited`.
    """
    by.require(Right.MANAGE_MEMBERS)
    if role not in Role.values:
        raise InvalidField(f"role must be one of {', '.join(Role.values)}", field="role")
    address = _check_address(email)
    by.require(right_over(role))
    if Membership.objects.filter(tenant_id=by.tenant, user__email=address).exists():
        raise AlreadyMember("this person is a member already; change their role instead", field="email")
    now = timezone.now()
    try:
        with transaction.atomic():
            _check_pace(by)
            _check_pace_to(address)
            _check_inviter(_lock_inviter(by), role=role)
            # One that has run out makes room: the constraint knows no clock.
            _pending().filter(email=address, expires_at__lte=now).update(revoked_at=now)
            invitation: Invitation = Invitation.objects.create(
                tenant_id=by.tenant, email=address, role=role, invited_by=by.user, expires_at=now + LIFETIME
            )
            record("invitation.made", target=f"invitation:{invitation.pk}", detail={"email": address, "role": role})
            _send_link(invitation, by=by)
    except IntegrityError:
        raise AlreadyInvited(
            "this address has an open invitation already; renew that one to send it again", field="email"
        ) from None
    return invitation


def renew_invitation(*, by: Caller, invitation_id: UUID) -> Invitation:
    """Send an invitation again, with a new link and a new week; the old link is worth nothing from now on.

    Raises `NotAllowed`, `NotFound`, `InvitationUsed`, `InvitationRevoked` and `RateLimited`.
    """
    by.require(Right.MANAGE_MEMBERS)
    with transaction.atomic():
        _check_pace(by)
        held = _lock_inviter(by)  # before the invitation, as whoever takes a member out does
        invitation = _lock_own(by, invitation_id)
        _check_pace_to(invitation.email)
        _check_inviter(held, role=invitation.role)
        TokenDirectory.objects.filter(tenant_id=by.tenant, ref=invitation.pk).delete()
        invitation.expires_at = timezone.now() + LIFETIME
        invitation.save(update_fields=["expires_at"])
        record("invitation.renewed", target=f"invitation:{invitation.pk}", detail={"email": invitation.email})
        _send_link(invitation, by=by)
    return invitation


def revoke_invitation(*, by: Caller, invitation_id: UUID) -> Invitation:
    """Take an invitation back. Raises `NotAllowed`, `NotFound`, `InvitationUsed`; twice changes nothing."""
    with transaction.atomic():
        invitation = _lock_own(by, invitation_id, revoked_too=True)
        if invitation.revoked_at is None:
            invitation.revoked_at = timezone.now()
            invitation.save(update_fields=["revoked_at"])
            record("invitation.revoked", target=f"invitation:{invitation.pk}", detail={"email": invitation.email})
    return invitation


def open_invitations(*, by: Caller) -> list[Invitation]:
    """Those that wait for an answer, and those that nobody answered in time; newest first."""
    by.require(Right.MANAGE_MEMBERS)
    return list(_pending().order_by("-created_at", "-id"))


def list_invitations(*, by: Caller, cursor: str | None, limit: int) -> Page[Invitation]:
    """All of them, the accepted and revoked too, newest first. Raises `NotAllowed`, `InvalidField`."""
    by.require(Right.MANAGE_MEMBERS)
    return read_page(Invitation.objects.all(), cursor=cursor, limit=limit)


def get_invitation(*, by: Caller, invitation_id: UUID) -> Invitation:
    """One of the tenant's. Raises `NotAllowed`, `NotFound`."""
    by.require(Right.MANAGE_MEMBERS)
    found: Invitation | None = Invitation.objects.filter(pk=invitation_id).first()
    if found is None:
        raise NotFound("no such invitation")
    return found


def state_of(invitation: Invitation) -> str:
    """`open`, `accepted`, `revoked` or `expired`."""
    if invitation.accepted_at is not None:
        return "accepted"
    if invitation.revoked_at is not None:
        return "revoked"
    return "expired" if invitation.expires_at <= timezone.now() else "open"


def find_invitation(token: str) -> Offer:
    """What a link offers. It may be asked by anybody who holds it, signed in or not.

    Raises `InvitationNotFound`, `InvitationUsed`, `InvitationRevoked`, `InvitationExpired`, `InvitationClosed`.
    """
    entry = _find_entry(token)
    with in_tenant(entry.tenant):
        invitation: Invitation | None = Invitation.objects.filter(pk=entry.ref).first()
        if invitation is None:
            raise InvitationNotFound
        tenant = _check_open(invitation)
        inviter = _person(invitation.invited_by)
    return Offer(
        id=invitation.pk,
        tenant=entry.tenant,
        tenant_name=tenant.name,
        email=invitation.email,
        role=invitation.role,
        inviter=inviter.get_short_name() if inviter else "",
        expires_at=invitation.expires_at,
    )


def accept_invitation(*, token: str, user: User) -> Membership:
    """Let a person join whose address the invitation is for; the membership names the tenant and the role.

    Raises what `find_invitation` raises, `InvitationForAnother` and `AlreadyMember`. Nothing is changed then, so that
    the right person can still use the link.
    """
    entry = _find_entry(token)
    with in_tenant(entry.tenant), transaction.atomic():
        person = lock_person(user.pk)  # they may be deleting their account
        # The row decides between accepting, renewing and taking back.
        invitation: Invitation | None = Invitation.objects.select_for_update().filter(pk=entry.ref).first()
        if invitation is None:
            raise InvitationNotFound
        _check_open(invitation)
        if normal_email(person.email) != invitation.email:
            raise InvitationForAnother(invitation.email)
        now = timezone.now()
        # And between two who open the link at once, this.
        if not TokenDirectory.objects.filter(sha256=entry.sha256, used_at=None).update(used_at=now):
            raise InvitationNotFound  # renewed a moment ago
        membership = add_member(tenant=entry.tenant, user=person, role=Role(invitation.role))
        invitation.accepted_at, invitation.accepted_by = now, person.pk
        invitation.save(update_fields=["accepted_at", "accepted_by"])
        record("invitation.accepted", target=f"invitation:{invitation.pk}", detail={"user": str(person.pk)})
    return membership


@dataclass(frozen=True, slots=True)
class _Entry:
    """A token's place in the directory."""

    sha256: str
    tenant: UUID
    ref: UUID


def _find_entry(token: str) -> _Entry:
    row = (
        TokenDirectory.objects.filter(sha256=hash_secret(token), purpose=TokenPurpose.INVITATION)
        .values("sha256", "tenant_id", "ref")
        .first()
    )
    if row is None or row["tenant_id"] is None or row["ref"] is None:
        raise InvitationNotFound
    return _Entry(sha256=row["sha256"], tenant=row["tenant_id"], ref=row["ref"])


def _check_open(invitation: Invitation) -> Tenant:
    refusal: dict[str, type[StudioError]] = {
        "accepted": InvitationUsed,
        "revoked": InvitationRevoked,
        "expired": InvitationExpired,
    }
    state = state_of(invitation)
    if state in refusal:
        raise refusal[state]
    tenant = Tenant.objects.get(pk=invitation.tenant_id)
    if tenant.suspended_at is not None or tenant.delete_after is not None:
        raise InvitationClosed
    return tenant


def _pending() -> QuerySet[Invitation]:
    rows: QuerySet[Invitation] = Invitation.objects.filter(accepted_at=None, revoked_at=None)
    return rows


def _lock_own(by: Caller, invitation_id: UUID, *, revoked_too: bool = False) -> Invitation:
    by.require(Right.MANAGE_MEMBERS)
    invitation: Invitation | None = Invitation.objects.select_for_update().filter(pk=invitation_id).first()
    if invitation is None:
        raise NotFound("no such invitation")
    by.require(right_over(invitation.role))
    if invitation.accepted_at is not None:
        raise InvitationUsed
    if invitation.revoked_at is not None and not revoked_too:
        raise InvitationRevoked
    return invitation


def _check_address(email: str) -> str:
    address = normal_email(email)
    try:
        validate_email(address)
        if not is_plain_email(address):
            raise ValidationError("hidden characters")
    except ValidationError:
        raise InvalidField("email must be an e-mail address, such as name@example.com", field="email") from None
    if len(address) > 254:
        raise InvalidField("email must have at most 254 characters", field="email")
    return address


def _person(user: UUID | None) -> User | None:
    return None if user is None else User.objects.filter(pk=user).first()


def _lock_inviter(by: Caller) -> str | None:
    """Their role at this moment, which nobody changes until the end; `None` for who was taken out while they asked."""
    held = Membership.objects.select_for_update().filter(tenant_id=by.tenant, user=by.user).first()
    return None if held is None else held.role


def _check_inviter(held: str | None, *, role: str) -> None:
    """Raise `NotAllowed` for who may no longer send such an invitation: nobody would withdraw it."""
    if held is None or not right_over(role).is_held_by(held):
        raise NotAllowed("you may no longer invite people here; ask an owner of your organisation")


def _check_pace(by: Caller) -> None:
    # Those who ask at once are counted one after the other. Whoever joins meanwhile does not wait for this lock.
    Tenant.objects.select_for_update(no_key=True).get(pk=by.tenant)
    since = timezone.now() - timedelta(days=1)
    if AuditEvent.objects.filter(action__in=_MAILED, created_at__gt=since).count() >= MAILS_A_DAY:
        raise RateLimited(
            f"your organisation has sent {MAILS_A_DAY} invitations within a day; go on tomorrow", retry_after_s=3600
        )


def _check_pace_to(address: str) -> None:
    since = timezone.now() - timedelta(days=1)
    sent = AuditEvent.objects.filter(action__in=_MAILED, created_at__gt=since, detail__email=address)
    if sent.count() >= MAILS_TO_ONE:
        raise RateLimited(
            f"this address has got {MAILS_TO_ONE} invitations from your organisation within a day; go on tomorrow",
            retry_after_s=3600,
        )


def _send_link(invitation: Invitation, *, by: Caller) -> None:
    token = secrets.token_urlsafe(32)
    TokenDirectory.objects.create(
        sha256=hash_secret(token),
        purpose=TokenPurpose.INVITATION,
        tenant_id=invitation.tenant_id,
        ref=invitation.pk,
        expires_at=invitation.expires_at,
    )
    inviter = _person(by.user)
    reader = User.objects.filter(email=invitation.email).first()
    queue_mail(
        "invitation",
        to=invitation.email,
        # Whoever is new here reads what their inviter reads.
        language=next((person.language for person in (reader, inviter) if person), ""),
        context={
            "tenant": by.tenant_name,
            "inviter": inviter.get_short_name() if inviter else "",
            "role": invitation.role,
            "until": f"{invitation.expires_at:%Y-%m-%d %H:%M}",
            "link": f"{settings.STUDIO_URL}{LINK_PATH}{token}/",
        },
        tenant=invitation.tenant_id,
    )
