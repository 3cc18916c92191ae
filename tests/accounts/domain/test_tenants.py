"""Tenants: made with their owner, suspended, brought back; each step in the audit log."""

from __future__ import annotations

import pytest

from accounts.domain.audit import Actor, acting, record
from accounts.domain.tenants import create_tenant, restore_tenant, suspend_tenant
from accounts.errors import InvalidField
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


@pytest.mark.parametrize("name", ["", "  ", "x" * 121])
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
