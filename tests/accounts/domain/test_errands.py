"""Errands: inserted with their transaction, run under a fence, tried again, kept when they fail for good."""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from accounts.domain import errands
from accounts.domain.errands import (
    ClaimedErrand,
    Interrupted,
    Lease,
    LeaseLost,
    add_errand,
    claim_errand,
    errand,
    run_errand,
)
from accounts.enums import ErrandKind
from accounts.models import Errand
from accounts.tenancy import across_tenants, current_scope, in_tenant
from tests.factories import Person, make_tenant

KIND = ErrandKind.DELETE_FILES


class Handler:
    """A handler that remembers what it was called with, and in which scope."""

    def __init__(self) -> None:
        self.calls: list[tuple[ClaimedErrand, UUID | None]] = []
        self.error: Exception | None = None

    def __call__(self, claimed: ClaimedErrand) -> None:
        self.calls.append((claimed, current_scope().tenant))
        if self.error is not None:
            raise self.error


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Handler:
    monkeypatch.setattr(errands, "_handlers", {})
    return errand(KIND)(Handler())  # type: ignore[return-value]


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(errands, "on_errand_added", [lambda: calls.append("woken")])
    return calls


def rows() -> list[Errand]:
    with across_tenants():
        return list(Errand.objects.order_by("id"))


def change(**values: object) -> None:
    with across_tenants():
        Errand.objects.update(**values)


def claim() -> ClaimedErrand:
    claimed = claim_errand("test")
    assert claimed is not None
    return claimed


def test_runs_in_its_tenants_scope_and_is_gone(handler: Handler, woken: list[str], alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        identity = add_errand(kind=KIND, tenant=alice.tenant.pk, ref=alice.key.pk, data={"files": ["a"]})
    claimed = claim()
    assert (claimed.id, claimed.ref, claimed.data, claimed.attempt) == (identity, alice.key.pk, {"files": ["a"]}, 1)
    assert run_errand(claimed) == "done"
    assert handler.calls == [(claimed, alice.tenant.pk)]
    assert rows() == [] and woken == ["woken"] and claim_errand("test") is None


def test_installations_own_errand_has_no_tenant(handler: Handler, db: None) -> None:
    add_errand(kind=KIND, tenant=None)
    assert run_errand(claim()) == "done"
    assert handler.calls[0][1] is None


def test_lives_and_dies_with_its_transaction(woken: list[str], alice: Person) -> None:
    with in_tenant(alice.tenant.pk), transaction.atomic():
        add_errand(kind=KIND, tenant=alice.tenant.pk)
        transaction.set_rollback(True)
    assert rows() == [] and woken == []
    with in_tenant(alice.tenant.pk), transaction.atomic():
        add_errand(kind=KIND, tenant=alice.tenant.pk)
        assert woken == [], "nobody is woken for what is not committed"
    assert woken == ["woken"]


def test_failing_hook_does_not_harm(monkeypatch: pytest.MonkeyPatch, alice: Person) -> None:
    """Redis may be down: the errand stands in the table and the sweep finds it."""

    def refuse() -> None:
        raise ConnectionError("redis")

    monkeypatch.setattr(errands, "on_errand_added", [refuse])
    with in_tenant(alice.tenant.pk), transaction.atomic():
        add_errand(kind=KIND, tenant=alice.tenant.pk)
    assert len(rows()) == 1


def test_claimed_errand_is_nobody_elses(handler: Handler, alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        add_errand(kind=KIND, tenant=alice.tenant.pk)
    claim()
    assert claim_errand("other") is None


def test_due_later_waits(alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        add_errand(kind=KIND, tenant=alice.tenant.pk, due_at=timezone.now() + timedelta(hours=1))
    assert claim_errand("test") is None
    change(due_at=timezone.now())
    assert claim_errand("test") is not None


def test_failure_is_written_down_and_tried_again_later(handler: Handler, alice: Person) -> None:
    handler.error = OSError("disk\x00full")
    with in_tenant(alice.tenant.pk):
        add_errand(kind=KIND, tenant=alice.tenant.pk)
    assert run_errand(claim()) == "retry"
    row = rows()[0]
    assert row.error == "OSError: diskfull" and row.failed_at is None and row.lease_until is None
    assert 5 < (row.due_at - timezone.now()).total_seconds() <= 10
    change(due_at=timezone.now())
    assert run_errand(claim()) == "retry"
    assert 15 < (rows()[0].due_at - timezone.now()).total_seconds() <= 20, "the wait doubles"
    handler.error = None
    change(due_at=timezone.now())
    assert run_errand(claim()) == "done"
    assert [claimed.attempt for claimed, _ in handler.calls] == [1, 2, 3]


def test_last_failure_stays_for_staff(handler: Handler, alice: Person) -> None:
    handler.error = OSError("never")
    with in_tenant(alice.tenant.pk):
        add_errand(kind=KIND, tenant=alice.tenant.pk)
    change(attempt=errands.MAX_ATTEMPTS - 1)
    assert run_errand(claim()) == "failed"
    assert rows()[0].failed_at is not None and rows()[0].error == "OSError: never"
    change(due_at=timezone.now() - timedelta(days=1))
    assert claim_errand("test") is None


def test_unknown_kind_fails_with_its_name(handler: Handler, alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        add_errand(kind=KIND, tenant=alice.tenant.pk)
    change(kind="gone")
    assert claim_errand("test") is None, "another release may know it"
    change(due_at=timezone.now() - timedelta(hours=2))
    assert run_errand(claim()) == "retry"
    assert "gone" in rows()[0].error


def test_expired_lease_is_taken_over_and_the_first_worker_loses(handler: Handler, alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        add_errand(kind=KIND, tenant=alice.tenant.pk)
    first = claim()
    change(lease_until=timezone.now() - timedelta(seconds=1))
    second = claim()
    assert second.fence == first.fence + 1
    assert run_errand(first) == "lost"
    assert len(rows()) == 1, "the second worker's row is still there"
    handler.error = OSError("late")
    assert run_errand(first) == "lost"
    assert rows()[0].error == ""
    handler.error = None
    assert run_errand(second) == "done"


def test_errand_that_kills_its_worker_fails_in_the_end(alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        add_errand(kind=KIND, tenant=alice.tenant.pk)
    for _ in range(errands.MAX_ATTEMPTS):
        claim()
        change(lease_until=timezone.now() - timedelta(seconds=1))
    assert claim_errand("test") is None
    assert rows()[0].failed_at is not None and "lost" in rows()[0].error


def test_parallel_claims_take_each_errand_once(db: None) -> None:
    tenant = make_tenant()[0].pk
    with in_tenant(tenant):
        for _ in range(20):
            add_errand(kind=KIND, tenant=tenant)
    taken: list[UUID] = []

    def work() -> None:
        while (claimed := claim_errand("test")) is not None:
            taken.append(claimed.id)
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(taken) == len(set(taken)) == 20
    assert connection.in_atomic_block is False


def test_slow_kinds_are_claimed_apart(handler: Handler, alice: Person) -> None:
    errand(ErrandKind.EXPORT)(handler)
    with in_tenant(alice.tenant.pk):
        add_errand(kind=ErrandKind.EXPORT, tenant=alice.tenant.pk)
        add_errand(kind=KIND, tenant=alice.tenant.pk)
    quick = claim_errand("test", slow=False)
    assert quick is not None and quick.kind == KIND and claim_errand("test", slow=False) is None
    slow = claim_errand("test", slow=True)
    assert slow is not None and slow.kind == ErrandKind.EXPORT and claim_errand("test", slow=True) is None


def test_lease_is_renewed_while_the_handler_works(
    handler: Handler, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_tenant(alice.tenant.pk):
        add_errand(kind=KIND, tenant=alice.tenant.pk)
    claimed = claim()
    lease = Lease(claimed)
    assert lease.keep() is False, "it asks the database now and then only"
    monkeypatch.setattr(errands, "RENEW_S", 0)
    change(lease_until=timezone.now())
    with in_tenant(alice.tenant.pk):
        assert lease.keep() is True
    assert rows()[0].lease_until > timezone.now() + timedelta(seconds=errands.LEASE_S - 30)
    change(lease_until=timezone.now() - timedelta(seconds=1))
    second = claim()
    with pytest.raises(LeaseLost):
        lease.keep()
    assert Lease(second).keep() is True


def test_handler_that_lost_its_lease_changes_nothing(handler: Handler, alice: Person) -> None:
    handler.error = LeaseLost()
    with in_tenant(alice.tenant.pk):
        add_errand(kind=KIND, tenant=alice.tenant.pk)
    assert run_errand(claim()) == "lost"
    assert (rows()[0].error, rows()[0].attempt) == ("", 1)


def test_ending_process_gives_its_errand_back(handler: Handler, alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_tenant(alice.tenant.pk):
        add_errand(kind=KIND, tenant=alice.tenant.pk)
    claimed = claim()
    monkeypatch.setattr(errands, "is_ending", [lambda: True])
    with pytest.raises(Interrupted):
        Lease(claimed).keep()
    handler.error = Interrupted()
    assert run_errand(claimed) == "retry"
    assert (rows()[0].attempt, rows()[0].lease_until, rows()[0].error) == (0, None, "")
    assert claim().attempt == 1, "at once, by another process"


def test_kind_has_one_handler(handler: Handler) -> None:
    with pytest.raises(ValueError, match="two handlers"):
        errand(KIND)(Handler())
