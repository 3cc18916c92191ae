"""E-mails at 80 and 100 percent: to the right people, once per limit and period, also when several look at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import psycopg
import pytest
from django.db import connections

from accounts.domain import notices
from accounts.domain.callers import caller_of_member
from accounts.domain.notices import send_limit_notices
from accounts.domain.quotas import refund, reserve
from accounts.enums import Metric, Role
from accounts.ids import uuid7
from accounts.models import LimitNotice, MemberBudget, Tenant, User
from accounts.tenancy import across_tenants, in_tenant
from tests.factories import Person, make_member, make_plan, make_user
from tests.generation.domain.conftest import as_worker  # noqa: F401  (a fixture)
from tests.mails import waiting_mails

SQL = psycopg.Connection[tuple[Any, ...]]
AsWorker = Callable[[], AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def _first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_looked_at", None)


@pytest.fixture
def acme(alice: Person) -> Person:
    """Alice's tenant with a plan of ten images a day and limits by GPU time; an admin beside her, and Bob."""
    with across_tenants():
        plan = make_plan(images_per_day=10, gpu_ms_per_month=1000)
        Tenant.objects.filter(pk=alice.tenant.pk).update(plan=plan)
    make_member(alice.tenant, Role.ADMIN, user=make_user("anna", language="zh-hans"))
    make_member(alice.tenant, Role.VIEWER, user=make_user("victor"))
    return alice


def take(person: Person, user: User | None = None, **amounts: int) -> Any:
    """Set aside; `images`, `gpu_ms`."""
    caller = caller_of_member(user_id=(user or person.user).pk, tenant_id=person.tenant.pk)
    work = {"ref": uuid7(), "tenant": caller.tenant, "user": caller.user, "key": None}
    reserved = {Metric(name): amount for name, amount in amounts.items()}
    with in_tenant(caller.tenant):
        day = reserve(**work, plan=caller.plan, budget=caller.budget, amounts=reserved)
    return {**work, "charged_on": day, "reserved": reserved}


def told() -> list[tuple[str, str]]:
    """(name part of the address, subject) of every waiting e-mail, in order."""
    return sorted((mail["to"].split("-")[0], mail["subject"]) for mail in waiting_mails("limit_used"))


def test_owners_and_admins_hear_of_both_levels(acme: Person, mallory: Person, as_worker: AsWorker) -> None:  # noqa: F811
    take(acme, images=7)
    with as_worker():
        assert send_limit_notices() == 0
    take(acme, images=1)
    with as_worker():
        assert send_limit_notices() == 1
        assert send_limit_notices() == 0
    assert told() == [
        ("alice", "A has nearly used up a limit: images a day"),
        ("anna", "A 的限额即将用完：每天图片数"),
    ]
    [mail, _] = waiting_mails("limit_used")
    assert "8 of 10 are used or set aside (80 percent reached)" in mail["body"]
    assert "/usage/" in mail["body"]
    take(acme, images=2)
    with as_worker():
        assert send_limit_notices() == 1
    assert ("alice", "A has used up a limit: images a day") in told()
    with in_tenant(acme.tenant.pk):
        assert sorted(LimitNotice.objects.values_list("limit", "percent")) == [
            ("images_per_day", 80), ("images_per_day", 100)
        ]  # fmt: skip


def test_from_below_to_the_top_is_one_mail(acme: Person, as_worker: AsWorker) -> None:  # noqa: F811
    work = take(acme, images=10)
    with as_worker():
        assert send_limit_notices() == 1
    with in_tenant(acme.tenant.pk):
        refund(**work)
    take(acme, images=9)  # eighty again: told already
    with as_worker():
        assert send_limit_notices() == 0
    assert [subject for name, subject in told() if name == "alice"] == ["A has used up a limit: images a day"]


def test_next_period_begins_anew(acme: Person, as_worker: AsWorker, admin_sql: SQL) -> None:  # noqa: F811
    take(acme, images=10)
    with as_worker():
        assert send_limit_notices() == 1
    # Yesterday it was, all of it.
    for table, column in (("limitnotice", "starts_on"), ("counter", "starts_on"), ("ledgerentry", "charged_on")):
        admin_sql.execute(f"UPDATE accounts_{table} SET {column} = {column} - 1")  # type: ignore[arg-type]
    take(acme, images=10)
    with as_worker():
        assert send_limit_notices() == 1
    assert len([name for name, _ in told() if name == "alice"]) == 2


def test_budget_is_its_members_matter(acme: Person, bob: Person, as_worker: AsWorker) -> None:  # noqa: F811
    with in_tenant(acme.tenant.pk):
        MemberBudget.objects.create(tenant_id=acme.tenant.pk, user=bob.user, limits={"gpu_ms_per_month": 100})
    take(acme, bob.user, gpu_ms=100)
    with as_worker():
        assert send_limit_notices() == 1
    assert told() == [("bob", "Your budget is used up: GPU time a month")]
    with in_tenant(acme.tenant.pk):
        assert {row.limit for row in LimitNotice.objects.all()} == {f"member:{bob.user.pk}:gpu_ms_per_month"}


def test_own_limits_storage_and_none(acme: Person, as_worker: AsWorker) -> None:  # noqa: F811
    with across_tenants():
        Tenant.objects.filter(pk=acme.tenant.pk).update(
            limits={"images_per_day": None, "storage_bytes": 1000}, stored_bytes=900
        )
    take(acme, images=50)
    with as_worker():
        assert send_limit_notices() == 1
    assert [subject for name, subject in told() if name == "alice"] == ["A has nearly used up a limit: storage"]


def test_suspended_tenants_and_those_who_left_hear_nothing(acme: Person, as_worker: AsWorker) -> None:  # noqa: F811
    take(acme, images=10)
    with across_tenants():
        User.objects.filter(pk=acme.user.pk).update(is_active=False)
        Tenant.objects.filter(pk=acme.tenant.pk).update(suspended_at="2026-01-01T00:00Z")
    with as_worker():
        assert send_limit_notices() == 0
    with across_tenants():
        Tenant.objects.filter(pk=acme.tenant.pk).update(suspended_at=None)
    with as_worker():
        assert send_limit_notices() == 1
    assert [name for name, _ in told()] == ["anna"]


def test_eight_that_look_at_once_tell_once(acme: Person, as_worker: AsWorker) -> None:  # noqa: F811
    take(acme, images=10, gpu_ms=900)
    outcomes: list[int] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait(timeout=30)
        try:
            outcomes.append(send_limit_notices())
        finally:
            connections.close_all()

    with as_worker():
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    assert len(outcomes) == 8 and sum(outcomes) == 2
    assert [subject for name, subject in told() if name == "alice"] == [
        "A has nearly used up a limit: GPU time a month", "A has used up a limit: images a day"
    ]  # fmt: skip


def test_later_looks_see_what_moved_since(acme: Person, as_worker: AsWorker, admin_sql: SQL) -> None:  # noqa: F811
    with as_worker():
        assert send_limit_notices() == 0
        take(acme, images=10)
    admin_sql.execute("UPDATE accounts_ledgerentry SET created_at = now() - interval '1 hour'")
    with as_worker():
        assert send_limit_notices() == 0, "what did not move is not looked at again"
    admin_sql.execute("UPDATE accounts_ledgerentry SET created_at = now() - interval '20 seconds'")
    with as_worker():
        assert send_limit_notices() == 1, "a transaction that took long is seen all the same"
