"""Other plans and limits of a tenant's own: checked, and never below present use without somebody who means it."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.domain.callers import caller_of_member
from accounts.domain.overrides import check_overrides, check_plan_change, check_plan_values, check_tenant_change
from accounts.domain.quotas import reserve
from accounts.enums import Metric
from accounts.errors import BelowUse, InvalidField, QuotaExceeded
from accounts.ids import uuid7
from accounts.models import Plan, Tenant
from accounts.tenancy import across_tenants, in_tenant
from tests.factories import Person, make_plan, make_tenant


def put(tenant: Tenant, **fields: Any) -> None:
    with across_tenants():
        Tenant.objects.filter(pk=tenant.pk).update(**fields)


def take(person: Person, images: int) -> None:
    caller = caller_of_member(user_id=person.user.pk, tenant_id=person.tenant.pk)
    with in_tenant(caller.tenant):
        reserve(
            ref=uuid7(), tenant=caller.tenant, user=caller.user, key=None, plan=caller.plan,
            amounts={Metric.IMAGES: images},
        )  # fmt: skip


def test_own_limits_replace_the_plans(alice: Person) -> None:
    put(alice.tenant, plan=make_plan(images_per_day=5), limits={"images_per_day": 7, "max_steps": 3, "weight": 4})
    caller = caller_of_member(user_id=alice.user.pk, tenant_id=alice.tenant.pk)
    assert (caller.plan.images_per_day, caller.plan.max_steps, caller.plan.weight) == (7, 3, 4)
    take(alice, 7)
    with pytest.raises(QuotaExceeded):
        take(alice, 1)
    put(alice.tenant, limits={"images_per_day": None})  # null: none at all
    take(alice, 100)


@pytest.mark.parametrize(
    "limits",
    [
        {"unheard_of": 1}, {"slug": "x"}, {"images_per_day": 0}, {"images_per_day": -1}, {"images_per_day": 1.5},
        {"images_per_day": "7"}, {"queue_length": None}, {"weight": 40_000}, {"storage_bytes": 2**60},
    ],
)  # fmt: skip
def test_wrong_own_limits_are_named(limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidField) as refused:
        check_overrides(limits)
    assert next(iter(limits)) in refused.value.message


def test_plans_that_contradict_themselves() -> None:
    for values in (
        {"images_per_day": 10, "images_per_month": 9},
        {"gpu_ms_per_day": 10, "gpu_ms_per_month": 9},
        {"requests_per_minute": 700, "tenant_requests_per_minute": 600},
    ):
        with pytest.raises(InvalidField) as refused:
            check_plan_values(values)
        assert refused.value.field == next(iter(values))
    check_plan_values({"images_per_day": 10, "images_per_month": None})


def test_below_present_use_says_what_is_used(alice: Person) -> None:
    take(alice, 8)
    put(alice.tenant, stored_bytes=5_000)
    with across_tenants():
        tenant = Tenant.objects.select_related("plan").get(pk=alice.tenant.pk)
        with pytest.raises(BelowUse) as refused:
            check_tenant_change(
                tenant=tenant, plan=tenant.plan, limits={"images_per_day": 7, "images_per_month": 8, "storage_bytes": 9}
            )
        found = {above.limit: (above.ceiling, above.used) for above in refused.value.above}
        assert found == {"images_per_day": (7, 8), "storage_bytes": (9, 5_000)}
        assert "images_per_day 7, used now 8" in refused.value.message
        with pytest.raises(BelowUse):
            check_tenant_change(tenant=tenant, plan=make_plan(images_per_day=1), limits={})
        check_tenant_change(tenant=tenant, plan=make_plan(images_per_day=1), limits={"images_per_day": 50})


def test_a_limit_that_is_not_lowered_is_no_matter(alice: Person) -> None:
    put(alice.tenant, limits={"images_per_day": 20})
    take(alice, 20)
    put(alice.tenant, limits={"images_per_day": 5})
    with across_tenants():
        tenant = Tenant.objects.select_related("plan").get(pk=alice.tenant.pk)
        check_tenant_change(tenant=tenant, plan=tenant.plan, limits={"images_per_day": 6, "max_steps": 9})


def test_plan_below_the_use_of_its_tenants(alice: Person, mallory: Person) -> None:
    plan = make_plan(images_per_day=50)
    put(alice.tenant, plan=plan)
    put(mallory.tenant, plan=plan, limits={"images_per_day": 100})  # whatever the plan says
    take(alice, 8)
    take(mallory, 60)
    with across_tenants():
        before = Plan.objects.get(pk=plan.pk)
        with pytest.raises(BelowUse) as refused:
            check_plan_change(before=before, after={"images_per_day": 7})
        assert [above.tenant for above in refused.value.above] == [alice.tenant.pk]
        check_plan_change(before=before, after={"images_per_day": 8})
        check_plan_change(before=before, after={"images_per_day": None})


def test_many_tenants_are_counted_not_listed(db: object) -> None:
    plan = make_plan()
    for number in range(8):
        tenant, _ = make_tenant(f"T{number}", plan=plan)
        put(tenant, stored_bytes=100)
    with across_tenants(), pytest.raises(BelowUse, match="; and 3 more"):
        check_plan_change(before=plan, after={"storage_bytes": 50})
