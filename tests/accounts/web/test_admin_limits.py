"""Plans, a tenant's own limits and credit in the admin: checked, confirmed, recorded, once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.domain.callers import caller_of_member
from accounts.domain.limits import TENANT_LIMITS
from accounts.domain.quotas import reserve
from accounts.enums import Metric
from accounts.ids import uuid7
from accounts.models import Plan, Tenant, User
from accounts.tenancy import across_tenants, in_tenant
from tests.factories import Person, make_plan, make_user

SQL = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def staff(db: object) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("staff@example.org", None))
    return client


@pytest.fixture
def tenant(alice: Person) -> Tenant:
    """On a plan of ten images a day, of which eight are used."""
    with across_tenants():
        Tenant.objects.filter(pk=alice.tenant.pk).update(plan=make_plan(images_per_day=10))
    caller = caller_of_member(user_id=alice.user.pk, tenant_id=alice.tenant.pk)
    with in_tenant(caller.tenant):
        reserve(
            ref=uuid7(), tenant=caller.tenant, user=caller.user, key=None, plan=caller.plan,
            amounts={Metric.IMAGES: 8},
        )  # fmt: skip
    return alice.tenant


def row(tenant: Tenant) -> Tenant:
    with across_tenants():
        return Tenant.objects.select_related("plan").get(pk=tenant.pk)


def form_of(page: str) -> dict[str, str]:
    """What a browser would send of a page, unchanged."""
    values = {}
    for tag in re.findall(r"<input[^>]*>", page):
        name = re.search(r'name="([^"]+)"', tag)
        value = re.search(r'value="([^"]*)"', tag)
        if name and "checkbox" not in tag and "__prefix__" not in tag:
            values[name[1]] = value[1] if value else ""
    for name, options in re.findall(r'<select name="([^"]+)"[^>]*>(.*?)</select>', page, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', options)
        values[name] = chosen[1] if chosen else ""
    return values | {"note": ""}


@pytest.fixture
def change(staff: Client, tenant: Tenant) -> Callable[..., Any]:
    """POST the tenant's page with some fields changed."""

    def send(**fields: Any) -> Any:
        path = f"/admin/accounts/tenant/{tenant.pk}/change/"
        page = form_of(staff.get(path).content.decode())
        return staff.post(path, {**page, **fields, "_save": "Save"})

    return send


def test_own_limits_by_name(change: Callable[..., Any], tenant: Tenant, admin_sql: SQL) -> None:
    admin_sql.execute("UPDATE accounts_tenant SET limits = '{\"from_tomorrow\": 1}', stored_bytes = 5")
    assert change(limit_images_per_day="12", limit_storage_bytes="none", limit_weight="3").status_code == 302
    found = row(tenant)
    assert found.limits == {"images_per_day": 12, "storage_bytes": None, "weight": 3, "from_tomorrow": 1}
    assert found.stored_bytes == 5
    events = admin_sql.execute(
        "SELECT detail FROM accounts_auditevent WHERE action = 'admin.tenant.changed'"
    ).fetchall()
    assert events[0][0]["limit_images_per_day"] == [None, "12"]
    assert change(limit_images_per_day="").status_code == 302
    assert "images_per_day" not in row(tenant).limits


def test_form_shows_the_plans_values(staff: Client, tenant: Tenant) -> None:
    text = staff.get(f"/admin/accounts/tenant/{tenant.pk}/change/").content.decode()
    assert "plan: 10; or “none”" in text and "plan: 8" in text
    assert all(f'name="limit_{name}"' in text for name in TENANT_LIMITS)


@pytest.mark.parametrize("wrong", ["0", "-3", "1.5", "many", "٣", "9" * 19])
def test_wrong_own_limits_change_nothing(change: Callable[..., Any], tenant: Tenant, wrong: str) -> None:
    answer = change(limit_images_per_day=wrong, limit_max_steps="7", name="Renamed")
    assert answer.status_code == 200 and "images_per_day must be" in answer.content.decode()
    assert (row(tenant).limits, row(tenant).name) == ({}, "A")


def test_limits_that_must_be_are_not_none(change: Callable[..., Any], tenant: Tenant) -> None:
    assert "queue_length must be" in change(limit_queue_length="none").content.decode()
    assert row(tenant).limits == {}


def test_below_present_use_asks_first(change: Callable[..., Any], tenant: Tenant) -> None:
    text = change(limit_images_per_day="7", limit_max_steps="9").content.decode()
    assert "A: images a day would be 7, used now 8" in text
    assert 'type="checkbox" name="confirm"' in text
    assert row(tenant).limits == {}, "no half change"
    assert change(limit_images_per_day="7", limit_max_steps="9", confirm="on").status_code == 302
    assert row(tenant).limits == {"images_per_day": 7, "max_steps": 9}


def test_another_plan_below_present_use_asks_first(change: Callable[..., Any], tenant: Tenant) -> None:
    small = make_plan(images_per_day=5)
    assert "images a day would be 5, used now 8" in change(plan=small.pk).content.decode()
    assert row(tenant).plan != small
    assert change(plan=small.pk, limit_images_per_day="20").status_code == 302
    assert row(tenant).plan == small


def test_saving_the_page_does_not_write_storage_back(change: Callable[..., Any], tenant: Tenant) -> None:
    """The page was opened before a picture was stored: only what the form changed is written."""
    with CaptureQueriesContext(connection) as queries:
        assert change(name="Renamed").status_code == 302
    [update] = [query["sql"] for query in queries if query["sql"].startswith('UPDATE "accounts_tenant"')]
    assert "stored_bytes" not in update and '"name"' in update


def test_plan_below_the_use_of_its_tenants_asks_first(staff: Client, tenant: Tenant) -> None:
    plan = row(tenant).plan
    path = f"/admin/accounts/plan/{plan.pk}/change/"

    def send(**fields: Any) -> Any:
        return staff.post(path, {**form_of(staff.get(path).content.decode()), **fields, "_save": "Save"})

    assert "A: images a day would be 7, used now 8" in send(images_per_day="7", max_steps="20").content.decode()
    assert (Plan.objects.get(pk=plan.pk).images_per_day, Plan.objects.get(pk=plan.pk).max_steps) == (10, 50)
    assert send(images_per_day="7", confirm="on").status_code == 302
    assert Plan.objects.get(pk=plan.pk).images_per_day == 7
    assert send(images_per_day="").status_code == 302
    assert Plan.objects.get(pk=plan.pk).images_per_day is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"images_per_day": "0"}, "images_per_day must be a whole number from 1"),
        ({"queue_length": "0"}, "queue_length must be a whole number from 1"),
        ({"images_per_day": "9", "images_per_month": "8"}, "could never be used"),
        ({"requests_per_minute": "90", "tenant_requests_per_minute": "80"}, "could never be used"),
        ({"storage_bytes": str(2**60)}, "storage_bytes must be a whole number from 1"),
    ],
)
def test_plans_are_checked(staff: Client, tenant: Tenant, fields: dict[str, str], said: str) -> None:
    path = f"/admin/accounts/plan/{row(tenant).plan.pk}/change/"
    before = Plan.objects.filter(pk=row(tenant).plan.pk).values().get()
    answer = staff.post(path, {**form_of(staff.get(path).content.decode()), **fields})
    assert answer.status_code == 200 and said in answer.content.decode()
    assert Plan.objects.filter(pk=before["id"]).values().get() == before


def test_credit_from_its_page_once(staff: Client, tenant: Tenant, admin_sql: SQL) -> None:
    path = f"/admin/accounts/tenant/{tenant.pk}/credit/"
    assert path in staff.get(f"/admin/accounts/tenant/{tenant.pk}/change/").content.decode()
    page = staff.get(path).content.decode()
    form = form_of(page) | {"unit": "gpu_seconds", "amount": "90", "reason": "a broken card"}
    del form["note"]
    assert "8 images set aside" in page
    first = staff.post(path, form, follow=True)
    assert "90 GPU seconds are credited to A." in first.content.decode()
    again = staff.post(path, form, follow=True)
    assert "was credited then, and not again" in again.content.decode()
    entries = admin_sql.execute(
        "SELECT metric, amount, reason FROM accounts_ledgerentry WHERE kind = 'credit'"
    ).fetchall()
    assert entries == [("gpu_ms", -90_000, "a broken card")]
    event = admin_sql.execute(
        "SELECT \"user\", detail FROM accounts_auditevent WHERE action = 'tenant.credited'"
    ).fetchall()
    assert [found[1]["reason"] for found in event] == ["a broken card"]
    assert event[0][0] == User.objects.get(email="staff@example.org").pk


@pytest.mark.parametrize(
    "wrong",
    [{"reason": " "}, {"amount": "0"}, {"amount": "x"}, {"unit": "euros"}, {"token": "x"}, {"amount": "9" * 20}],
)
def test_wrong_credit_is_said_and_not_given(
    staff: Client, tenant: Tenant, admin_sql: SQL, wrong: dict[str, str]
) -> None:
    path = f"/admin/accounts/tenant/{tenant.pk}/credit/"
    form = form_of(staff.get(path).content.decode()) | {"unit": "images", "amount": "3", "reason": "why"} | wrong
    assert staff.post(path, form).status_code == 200
    assert admin_sql.execute("SELECT count(*) FROM accounts_ledgerentry WHERE kind = 'credit'").fetchone() == (0,)


def test_support_looks_and_credits_nothing(tenant: Tenant, alice: Person) -> None:
    looker = make_user("looker", is_staff=True)
    looker.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client()
    client.force_login(looker)
    with across_tenants():
        Tenant.objects.filter(pk=tenant.pk).update(limits={"images_per_day": 20, "storage_bytes": None})
    text = client.get(f"/admin/accounts/tenant/{tenant.pk}/change/").content.decode()
    assert "images_per_day: 20, storage_bytes: none" in text and "limit_images_per_day" not in text
    for path in (f"/admin/accounts/tenant/{tenant.pk}/credit/",):
        assert client.get(path).status_code == client.post(path, {}).status_code == 403
    assert alice.client.get(f"/admin/accounts/tenant/{tenant.pk}/credit/").status_code == 302


def test_new_tenants_and_plans_can_be_made(staff: Client) -> None:
    for model in ("tenant", "plan"):
        assert staff.get(f"/admin/accounts/{model}/add/").status_code == 200
    form = form_of(staff.get("/admin/accounts/plan/add/").content.decode())
    assert staff.post("/admin/accounts/plan/add/", {**form, "slug": "new", "title": "New"}).status_code == 302
    assert Plan.objects.get(slug="new").cancels_per_day == 5000
