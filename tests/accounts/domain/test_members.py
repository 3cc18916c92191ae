"""Members and their roles; a tenant is never left without an owner."""

from __future__ import annotations

import threading

import pytest
from django.db import connections

from accounts.domain.callers import Caller, caller_of_key, caller_of_member
from accounts.domain.members import add_member, change_role, first_tenant_of, remove_member, tenants_of
from accounts.enums import Role
from accounts.errors import AlreadyMember, InvalidField, InvalidKey, LastOwner, NotAllowed, NotFound
from accounts.models import AuditEvent, Membership, User
from accounts.tenancy import in_tenant
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
        ("admin", "admin", "member", NotAllowed),  # nobody changes the own role
        ("alice", "alice", "member", NotAllowed),
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
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def leave(user: User) -> None:
        who = caller_of_member(user_id=user.pk, tenant_id=tenant.pk)
        start.wait(timeout=30)
        try:
            with in_tenant(tenant.pk):
                remove_member(by=who, user_id=user.pk)
            outcomes.append("left")
        except LastOwner:
            outcomes.append("stayed")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=leave, args=(user,)) for user in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(outcomes) == ["left", "stayed"]
    assert Membership.objects.filter(role=Role.OWNER).count() == 1
