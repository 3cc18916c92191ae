"""Deleting a tenant: refused to others, thirty days to think again, told to every owner."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.domain.callers import caller_of_key, caller_of_member
from accounts.domain.closing import ask_deletion, keep_tenant
from accounts.enums import ErrandKind, Role
from accounts.errors import NameDiffers, NotAllowed, NotFound, TenantClosing, TenantNotClosing
from accounts.models import AuditEvent, Errand, Tenant
from accounts.tenancy import across_tenants, in_tenant
from tests.factories import Person, make_member
from tests.mails import waiting_mails


def ask(who: Person, confirm: str = "A") -> Any:
    with in_tenant(who.tenant.pk):
        return ask_deletion(by=who.caller, confirm=confirm)


def move(**values: object) -> None:
    with across_tenants():
        Tenant.objects.update(**values)


def state() -> list[Any]:
    with across_tenants():
        return [
            list(Tenant.objects.values_list("pk", "delete_after")),
            Errand.objects.count(),
            AuditEvent.objects.filter(action__in=("tenant.closing", "tenant.kept")).count(),
        ]


def test_everything_is_refused_until_an_owner_keeps_it(alice: Person, bob: Person, mallory: Person) -> None:
    second = make_member(alice.tenant, Role.OWNER)
    moment = ask(alice)
    assert timedelta(days=29, hours=23) < moment - timezone.now() <= timedelta(days=30)
    for act in (
        lambda: caller_of_key(alice.secret, address=None),
        lambda: caller_of_member(user_id=alice.user.pk, tenant_id=alice.tenant.pk),
        lambda: caller_of_member(user_id=bob.user.pk, tenant_id=alice.tenant.pk),
    ):
        with pytest.raises(TenantClosing) as refused:
            act()
        assert refused.value.until == moment
    assert caller_of_key(mallory.secret, address=None).tenant == mallory.tenant.pk
    with across_tenants():
        errands = Errand.objects.filter(kind=ErrandKind.DELETE_TENANT).order_by("due_at")
        assert [(row.ref, row.tenant_id) for row in errands] == [(alice.tenant.pk, None)] * 2
        assert errands[1].due_at == moment
    mails = waiting_mails("tenant_closing")
    assert {mail["to"] for mail in mails} == {alice.user.email, second.email}
    assert all("alice" in mail["body"] and f"{moment:%Y-%m-%d}" in mail["body"] for mail in mails)

    keep_tenant(user=second, tenant_id=alice.tenant.pk, address=None)
    assert caller_of_key(alice.secret, address=None).tenant == alice.tenant.pk
    assert {mail["to"] for mail in waiting_mails("tenant_kept")} == {alice.user.email, second.email}
    with in_tenant(alice.tenant.pk):
        actions = AuditEvent.objects.filter(action__startswith="tenant.").order_by("id")
        assert list(actions.values_list("action", flat=True)) == ["tenant.made", "tenant.closing", "tenant.kept"]


@pytest.mark.parametrize(
    ("who", "confirm", "error"),
    [("bob", "A", NotAllowed), ("admin", "A", NotAllowed), ("alice", "a", NameDiffers), ("alice", "", NameDiffers)],
)
def test_who_may_not_ask_changes_nothing(
    who: str, confirm: str, error: type[Exception], alice: Person, bob: Person
) -> None:
    admin = make_member(alice.tenant, Role.ADMIN)
    people = {
        "alice": alice.caller,
        "bob": bob.caller,
        "admin": caller_of_member(user_id=admin.pk, tenant_id=alice.tenant.pk),
    }
    before = state()
    with in_tenant(alice.tenant.pk), pytest.raises(error):
        ask_deletion(by=people[who], confirm=confirm)
    assert state() == before


def test_who_may_not_keep_it_changes_nothing(alice: Person, bob: Person, mallory: Person) -> None:
    with pytest.raises(TenantNotClosing):
        keep_tenant(user=alice.user, tenant_id=alice.tenant.pk, address=None)
    ask(alice)
    before = state()
    with pytest.raises(NotAllowed, match="only an owner"):
        keep_tenant(user=bob.user, tenant_id=alice.tenant.pk, address=None)
    with pytest.raises(NotFound):
        keep_tenant(user=mallory.user, tenant_id=alice.tenant.pk, address=None)
    move(networks=["192.0.2.0/24"])
    with pytest.raises(NotAllowed, match="address"):
        keep_tenant(user=alice.user, tenant_id=alice.tenant.pk, address="198.51.100.1")
    assert state() == before
    move(delete_after=timezone.now() - timedelta(seconds=1))
    before = state()
    with pytest.raises(TenantNotClosing):
        keep_tenant(user=alice.user, tenant_id=alice.tenant.pk, address="192.0.2.1")
    assert state() == before
