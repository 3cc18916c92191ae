"""Work that a client waited for in vain: cancelled at our cost, and its idempotency key is free again."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from accounts.tenancy import in_tenant
from generation.domain.cancel import cancel_running
from generation.domain.finish import finish_slice
from generation.domain.giveup import forget_key, give_up_generation
from generation.domain.remove import remove_ended, remove_generation
from generation.domain.request import GenerationRequest
from generation.domain.submit import submit_generation
from generation.errors import AlreadyFinished, GenerationNotFound
from generation.models import Generation
from tests.accounts.domain.test_locks import SQL, in_scope, meanwhile
from tests.factories import Person
from tests.generation.domain.desk import Look, check_books, draw, submit
from tests.generation.domain.test_ledger_rules import planned, sums, taken_row

pytestmark = pytest.mark.usefixtures("worker")


def with_key(person: Person) -> UUID:
    """A submit with an idempotency key."""
    request = GenerationRequest(model="demo", prompt="x", width=64, height=64, seed=1)
    with in_tenant(person.tenant.pk):
        return submit_generation(caller=person.caller, request=request, idempotency_key="k").id


def test_waiting_work_is_given_back_and_is_no_cancel_of_the_day(alice: Person, look: Look) -> None:
    caller = planned(alice, cancels_per_day=1)
    with in_tenant(caller.tenant):
        for _ in range(3):
            assert give_up_generation(submit(caller, n=3)) == "canceled"
    assert sums(look) == {"images": 0, "gpu_ms": 0}
    assert look("SELECT DISTINCT kind, reason FROM accounts_ledgerentry WHERE kind <> 'reserve'") == [
        ("refund", "too slow")
    ]
    submit(caller)
    check_books(look)


def test_what_ran_for_nothing_is_given_back(alice: Person, look: Look) -> None:
    with in_tenant(alice.tenant.pk):
        id = submit(alice.caller, n=2)
        row = taken_row()
        assert give_up_generation(id) == "running"
    assert cancel_running(row=row, run_ms=25)
    assert look("SELECT status, cost_ms, cancel_is_free FROM generation_generation") == [("canceled", 0, True)]
    assert sums(look) == {"images": 0, "gpu_ms": 0}
    check_books(look)


def test_pictures_that_are_there_stay_and_are_paid(alice: Person, look: Look) -> None:
    with in_tenant(alice.tenant.pk):
        id = submit(alice.caller, n=2)
        row = taken_row()
        finish_slice(row=row, images=draw(row), run_ms=40)
        row = taken_row()
        assert give_up_generation(id) == "running"
    assert cancel_running(row=row, run_ms=25)
    assert sums(look) == {"images": 1, "gpu_ms": 40}
    assert look("SELECT count(*) FROM generation_image") == [(1,)]
    check_books(look)


def test_one_that_was_cancelled_before_is_paid_as_ever(alice: Person, look: Look) -> None:
    from generation.domain.cancel import cancel_generation

    with in_tenant(alice.tenant.pk):
        id = submit(alice.caller)
        row = taken_row()
        cancel_generation(id)
        assert give_up_generation(id) == "running"
    assert cancel_running(row=row, run_ms=25)
    assert sums(look) == {"images": 0, "gpu_ms": 25}
    check_books(look)


def test_its_key_makes_something_new(alice: Person, look: Look) -> None:
    first = with_key(alice)
    assert with_key(alice) == first
    with in_tenant(alice.tenant.pk):
        give_up_generation(first)
    assert with_key(alice) != first
    assert look("SELECT count(*) FROM generation_idempotency") == [(1,)]


def test_what_has_ended_keeps_everything(alice: Person, look: Look) -> None:
    id = with_key(alice)
    row = taken_row()
    finish_slice(row=row, images=draw(row), run_ms=40)
    with in_tenant(alice.tenant.pk), pytest.raises(AlreadyFinished):
        give_up_generation(id)
    assert look("SELECT status, cancel_is_free FROM generation_generation") == [("succeeded", False)]
    assert look("SELECT count(*) FROM generation_idempotency") == [(1,)]
    assert sums(look) == {"images": 1, "gpu_ms": 40}


def test_foreign_and_random_ones_are_not_there(alice: Person, mallory: Person, look: Look) -> None:
    foreign = with_key(mallory)
    for id in (foreign, uuid4()):
        with in_tenant(alice.tenant.pk), pytest.raises(GenerationNotFound):
            give_up_generation(id)
    assert look("SELECT status, cancel_is_free FROM generation_generation") == [("queued", False)]
    assert look("SELECT count(*) FROM generation_idempotency") == [(1,)]


@pytest.mark.parametrize("remove", [remove_generation, lambda id: remove_ended([id])], ids=["one", "several"])
def test_a_removal_beside_it_waits_and_never_in_a_circle(
    alice: Person, admin_sql: SQL, remove: Callable[[UUID], object]
) -> None:
    """Both take the idempotency key first: it ended in the very moment when nobody waited for it any longer."""
    id = with_key(alice)
    row = taken_row()
    finish_slice(row=row, images=draw(row), run_ms=40)
    with (
        meanwhile(admin_sql, in_scope(alice, remove, id=id)) as other,
        in_tenant(alice.tenant.pk),
        transaction.atomic(),
    ):
        forget_key(id)
        other.until_it_waits()
        with pytest.raises(AlreadyFinished):
            give_up_generation(id)
    with in_tenant(alice.tenant.pk):
        assert not Generation.objects.exists()
