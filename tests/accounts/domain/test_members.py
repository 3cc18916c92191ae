"""Members and their roles; a tenant is never left without an owner."""

from __future__ import annotations

from functools import partial

import pytest

from accounts.domain.callers import Caller, caller_of_key, caller_of_member
from accounts.domain.invitations import invite_person, open_invitations
from accounts.domain.keys import hash_secret
from accounts.domain.members import (
    add_member,
    change_role,
    first_tenant_of,
    get_member,
    list_members,
    owners_of,
    remove_member,
    tenants_of,
)
from accounts.enums import Role
from accounts.errors import AlreadyMember, InvalidField, InvalidKey, LastOwner, NotAllowed, NotFound, OwnRole
from accounts.models import AuditEvent, KeyDirectory, Membership, User
from accounts.tenancy import in_tenant
from tests.at_once import at_once
from tests.factories import Person, make_member, make_tenant


def caller(person: User, of: Person) -> Caller:
    return caller_of_member(user_id=person.pk, tenant_id=of.tenant.pk)


def role_of(user: User) -> str | None:
    return Membership.objects.filter(user=user).values_list("role", flat=True).first()


def test_somebody_joins_once(alice: Person) -> None:
    bob = make_member(alice.tenant, Role.MEMBER)
    assert role_of(bob) == "member"
    with in_tenant(alice.tenant.pk):
        with pytest.raises(AlreadyMember):
            add_member(tenant=alice.tenant.pk, user=bob, role=Role.ADMIN)
        events = AuditEvent.objects.filter(action="member.added").values_list("target", "detail")
        assert list(events) == [(f"user:{bob.pk}", {"role": "member"})]
    assert role_of(bob) == "member"


def test_tenants_of_a_person_come_in_the_order_of_joining(alice: Person, mallory: Person) -> None:
    make_member(mallory.tenant, Role.VIEWER, user=alice.user)
    assert [(choice.name, choice.role) for choice in tenants_of(alice.user.pk)] == [("A", "owner"), ("B", "viewer")]
    assert first_tenant_of(alice.user.pk) == alice.tenant.pk


def test_list_is_the_tenants_own_and_comes_in_pages(alice: Person, bob: Person, mallory: Person) -> None:
    with in_tenant(alice.tenant.pk):
        first = list_members(by=alice.caller, cursor=None, limit=1)
        second = list_members(by=alice.caller, cursor=first.next, limit=1)
        assert [row.user.email for row in (*first.results, *second.results)] == [bob.user.email, alice.user.email]
        assert second.next is None
        assert get_member(by=alice.caller, user_id=bob.user.pk).role == "member"
        with pytest.raises(NotFound):
            get_member(by=alice.caller, user_id=mallory.user.pk)
        for act in (lambda: list_members(by=bob.caller, cursor=None, limit=1),
                    lambda: get_member(by=bob.caller, user_id=alice.user.pk)):  # fmt: skip
            with pytest.raises(NotAllowed):
                act()
        assert [owner.email for owner in owners_of(alice.tenant.pk)] == [alice.user.email]


def test_owner_changes_roles(alice: Person, bob: Person) -> None:
    with in_tenant(alice.tenant.pk):
        change_role(by=alice.caller, user_id=bob.user.pk, role="admin")
        assert AuditEvent.objects.get(action="member.role").detail == {"from": "member", "to": "admin"}
    assert role_of(bob.user) == "admin"


@pytest.mark.parametrize(
    ("acting", "target", "role", "error"),
    [
        ("bob", "carol", "viewer", NotAllowed),  # members manage nobody
        ("admin", "alice", "member", NotAllowed),  # an admin unmakes no owner
        ("admin", "carol", "owner", NotAllowed),  # and makes none
        ("admin", "admin", "member", OwnRole),  # nobody changes the own role
        ("alice", "alice", "member", OwnRole),
        ("bob", "bob", "admin", NotAllowed),
        ("bob", "mallory", "member", NotAllowed),  # who may not ask learns nothing about ids
        ("alice", "mallory", "member", NotFound),  # another tenant's people are not there
        ("alice", "carol", "king", InvalidField),
    ],
)
def test_roles_that_may_not_be_given(
    acting: str, target: str, role: str, error: type[Exception], alice: Person, bob: Person, mallory: Person
) -> None:
    people = {
        "alice": alice.user,
        "bob": bob.user,
        "mallory": mallory.user,
        "carol": make_member(alice.tenant, Role.MEMBER),
        "admin": make_member(alice.tenant, Role.ADMIN),
    }
    before = list(Membership.objects.order_by("id").values())
    with in_tenant(alice.tenant.pk), pytest.raises(error):
        change_role(by=caller(people[acting], alice), user_id=people[target].pk, role=role)
    assert list(Membership.objects.order_by("id").values()) == before


def test_members_leave_by_themselves(alice: Person, bob: Person) -> None:
    with in_tenant(alice.tenant.pk):
        remove_member(by=bob.caller, user_id=bob.user.pk)
    assert role_of(bob.user) is None
    with pytest.raises(InvalidKey):  # their keys stop with the next request
        caller_of_key(bob.secret, address=None)
    make_member(alice.tenant, Role.MEMBER, user=bob.user)
    with pytest.raises(InvalidKey):  # and do not come back with them
        caller_of_key(bob.secret, address=None)
    with in_tenant(alice.tenant.pk):
        actions = (
            AuditEvent.objects.exclude(action="member.added").order_by("created_at").values_list("action", flat=True)
        )
        assert list(actions)[-2:] == ["key.revoked", "member.left"]
        assert not KeyDirectory.objects.filter(tenant_id=alice.tenant.pk, sha256=hash_secret(bob.secret)).exists()
    assert caller_of_key(alice.secret, address=None).user == alice.user.pk


def test_a_key_takes_its_own_member_out_only_as_an_admins(alice: Person, bob: Person) -> None:
    with in_tenant(alice.tenant.pk), pytest.raises(NotAllowed, match="sign in to leave"):
        remove_member(by=bob.key_caller, user_id=bob.user.pk)
    assert role_of(bob.user) == "member"


def test_members_remove_nobody_else(alice: Person, bob: Person, mallory: Person) -> None:
    carol, admin = make_member(alice.tenant), make_member(alice.tenant, Role.ADMIN)
    with in_tenant(alice.tenant.pk):
        with pytest.raises(NotAllowed):
            remove_member(by=bob.caller, user_id=carol.pk)
        with pytest.raises(NotAllowed):
            remove_member(by=caller(admin, alice), user_id=alice.user.pk)
        with pytest.raises(NotFound):
            remove_member(by=alice.caller, user_id=mallory.user.pk)
    assert role_of(carol) == "member" and role_of(alice.user) == role_of(mallory.user) == "owner"


def test_last_owner_stays(alice: Person) -> None:
    with in_tenant(alice.tenant.pk), pytest.raises(LastOwner):
        remove_member(by=alice.caller, user_id=alice.user.pk)
    assert role_of(alice.user) == "owner"


def test_two_owners_who_leave_at_once_leave_one(db: None) -> None:
    tenant, first = make_tenant()
    second = make_member(tenant, Role.OWNER)

    def leave(user: User) -> None:
        who = caller_of_member(user_id=user.pk, tenant_id=tenant.pk)
        with in_tenant(tenant.pk):
            remove_member(by=who, user_id=user.pk)

    assert at_once([partial(leave, user) for user in (first, second)]) == {"done": 1, "last_owner": 1}
    assert Membership.objects.filter(role=Role.OWNER).count() == 1


@pytest.mark.parametrize(
    ("how", "left"), [("removed", []), ("viewer", []), ("admin", ["admin", "member"]), ("leaves", [])]
)
def test_who_is_taken_out_comes_back_by_no_invitation_of_their_own(alice: Person, how: str, left: list[str]) -> None:
    """To another address of theirs, in the role that they had."""
    eve = make_member(alice.tenant, Role.OWNER)
    caller = caller_of_member(user_id=eve.pk, tenant_id=alice.tenant.pk)
    with in_tenant(alice.tenant.pk):
        for role in ("owner", "admin", "member"):
            invite_person(by=caller, email=f"{role}@example.com", role=role)
        invite_person(by=alice.caller, email="other@example.com", role="viewer")
        if how == "leaves":
            remove_member(by=caller, user_id=eve.pk)
        elif how == "removed":
            remove_member(by=alice.caller, user_id=eve.pk)
        else:
            change_role(by=alice.caller, user_id=eve.pk, role=how)
        found = sorted(row.role for row in open_invitations(by=alice.caller))
        gone = AuditEvent.objects.filter(action="invitation.revoked").count()
    assert found == sorted([*left, "viewer"])
    assert gone == 3 - len(left)
