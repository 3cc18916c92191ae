"""Retention: what a plan keeps no longer goes, rows and files, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from accounts.domain.errands import claim_errand, run_errand
from accounts.models import AuditEvent, Errand, Plan, Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.domain import retention
from generation.domain.retention import ask_retention
from tests.factories import Person
from tests.generation.domain.desk import Look, check_books, submit
from tests.generation.domain.test_export import drawn

AsWorker = Callable[[], AbstractContextManager[None]]


def age(look: Look, generation: UUID, *, days: float) -> None:
    look(
        "UPDATE generation_generation SET created_at = now() - make_interval(secs => %s), finished_at ="
        " CASE WHEN finished_at IS NOT NULL THEN now() - make_interval(secs => %s) END WHERE id = %s RETURNING 1",
        days * 86_400, days * 86_400, generation,
    )  # fmt: skip


def turn(as_worker: AsWorker) -> list[str]:
    """What the ticker asks for, and the errands of it."""
    with as_worker():
        ask_retention()
        found = []
        while (claimed := claim_errand("test")) is not None:
            found.append(f"{claimed.kind}: {run_errand(claimed)}")
        return found


def there(look: Look) -> set[UUID]:
    return {row[0] for row in look("SELECT id FROM generation_generation")}


def test_nothing_is_deleted_without_a_number(alice: Person, media: Path, as_worker: AsWorker, look: Look) -> None:
    old = drawn(alice, media, as_worker)
    age(look, old, days=5000)
    assert turn(as_worker) == []
    assert there(look) == {old}


def test_a_plans_number_holds_to_the_second(
    alice: Person, mallory: Person, media: Path, as_worker: AsWorker, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 1)
    Plan.objects.update(retention_days=30)
    with across_tenants():
        Tenant.objects.filter(pk=mallory.tenant.pk).update(limits={"retention_days": None})  # none for this one
    old, starred = drawn(alice, media, as_worker, n=2), drawn(alice, media, as_worker)
    young, theirs = drawn(alice, media, as_worker), drawn(mallory, media, as_worker)
    waiting = submit(alice.caller)
    for generation, days in ((old, 30.01), (starred, 31.0), (young, 29.99), (theirs, 400.0), (waiting, 400.0)):
        age(look, generation, days=days)
    look("UPDATE generation_generation SET starred = true WHERE id = %s RETURNING 1", starred)
    assert turn(as_worker) == ["delete_expired: done", "delete_files: done", "delete_files: done"]
    assert there(look) == {young, theirs, waiting}
    assert len([path for path in media.rglob("*") if path.is_file()]) == 4
    check_books(look)
    with in_tenant(alice.tenant.pk):
        events = AuditEvent.objects.filter(action="pictures.expired")
        assert [(event.detail, event.user) for event in events] == [({"generations": 1}, None)] * 2
    assert turn(as_worker) == []


def test_a_tenants_own_number_stands_before_its_plans(
    alice: Person, media: Path, as_worker: AsWorker, look: Look
) -> None:
    Plan.objects.update(retention_days=1)
    with across_tenants():
        Tenant.objects.filter(pk=alice.tenant.pk).update(limits={"retention_days": 100})
    ids = [drawn(alice, media, as_worker) for _ in range(2)]
    age(look, ids[0], days=50)
    age(look, ids[1], days=101)
    turn(as_worker)
    assert there(look) == {ids[0]}
    with across_tenants():
        Tenant.objects.filter(pk=alice.tenant.pk).update(limits={"retention_days": 2**31 - 1})  # for ever
    assert turn(as_worker) == []


def test_what_waited_long_is_kept_from_its_end(alice: Person, media: Path, as_worker: AsWorker, look: Look) -> None:
    Plan.objects.update(retention_days=10)
    generation = drawn(alice, media, as_worker)
    look("UPDATE generation_generation SET created_at = now() - interval '20 days' RETURNING 1")
    assert turn(as_worker) == []
    assert there(look) == {generation}


def test_it_is_asked_once_and_the_plan_counts_as_it_is_then(
    alice: Person, media: Path, as_worker: AsWorker, look: Look
) -> None:
    Plan.objects.update(retention_days=1)
    generation = drawn(alice, media, as_worker)
    age(look, generation, days=2)
    with as_worker():
        assert [ask_retention(), ask_retention()] == [1, 0]
    Plan.objects.update(retention_days=None)  # staff have changed their minds before the errand came
    assert turn(as_worker) == ["delete_expired: done"]
    assert there(look) == {generation}


def test_killed_in_the_middle_it_goes_on(
    alice: Person, media: Path, as_worker: AsWorker, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 1)
    Plan.objects.update(retention_days=1)
    for _ in range(3):
        age(look, drawn(alice, media, as_worker), days=2)
    real, calls = retention.remove_ended, []

    def dies_second(ids: Any) -> Any:
        calls.append(ids)
        if len(calls) == 2:
            raise OSError("the machine")
        return real(ids)

    monkeypatch.setattr(retention, "remove_ended", dies_second)
    assert "delete_expired: retry" in turn(as_worker)
    assert len(there(look)) == 2
    with across_tenants():
        Errand.objects.update(due_at=timezone.now())
    assert "delete_expired: done" in turn(as_worker)
    assert there(look) == set() and not [path for path in media.rglob("*") if path.is_file()]


def test_nothing_goes_without_a_word_in_the_audit_log(
    alice: Person, media: Path, as_worker: AsWorker, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both in one transaction: a process that is killed has no time to tell what it has deleted."""
    Plan.objects.update(retention_days=1)
    old = drawn(alice, media, as_worker)
    age(look, old, days=2)

    def dies(*args: Any, **values: Any) -> None:
        raise OSError("the machine")

    monkeypatch.setattr(retention, "record", dies)
    assert turn(as_worker) == ["delete_expired: retry"]
    assert there(look) == {old}


def test_the_page_says_until_when_it_is_kept(alice: Person, media: Path, as_worker: AsWorker, look: Look) -> None:
    """It counts from the end, as the errand does; what has not ended is not going anywhere."""
    Plan.objects.update(retention_days=10)
    ended, waiting = drawn(alice, media, as_worker), submit(alice.caller)
    look("UPDATE generation_generation SET created_at = '2026-01-01Z', finished_at = '2026-02-01Z' WHERE id = %s"
         " RETURNING 1", ended)  # fmt: skip
    page = alice.client.get(f"/gallery/{ended}/").content.decode()
    assert "Kept until" in page and "2026-02-11" in page and "2026-01-11" not in page
    assert "Kept until" not in alice.client.get(f"/gallery/{waiting}/").content.decode()
    Plan.objects.update(retention_days=2**31 - 1)
    assert "Kept until" not in alice.client.get(f"/gallery/{ended}/").content.decode()
