"""Invitations: who may send them, that each works once, and that every other way leaves all as it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from accounts.domain import invitations
from accounts.domain.callers import Caller, caller_of_member
from accounts.domain.invitations import (
    accept_invitation,
    find_invitation,
    invite_person,
    list_invitations,
    open_invitations,
    renew_invitation,
    revoke_invitation,
    state_of,
)
from accounts.domain.members import change_role, remove_member
from accounts.domain.tenants import restore_tenant, suspend_tenant
from accounts.enums import Role
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
from accounts.models import AuditEvent, Errand, Invitation, Membership, TokenDirectory, User
from accounts.tenancy import across_tenants, in_tenant
from tests.at_once import at_once
from tests.factories import Person, make_member, make_user
from tests.mails import invitation_token, waiting_mails


def invite(by: Caller, email: str, role: str = "member") -> Invitation:
    with in_tenant(by.tenant):
        return invite_person(by=by, email=email, role=role)


def snapshot() -> list[Any]:
    """Everything that an invitation may touch."""
    with across_tenants():
        return [
            list(model.objects.order_by("pk").values()) for model in (Invitation, Membership, TokenDirectory, Errand)
        ]


def change(**values: object) -> None:
    with across_tenants():
        Invitation.objects.update(**values)


def test_invited_person_joins_once(alice: Person) -> None:
    carol = make_user("carol", language="zh-hans")
    made = invite(alice.caller, f"  {carol.email.upper()} ", "admin")
    (mail,) = waiting_mails("invitation")
    assert (mail["to"], mail["language"], mail["subject"]) == (carol.email, "zh-hans", "邀请你加入 A")
    assert "alice" in mail["body"] and "管理员" in mail["body"]
    token = invitation_token(carol.email)
    assert token not in str(list(TokenDirectory.objects.values())), "only its hash is stored"

    offer = find_invitation(token)
    assert (offer.tenant, offer.tenant_name, offer.email, offer.role, offer.inviter) == (
        alice.tenant.pk, "A", carol.email, "admin", "alice",
    )  # fmt: skip
    assert timedelta(days=6) < offer.expires_at - timezone.now() <= timedelta(days=7)

    membership = accept_invitation(token=token, user=carol)
    assert (membership.tenant_id, membership.role) == (alice.tenant.pk, "admin")
    assert caller_of_member(user_id=carol.pk, tenant_id=alice.tenant.pk).role == "admin"
    with in_tenant(alice.tenant.pk):
        stored = Invitation.objects.get()
        assert (state_of(stored), stored.accepted_by, stored.invited_by) == ("accepted", carol.pk, alice.user.pk)
        actions = AuditEvent.objects.filter(target=f"invitation:{made.pk}").order_by("created_at")
        assert list(actions.values_list("action", flat=True)) == ["invitation.made", "invitation.accepted"]
        assert open_invitations(by=alice.caller) == []
        assert token not in str(list(AuditEvent.objects.values()))
    assert TokenDirectory.objects.get().used_at is not None

    before = snapshot()
    with pytest.raises(InvitationUsed):
        accept_invitation(token=token, user=carol)
    with pytest.raises(InvitationUsed):
        find_invitation(token)
    assert snapshot() == before


Spoil = Callable[[Person, Invitation, User], None]


def expire(alice: Person, made: Invitation, carol: User) -> None:
    change(expires_at=timezone.now() - timedelta(seconds=1))


def take_back(alice: Person, made: Invitation, carol: User) -> None:
    with in_tenant(alice.tenant.pk):
        revoke_invitation(by=alice.caller, invitation_id=made.pk)


def renew(alice: Person, made: Invitation, carol: User) -> None:
    with in_tenant(alice.tenant.pk):
        renew_invitation(by=alice.caller, invitation_id=made.pk)


def suspend(alice: Person, made: Invitation, carol: User) -> None:
    suspend_tenant(alice.tenant, reason="test")


def join_otherwise(alice: Person, made: Invitation, carol: User) -> None:
    make_member(alice.tenant, Role.VIEWER, user=carol)


def change_address(alice: Person, made: Invitation, carol: User) -> None:
    User.objects.filter(pk=carol.pk).update(email=f"new-{carol.email}")


@pytest.mark.parametrize(
    ("spoil", "error", "code"),
    [
        (expire, InvitationExpired, "invitation_expired"),
        (take_back, InvitationRevoked, "invitation_revoked"),
        (renew, InvitationNotFound, "invitation_not_found"),
        (suspend, InvitationClosed, "invitation_closed"),
        (join_otherwise, AlreadyMember, "already_member"),
        (change_address, InvitationForAnother, "invitation_for_another"),
    ],
)
def test_each_other_way_is_refused_for_its_own_reason_and_changes_nothing(
    spoil: Spoil, error: type[StudioError], code: str, alice: Person
) -> None:
    carol = make_user("carol")
    made = invite(alice.caller, carol.email)
    token = invitation_token(carol.email)
    spoil(alice, made, carol)
    before = snapshot()
    with pytest.raises(error) as refused:
        accept_invitation(token=token, user=carol)
    assert refused.value.code == code and refused.value.message
    assert snapshot() == before


def test_wrong_person_does_not_spend_the_link(alice: Person, mallory: Person) -> None:
    carol = make_user("carol")
    invite(alice.caller, carol.email)
    token = invitation_token(carol.email)
    with pytest.raises(InvitationForAnother, match=carol.email):
        accept_invitation(token=token, user=mallory.user)
    assert accept_invitation(token=token, user=carol).tenant_id == alice.tenant.pk


def test_renewed_link_works_and_the_old_one_is_unknown(alice: Person) -> None:
    carol = make_user("carol")
    made = invite(alice.caller, carol.email)
    old = invitation_token(carol.email)
    expire(alice, made, carol)
    renew(alice, made, carol)
    new = invitation_token(carol.email)
    assert new != old
    with pytest.raises(InvitationNotFound):
        find_invitation(old)
    accept_invitation(token=new, user=carol)
    assert TokenDirectory.objects.count() == 1


def test_unknown_token(db: None) -> None:
    for token in ("", "x", "a" * 500, "\x00"):
        with pytest.raises(InvitationNotFound):
            find_invitation(token)


def test_suspended_tenant_takes_people_in_again(alice: Person) -> None:
    carol = make_user("carol")
    invite(alice.caller, carol.email)
    suspend_tenant(alice.tenant, reason="test")
    restore_tenant(alice.tenant, reason="test")
    accept_invitation(token=invitation_token(carol.email), user=carol)


@pytest.mark.parametrize(
    ("who", "email", "role", "error"),
    [
        ("bob", "carol@example.com", "viewer", NotAllowed),
        ("admin", "carol@example.com", "owner", NotAllowed),
        ("alice", "carol@example.com", "king", InvalidField),
        ("alice", "carol", "member", InvalidField),
        ("alice", "carol@example.com\x00", "member", InvalidField),
        ("alice", '"\x1b[1m"@example.com', "member", InvalidField),
        ("alice", "carlo\u017f@example.com", "member", InvalidField),
        ("alice", f"{'x' * 250}@example.com", "member", InvalidField),
        ("alice", "BOB", "member", AlreadyMember),
        ("alice", "open@example.com", "viewer", AlreadyInvited),
    ],
)
def test_invitations_that_are_not_sent(
    who: str, email: str, role: str, error: type[StudioError], alice: Person, bob: Person
) -> None:
    admin = make_member(alice.tenant, Role.ADMIN)
    callers = {
        "alice": alice.caller,
        "bob": bob.caller,
        "admin": caller_of_member(user_id=admin.pk, tenant_id=alice.tenant.pk),
    }
    invite(alice.caller, "open@example.com")
    before = snapshot()
    with pytest.raises(error):
        invite(callers[who], bob.user.email.upper() if email == "BOB" else email, role)
    assert snapshot() == before


def test_admins_do_not_touch_an_owners_invitation(alice: Person, mallory: Person) -> None:
    made = invite(alice.caller, "carol@example.com", "owner")
    admin = make_member(alice.tenant, Role.ADMIN)
    by = caller_of_member(user_id=admin.pk, tenant_id=alice.tenant.pk)
    for act in (renew_invitation, revoke_invitation):
        with in_tenant(alice.tenant.pk), pytest.raises(NotAllowed):
            act(by=by, invitation_id=made.pk)
        with in_tenant(mallory.tenant.pk), pytest.raises(NotFound):
            act(by=mallory.caller, invitation_id=made.pk)


def test_expired_one_makes_room_for_another(alice: Person) -> None:
    made = invite(alice.caller, "carol@example.com")
    change(expires_at=timezone.now())
    assert invite(alice.caller, "carol@example.com", "viewer").pk != made.pk
    with in_tenant(alice.tenant.pk):
        assert [row.role for row in open_invitations(by=alice.caller)] == ["viewer"]
        page = list_invitations(by=alice.caller, cursor=None, limit=1)
        assert page.next is not None
        rest = list_invitations(by=alice.caller, cursor=page.next, limit=1)
        assert [state_of(row) for row in (*page.results, *rest.results)] == ["open", "revoked"]


def test_two_tenants_invite_the_same_person(alice: Person, mallory: Person) -> None:
    carol = make_user("carol")
    invite(alice.caller, carol.email)
    ours = invitation_token(carol.email)
    invite(mallory.caller, carol.email, "viewer")
    theirs = invitation_token(carol.email)
    assert accept_invitation(token=ours, user=carol).tenant_id == alice.tenant.pk
    assert accept_invitation(token=theirs, user=carol).tenant_id == mallory.tenant.pk


def test_a_tenant_sends_only_so_many_mails_a_day(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations, "MAILS_A_DAY", 2)
    made = invite(alice.caller, "one@example.com")
    invite(alice.caller, "two@example.com")
    with pytest.raises(RateLimited):
        invite(alice.caller, "three@example.com")
    with in_tenant(alice.tenant.pk), pytest.raises(RateLimited):
        renew_invitation(by=alice.caller, invitation_id=made.pk)
    assert len(waiting_mails()) == 2


def test_one_address_gets_only_so_many(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations, "MAILS_TO_ONE", 3)
    for _ in range(2):
        made = invite(alice.caller, "one@example.com")
        with in_tenant(alice.tenant.pk):
            revoke_invitation(by=alice.caller, invitation_id=made.pk)
    made = invite(alice.caller, "one@example.com")
    with in_tenant(alice.tenant.pk), pytest.raises(RateLimited):
        renew_invitation(by=alice.caller, invitation_id=made.pk)
    with in_tenant(alice.tenant.pk):
        revoke_invitation(by=alice.caller, invitation_id=made.pk)
    with pytest.raises(RateLimited):
        invite(alice.caller, "One@example.com")
    invite(alice.caller, "two@example.com")
    assert [mail["to"] for mail in waiting_mails()] == ["one@example.com"] * 3 + ["two@example.com"]


def test_also_of_many_who_send_at_once(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations, "MAILS_A_DAY", 3)
    acts = [partial(invite, alice.caller, f"{number}@example.com") for number in range(8)]
    assert at_once(acts) == {"done": 3, "rate_limited": 5}
    assert len(waiting_mails()) == 3


@pytest.mark.parametrize(
    ("what", "withdrawn"),
    [
        ("taken out", ["admin", "member"]),
        ("leaves", ["admin", "member"]),
        ("member", ["admin", "member"]),
        ("owner", []),
    ],
)
def test_they_end_with_the_right_of_their_sender(alice: Person, what: str, withdrawn: list[str]) -> None:
    """Otherwise whoever is taken out would come back by an invitation to an address of their own."""
    ann = make_user("ann")
    make_member(alice.tenant, Role.ADMIN, user=ann)
    by = caller_of_member(user_id=ann.pk, tenant_id=alice.tenant.pk)
    for role in ("admin", "member"):
        invite(by, f"{role}@example.com", role)
    kept = invite(alice.caller, "viewer@example.com", "viewer")
    with in_tenant(alice.tenant.pk):
        if what == "taken out":
            remove_member(by=alice.caller, user_id=ann.pk)
        elif what == "leaves":
            remove_member(by=by, user_id=ann.pk)
        else:
            change_role(by=alice.caller, user_id=ann.pk, role=what)
        rows = Invitation.objects.exclude(revoked_at=None).order_by("email")
        assert list(rows.values_list("role", flat=True)) == withdrawn
        assert AuditEvent.objects.filter(action="invitation.revoked").count() == len(withdrawn)
        if withdrawn:
            with pytest.raises(InvitationRevoked):
                find_invitation(invitation_token("admin@example.com"))
            with pytest.raises(NotAllowed):  # asked a moment before
                invite_person(by=by, email="late@example.com", role="admin")
            with pytest.raises(NotAllowed):
                renew_invitation(by=by, invitation_id=kept.pk)
    assert find_invitation(invitation_token("viewer@example.com")).role == "viewer"


def test_of_two_who_open_the_link_at_once_one_joins(alice: Person) -> None:
    carol = make_user("carol")
    invite(alice.caller, carol.email)
    token = invitation_token(carol.email)
    outcomes = at_once([lambda: accept_invitation(token=token, user=carol)] * 4)
    assert outcomes == {"done": 1, "invitation_used": 3}
    assert Membership.objects.filter(user=carol).count() == 1


def test_two_admins_who_invite_at_once_send_one(alice: Person) -> None:
    outcomes = at_once([lambda: invite(alice.caller, "carol@example.com")] * 4)
    assert outcomes == {"done": 1, "already_invited": 3}
    assert len(waiting_mails()) == 1
