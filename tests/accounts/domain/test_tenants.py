"""Tenants: made with their owner, suspended, brought back; each step in the audit log."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from accounts.domain.audit import Actor, acting, record
from accounts.domain.callers import caller_of_key
from accounts.domain.members import tenants_of
from accounts.domain.tenants import (
    MAX_OWNED,
    change_tenant,
    create_tenant,
    found_tenant,
    restore_tenant,
    suspend_tenant,
)
from accounts.errors import InvalidField, NotAllowed, OwnAddressShutOut, SignUpClosed, TooManyTenants
from accounts.logcontext import bind_log
from accounts.models import AuditEvent, Membership, Tenant
from accounts.tenancy import across_tenants, in_tenant
from tests.factories import Person, make_plan, make_user


def test_tenant_is_made_with_its_owner(db: None) -> None:
    owner, plan = make_user(), make_plan(images_per_day=3)
    tenant = create_tenant(name="  Lab ", owner=owner, plan=plan)
    with in_tenant(tenant.pk):
        stored = Tenant.objects.get()
        assert (stored.name, stored.plan, stored.suspended_at) == ("Lab", plan, None)
        assert AuditEvent.objects.get().action == "tenant.made"
    assert Membership.objects.values_list("user", "role").get() == (owner.pk, "owner")
    assert create_tenant(name="Other", owner=owner).plan.slug == "default"


@pytest.mark.parametrize("name", ["", "  ", "x" * 121, "a\nb", "a\x00b", "a\ud800"])
def test_bad_names_make_nothing(name: str, db: None) -> None:
    with pytest.raises(InvalidField) as refused:
        create_tenant(name=name, owner=make_user())
    assert list(refused.value.fields) == ["name"]
    with across_tenants():
        assert not Tenant.objects.exists() and not Membership.objects.exists()


def test_suspension_and_return_are_audited(alice: Person) -> None:
    suspend_tenant(alice.tenant, reason="unpaid")
    with in_tenant(alice.tenant.pk):
        assert Tenant.objects.get().suspended_at is not None
    restore_tenant(alice.tenant, reason="paid")
    with in_tenant(alice.tenant.pk):
        assert Tenant.objects.get().suspended_at is None
        events = AuditEvent.objects.filter(action__startswith="tenant.").order_by("id").values_list("action", "detail")
        assert list(events)[1:] == [("tenant.suspended", {"reason": "unpaid"}), ("tenant.restored", {"reason": "paid"})]


def test_event_says_who_and_from_where(alice: Person) -> None:
    actor = Actor(user=alice.user.pk, key=alice.key.pk, address="192.0.2.1")
    with in_tenant(alice.tenant.pk), acting(actor), bind_log(request_id="r1"):
        event = record("thing.done", target="thing:1", result="denied", detail={"a": 1})
        stored = AuditEvent.objects.get(pk=event.pk)
    assert (stored.tenant_id, stored.user, stored.key) == (alice.tenant.pk, alice.user.pk, alice.key.pk)
    assert (stored.address, stored.request_id, stored.result, stored.detail) == ("192.0.2.1", "r1", "denied", {"a": 1})


def test_event_outside_of_tenants_is_the_installations(alice: Person) -> None:
    event = record("signed_in", target="user:1")
    with in_tenant(alice.tenant.pk):
        assert not AuditEvent.objects.filter(pk=event.pk).exists(), "no tenant sees it"
    with across_tenants():
        assert AuditEvent.objects.get(pk=event.pk).tenant_id is None


def change(who: Person, **wishes: Any) -> Tenant:
    with in_tenant(who.tenant.pk):
        return change_tenant(by=who.caller, address=wishes.pop("address", "192.0.2.7"), **wishes)


def test_tenant_is_renamed_and_closed_to_other_networks(alice: Person) -> None:
    changed = change(alice, name=" Lab  中文 ", networks=["192.0.2.7/24", "2001:db8::/32", "192.0.2.0/24"])
    assert (changed.name, changed.networks) == ("Lab  中文", ["192.0.2.0/24", "2001:db8::/32"])
    with pytest.raises(NotAllowed, match="does not let your address in"):
        caller_of_key(alice.secret, address="198.51.100.1")
    assert caller_of_key(alice.secret, address="192.0.2.200").tenant_name == "Lab  中文"
    assert change(alice, networks=[]).networks == []
    with in_tenant(alice.tenant.pk):
        events = AuditEvent.objects.filter(action="tenant.changed").order_by("id")
        assert [sorted(event.detail) for event in events] == [["name", "networks"], ["networks"]]
    change(alice, name="Lab  中文")
    with in_tenant(alice.tenant.pk):
        assert AuditEvent.objects.filter(action="tenant.changed").count() == 2, "what stays as it was is no change"


@pytest.mark.parametrize(
    ("wishes", "error"),
    [
        ({"name": ""}, InvalidField),
        ({"networks": ["here"]}, InvalidField),
        ({"networks": ["10.0.0.0/8"]}, OwnAddressShutOut),
        ({"networks": ["10.0.0.0/8"], "address": None}, OwnAddressShutOut),
        ({"name": "New", "networks": ["10.0.0.0/8"]}, OwnAddressShutOut),
        ({"name": "New", "networks": ["300.0.0.0/8"]}, InvalidField),
    ],
)
def test_change_that_is_refused_changes_nothing(wishes: dict[str, Any], error: type[Exception], alice: Person) -> None:
    with pytest.raises(error):
        change(alice, **wishes)
    with in_tenant(alice.tenant.pk):
        stored = Tenant.objects.get()
        assert (stored.name, stored.networks) == ("A", [])
        assert not AuditEvent.objects.filter(action="tenant.changed").exists()


def test_members_change_nothing(bob: Person) -> None:
    with pytest.raises(NotAllowed):
        change(bob, name="Bob's")


def test_people_found_tenants_where_the_studio_is_open(alice: Person) -> None:
    with pytest.raises(SignUpClosed):
        found_tenant(user=alice.user, name="Second")
    with override_settings(STUDIO_SIGNUP="open"):
        second = found_tenant(user=alice.user, name="Second")
        assert [(choice.id, choice.role) for choice in tenants_of(alice.user.pk)][1] == (second.pk, "owner")
        for number in range(MAX_OWNED - 2):
            found_tenant(user=alice.user, name=f"{number}")
        with pytest.raises(TooManyTenants):
            found_tenant(user=alice.user, name="One more")
    assert Membership.objects.filter(user=alice.user).count() == MAX_OWNED
