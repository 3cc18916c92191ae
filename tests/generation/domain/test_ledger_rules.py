"""The rules of the ledger: what each ending of a generation costs, and what it leaves for the next submit."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.domain import notices
from accounts.domain.callers import Caller, caller_of_member
from accounts.domain.cancels import CANCELED
from accounts.errors import QuotaExceeded
from accounts.models import Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.cancel import cancel_generation, cancel_running
from generation.domain.claim import ClaimedRow
from generation.domain.finish import fail_row, finish_slice
from generation.domain.remove import remove_generation
from generation.domain.sweep import sweep
from tests.factories import Person, make_plan
from tests.generation.domain.desk import Look, check_books, claim, draw, submit
from tests.mails import waiting_mails

pytestmark = pytest.mark.usefixtures("worker")


def planned(person: Person, **limits: Any) -> Caller:
    """The person's caller on a plan with these limits."""
    with across_tenants():
        Tenant.objects.filter(pk=person.tenant.pk).update(plan=make_plan(**limits))
    return caller_of_member(user_id=person.user.pk, tenant_id=person.tenant.pk)


def taken_row() -> ClaimedRow:
    taken = claim(models={"demo": 1})
    assert taken is not None
    return taken.rows[0]


def sums(look: Look) -> dict[str, int]:
    return dict(look("SELECT metric, sum(amount)::int FROM accounts_ledgerentry GROUP BY metric"))


def day_counter(look: Look, metric: str) -> tuple[int, int]:
    [found] = look(
        "SELECT used, reserved FROM accounts_counter WHERE scope = 'tenant' AND period = 'day' AND metric = %s", metric
    )
    return found[0], found[1]


def test_cancelled_while_queued_is_refunded_whole(alice: Person, look: Look) -> None:
    caller = planned(alice, images_per_day=3)
    with in_tenant(caller.tenant):
        cancel_generation(submit(caller, n=3))
    assert sums(look) == {"images": 0, "gpu_ms": 0}
    assert look("SELECT DISTINCT kind, reason, label FROM accounts_ledgerentry WHERE kind <> 'reserve'") == [
        ("refund", CANCELED, "demo")
    ]
    submit(caller, n=3)  # all of it can be had again
    check_books(look)


def test_cancelled_while_running_pays_for_what_ran(alice: Person, look: Look) -> None:
    with in_tenant(alice.tenant.pk):
        id = submit(alice.caller, n=2)
        row = taken_row()
        finish_slice(row=row, images=draw(row), run_ms=40)
        row = taken_row()
        assert cancel_generation(id) == "running"
    assert cancel_running(row=row, run_ms=25)
    assert sums(look) == {"images": 1, "gpu_ms": 65}
    assert look("SELECT DISTINCT kind, label FROM accounts_ledgerentry WHERE kind <> 'reserve'") == [("settle", "demo")]
    check_books(look)


def test_cancelled_between_two_slices_pays_for_the_first(alice: Person, look: Look) -> None:
    id = submit(alice.caller, n=2)
    row = taken_row()
    finish_slice(row=row, images=draw(row), run_ms=40)
    with in_tenant(alice.tenant.pk):
        assert cancel_generation(id) == "canceled"
    assert sums(look) == {"images": 1, "gpu_ms": 40}
    check_books(look)


@pytest.mark.parametrize("how", ["by itself", "lost leases"])
def test_our_failure_is_refunded_whole_and_counts_for_nothing(how: str, alice: Person, look: Look) -> None:
    caller = planned(alice, images_per_day=2, cancels_per_day=1)
    submit(caller, n=2)
    if how == "by itself":
        fail_row(row=taken_row(), code="bad_frame", message="black", retry=False)
    else:
        taken_row()
        look("UPDATE generation_generation SET lost = 4, lease_until = now() - interval '1 s' RETURNING 1")
        assert sweep().failed == 1
    assert look("SELECT status FROM generation_generation") == [("failed",)]
    assert sums(look) == {"images": 0, "gpu_ms": 0}
    assert look("SELECT DISTINCT reason FROM accounts_ledgerentry WHERE kind = 'refund'") == [("failed",)]
    submit(caller, n=2)
    check_books(look)


def test_settle_above_the_reserve_passes_the_limit_and_refuses_the_next(alice: Person, look: Look) -> None:
    caller = planned(alice, gpu_ms_per_day=100_000)
    submit(caller)
    row = taken_row()
    assert row.estimate_ms < 100_000
    finish_slice(row=row, images=draw(row), run_ms=250_000)
    assert day_counter(look, "gpu_ms") == (250_000, 0)
    with pytest.raises(QuotaExceeded) as refused:
        submit(caller, width=128)  # another size: its estimate is small
    assert refused.value.limit == "gpu_ms_per_day"
    assert sums(look)["gpu_ms"] == 250_000
    check_books(look)


def test_removed_pictures_stay_paid_and_named(alice: Person, look: Look) -> None:
    id = submit(alice.caller)
    row = taken_row()
    finish_slice(row=row, images=draw(row), run_ms=40)
    with in_tenant(alice.tenant.pk):
        remove_generation(id)
    assert sums(look) == {"images": 1, "gpu_ms": 40}
    assert look("SELECT DISTINCT label FROM accounts_ledgerentry") == [("demo",)]


def test_cancels_of_another_day_or_tenant_do_not_count(alice: Person, mallory: Person, look: Look) -> None:
    caller = planned(alice, cancels_per_day=1)
    with in_tenant(mallory.tenant.pk):
        cancel_generation(submit(mallory.caller))
    with in_tenant(caller.tenant):
        cancel_generation(submit(caller))
        with pytest.raises(QuotaExceeded):
            submit(caller)
    look("UPDATE accounts_ledgerentry SET charged_on = charged_on - 1 RETURNING 1")
    submit(caller)


def test_the_sweep_tells_of_a_limit_once(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_looked_at", None)
    caller = planned(alice, images_per_day=2)
    submit(caller, n=2)
    assert [sweep().limits_told, sweep().limits_told] == [1, 0]
    [mail] = waiting_mails("limit_used")
    assert mail["to"] == alice.user.email and "2 of 2" in mail["body"]


def test_own_concurrency_and_weight_hold_in_claim(alice: Person, look: Look) -> None:
    with across_tenants():
        Tenant.objects.filter(pk=alice.tenant.pk).update(limits={"concurrent_generations": 2, "weight": 7})
    caller = caller_of_member(user_id=alice.user.pk, tenant_id=alice.tenant.pk)
    for _ in range(5):
        submit(caller)
    taken = claim()
    assert taken is not None and len(taken.rows) == 2, "held back, never refused"
    assert claim() is None
    assert look("SELECT weight FROM generation_fairclock") == [(7,)]
    assert not sweep().repaired
