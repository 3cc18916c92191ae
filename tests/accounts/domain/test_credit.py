"""Credit by hand: it lowers what is used, once per form, with a reason and an audit event."""

from __future__ import annotations

import threading
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission
from django.db import connections

from accounts.domain.callers import caller_of_member
from accounts.domain.credit import credit_tenant
from accounts.domain.left import usage_left
from accounts.domain.quotas import reserve
from accounts.domain.rebuild import rebuild_counters
from accounts.enums import EntryKind, Metric
from accounts.errors import InvalidField, NotAllowed, QuotaExceeded
from accounts.ids import uuid7
from accounts.models import AuditEvent, Counter, LedgerEntry, Tenant, User
from accounts.tenancy import across_tenants, in_tenant
from tests.factories import make_plan, make_tenant, make_user


@pytest.fixture
def staff(db: object) -> User:
    return User.objects.create_superuser("staff@example.org", None)


@pytest.fixture
def tenant(db: object) -> Tenant:
    """Ten images a day, all of them used."""
    tenant, owner = make_tenant("Acme", plan=make_plan(images_per_day=10))
    take(tenant, owner, 10)
    return tenant


def take(tenant: Tenant, owner: User, images: int) -> None:
    caller = caller_of_member(user_id=owner.pk, tenant_id=tenant.pk)
    with in_tenant(tenant.pk):
        reserve(
            ref=uuid7(), tenant=tenant.pk, user=owner.pk, key=None, plan=caller.plan, amounts={Metric.IMAGES: images}
        )


def give(staff: User, tenant: Tenant, token: UUID | None = None, **fields: object) -> bool:
    values = {"metric": "images", "amount": 4, "reason": "the broken pictures of Monday"} | fields
    with across_tenants():
        return credit_tenant(by_staff=staff, tenant=tenant.pk, token=token or uuid7(), **values)  # type: ignore[arg-type]


def test_credit_makes_room_today_and_this_month(staff: User, tenant: Tenant) -> None:
    owner = User.objects.get(email__startswith="owner")
    with pytest.raises(QuotaExceeded):
        take(tenant, owner, 1)
    assert give(staff, tenant)
    with in_tenant(tenant.pk):
        entry = LedgerEntry.objects.get(kind=EntryKind.CREDIT)
        assert (entry.amount, entry.reason, entry.user) == (-4, "the broken pictures of Monday", None)
        counters = Counter.objects.filter(scope="tenant", metric="images").values_list("period", "used", "reserved")
        assert set(counters) == {("day", -4, 10), ("month", -4, 10)}
        left = usage_left(caller_of_member(user_id=owner.pk, tenant_id=tenant.pk))
        assert next(found.left for found in left if found.limit == "images_per_day") == 4
        assert rebuild_counters(tenant.pk) == 0
        event = AuditEvent.objects.get(action="tenant.credited")
        assert event.detail == {"metric": "images", "amount": 4, "reason": "the broken pictures of Monday"}
    take(tenant, owner, 4)
    with pytest.raises(QuotaExceeded):
        take(tenant, owner, 1)


def test_the_same_form_credits_once(staff: User, tenant: Tenant) -> None:
    token = uuid7()
    assert give(staff, tenant, token)
    assert not give(staff, tenant, token)
    with pytest.raises(InvalidField, match="another credit before"):
        give(staff, tenant, token, amount=5)
    with in_tenant(tenant.pk):
        assert LedgerEntry.objects.filter(kind=EntryKind.CREDIT).count() == 1
        assert AuditEvent.objects.filter(action="tenant.credited").count() == 1


def test_the_same_form_at_once_credits_once(staff: User, tenant: Tenant) -> None:
    token, outcomes, start = uuid7(), [], threading.Barrier(6)

    def work() -> None:
        start.wait(timeout=30)
        try:
            outcomes.append(give(staff, tenant, token))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(outcomes) == [False] * 5 + [True]
    with in_tenant(tenant.pk):
        assert Counter.objects.get(scope="tenant", metric="images", period="day").used == -4


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"reason": "  "}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"amount": 0}, "amount"),
        ({"amount": -3}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": 2**60}, "amount"),
        ({"metric": "money"}, "metric"),
    ],
)
def test_wrong_credit_is_refused_whole(staff: User, tenant: Tenant, wrong: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        give(staff, tenant, **wrong)
    assert refused.value.field == field
    with in_tenant(tenant.pk):
        assert not LedgerEntry.objects.filter(kind=EntryKind.CREDIT).exists()


def test_only_staff_who_may_change_tenants(tenant: Tenant) -> None:
    looker = make_user("looker", is_staff=True)
    looker.user_permissions.set(Permission.objects.filter(codename="view_tenant"))
    for person in (looker, make_user("nobody")):
        with pytest.raises(NotAllowed):
            give(person, tenant)
    with in_tenant(tenant.pk):
        assert not LedgerEntry.objects.filter(kind=EntryKind.CREDIT).exists()
