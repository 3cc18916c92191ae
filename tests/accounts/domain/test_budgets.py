"""Budgets of members: who sets them, what they hold back, and that all limits together never overbook."""

from __future__ import annotations

import random
from collections import Counter as Tally
from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.db import connections, transaction

from accounts.domain.budgets import get_budget, set_budget
from accounts.domain.callers import Caller, caller_of_key, caller_of_member
from accounts.domain.left import usage_left
from accounts.domain.limits import Budget
from accounts.domain.quotas import reserve
from accounts.domain.rebuild import rebuild_counters
from accounts.enums import Metric, Role
from accounts.errors import InvalidField, NotAllowed, NotFound, QuotaExceeded
from accounts.ids import uuid7
from accounts.models import AuditEvent, Counter, MemberBudget
from accounts.tenancy import in_tenant
from tests.at_once import at_once
from tests.factories import Person, make_key, make_member, make_plan, make_tenant, make_user


def give(by: Person, user: UUID, limits: Mapping[str, Any]) -> Budget:
    with in_tenant(by.tenant.pk):
        return set_budget(by=by.caller, user=user, limits=limits)


def fresh(person: Person) -> Caller:
    return caller_of_member(user_id=person.user.pk, tenant_id=person.tenant.pk)


def take(caller: Caller, amounts: dict[Metric, int]) -> None:
    with in_tenant(caller.tenant):
        reserve(
            ref=uuid7(), tenant=caller.tenant, user=caller.user, key=caller.key, plan=caller.plan, amounts=amounts,
            budget=caller.budget, key_limits=caller.key_limits,
        )  # fmt: skip


def test_budget_holds_one_member_back(alice: Person, bob: Person) -> None:
    give(alice, bob.user.pk, {"images_per_day": 3, "gpu_ms_per_month": 1000, "tokens_per_day": None})
    caller = fresh(bob)
    assert caller.budget == Budget(images_per_day=3, gpu_ms_per_month=1000)
    take(caller, {Metric.IMAGES: 3})
    with pytest.raises(QuotaExceeded) as refused:
        take(caller, {Metric.IMAGES: 1})
    assert (refused.value.limit, refused.value.quota) == ("member_images_per_day", 3)
    assert "your budget of 3 images a day" in refused.value.message
    take(fresh(alice), {Metric.IMAGES: 100})  # the others' are their own
    with in_tenant(bob.tenant.pk):
        left = {found.limit: found.left for found in usage_left(caller)}
        assert left["member_images_per_day"] == 0 and left["member_gpu_ms_per_month"] == 1000
        assert AuditEvent.objects.get(action="budget.set").detail == {
            "from": {}, "to": {"images_per_day": 3, "gpu_ms_per_month": 1000}
        }  # fmt: skip


def test_more_at_once_than_the_whole_limit_is_told_so(alice: Person, bob: Person) -> None:
    give(alice, bob.user.pk, {"images_per_day": 3})
    with pytest.raises(QuotaExceeded, match="does not allow 4 at once; ask for less"):
        take(fresh(bob), {Metric.IMAGES: 4})


def test_budget_is_replaced_whole_and_taken_off(alice: Person, bob: Person) -> None:
    give(alice, bob.user.pk, {"images_per_day": 3})
    give(alice, bob.user.pk, {"tokens_per_day": 5})
    assert fresh(bob).budget == Budget(tokens_per_day=5)
    give(alice, bob.user.pk, {})
    with in_tenant(bob.tenant.pk):
        assert not MemberBudget.objects.exists()
        assert AuditEvent.objects.filter(action="budget.set").count() == 3
    give(alice, bob.user.pk, {})  # nothing changes, nothing is told
    with in_tenant(bob.tenant.pk):
        assert AuditEvent.objects.filter(action="budget.set").count() == 3


def test_budget_below_use_makes_wait(alice: Person, bob: Person) -> None:
    take(fresh(bob), {Metric.IMAGES: 5})
    give(alice, bob.user.pk, {"images_per_day": 2})
    with pytest.raises(QuotaExceeded):
        take(fresh(bob), {Metric.IMAGES: 1})


@pytest.mark.parametrize(
    "limits", [{"images_per_day": 0}, {"images_per_day": "5"}, {"images_per_day": True}, {"weight": 3}, {"x": 1}]
)
def test_wrong_budget_changes_nothing(alice: Person, bob: Person, limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidField):
        give(alice, bob.user.pk, {"tokens_per_day": 4} | limits)
    with in_tenant(bob.tenant.pk):
        assert not MemberBudget.objects.exists()


def test_who_may_set_a_budget(alice: Person, bob: Person, mallory: Person) -> None:
    admin = make_member(alice.tenant, Role.ADMIN, user=make_user("admin"))
    admin_caller = caller_of_member(user_id=admin.pk, tenant_id=alice.tenant.pk)
    with in_tenant(alice.tenant.pk):
        set_budget(by=admin_caller, user=bob.user.pk, limits={"images_per_day": 1})
        for user in (admin.pk, alice.user.pk):
            with pytest.raises(NotAllowed):
                set_budget(by=admin_caller, user=user, limits={"images_per_day": 1})
        with pytest.raises(NotAllowed):
            set_budget(by=bob.caller, user=bob.user.pk, limits={})
        with pytest.raises(NotAllowed):  # a key without the scope admin
            set_budget(by=alice.key_caller, user=bob.user.pk, limits={})
        set_budget(by=alice.caller, user=alice.user.pk, limits={"images_per_day": 9})
    for stranger in (mallory.user.pk, uuid7()):
        with pytest.raises(NotFound):
            give(alice, stranger, {"images_per_day": 1})
    with in_tenant(mallory.tenant.pk), pytest.raises(NotFound):
        set_budget(by=mallory.caller, user=bob.user.pk, limits={"images_per_day": 1})
    with in_tenant(bob.tenant.pk):
        assert get_budget(by=fresh(bob), user=bob.user.pk) == Budget(images_per_day=1)
        with pytest.raises(NotFound):
            get_budget(by=bob.caller, user=alice.user.pk)


@pytest.fixture
def own_connections(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of its own for every thread."""
    connections["default"].close()
    monkeypatch.delitem(connections["default"].settings_dict["OPTIONS"], "pool")


def test_all_limits_together_neither_overbook_nor_deadlock(own_connections: None) -> None:
    """Tenant 40, each of four members 15, each of their two keys 9; 12 threads ask in any order."""
    tenant, owner = make_tenant("Limited", owner=make_user("owner"), plan=make_plan(images_per_day=40))
    people = [owner, *(make_member(tenant, Role.MEMBER) for _ in range(3))]
    callers: list[Caller] = []
    for person in people:
        with in_tenant(tenant.pk):
            MemberBudget.objects.create(tenant_id=tenant.pk, user=person, limits={"images_per_day": 15})
        for _ in range(2):
            _, secret = make_key(tenant, person, limits={"images_per_day": 9})
            callers.append(caller_of_key(secret, address=None))
    outcomes: list[str] = []  # appending is atomic

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(12):
            try:
                with in_tenant(tenant.pk), transaction.atomic():
                    take(rng.choice(callers), {Metric.IMAGES: 1, Metric.GPU_MS: 7})
                outcomes.append("granted")
            except QuotaExceeded as error:
                outcomes.append(error.limit)

    assert at_once([partial(work, seed) for seed in range(12)]) == {"done": 12}
    names = {"granted", "images_per_day", "member_images_per_day", "key_images_per_day"}
    assert set(outcomes) <= names and len(outcomes) == 144
    assert Tally(outcomes)["granted"] == 40
    with in_tenant(tenant.pk):
        days = Counter.objects.filter(metric="images", period="day")
        assert days.get(scope="tenant").reserved == 40
        assert all(found.reserved <= 15 for found in days.filter(scope="member"))
        assert all(found.reserved <= 9 for found in days.filter(scope="key"))
        assert rebuild_counters(tenant.pk) == 0
