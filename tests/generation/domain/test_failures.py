"""What is written down about a failed row: with the failure or not at all, for thirty days."""

from __future__ import annotations

import psycopg
import pytest

from accounts.tenancy import in_tenant
from generation.domain.failures import FailureNote
from generation.domain.finish import fail_row
from generation.domain.remove import remove_generation
from generation.domain.sweep import sweep
from generation.models import Failure
from tests.factories import Person
from tests.generation.domain.desk import Look, claim, submit

NOTE = FailureNote(worker=None, worker_name="w", lines=("one", "two"))
SQL = psycopg.Connection[tuple[object, ...]]


@pytest.mark.usefixtures("worker")
def test_a_note_lives_and_dies_with_its_failure(alice: Person, look: Look) -> None:
    wanted = submit(alice.caller)
    found = claim()
    assert found is not None
    (row,) = found.rows
    assert fail_row(row=row, code="engine_error", message="m", retry=True, note=NOTE) == "retried"
    assert fail_row(row=row, code="engine_error", message="m", retry=True, note=NOTE) == "lost"  # somebody else's now
    assert look("SELECT generation_id, worker_name, code, lines FROM generation_failure") == [
        (wanted, "w", "engine_error", "one\ntwo")
    ]


@pytest.mark.usefixtures("worker")
def test_a_row_that_was_given_up_says_so(alice: Person, admin_sql: SQL, look: Look) -> None:
    submit(alice.caller)
    assert claim() is not None
    admin_sql.execute("UPDATE generation_generation SET lost = 4, lease_until = now() - interval '1 s'")
    assert sweep().failed == 1
    assert look("SELECT code, lines, worker FROM generation_failure") == [("lost", "", None)]


@pytest.mark.usefixtures("worker")
def test_failures_are_kept_for_thirty_days(alice: Person, admin_sql: SQL, look: Look) -> None:
    wanted = submit(alice.caller)
    with in_tenant(alice.tenant.pk):
        old, young = (Failure.objects.create(generation_id=wanted, code="lost").pk for _ in range(2))
    age = "UPDATE generation_failure SET created_at = now() - make_interval(days => %s) WHERE id = %s"
    admin_sql.execute(age, [31, old])
    admin_sql.execute(age, [29, young])
    assert sweep().errors == []
    assert look("SELECT id FROM generation_failure") == [(young,)]


@pytest.mark.usefixtures("worker")
def test_it_goes_with_its_generation(alice: Person, admin_sql: SQL, look: Look) -> None:
    wanted = submit(alice.caller)
    with in_tenant(alice.tenant.pk):
        Failure.objects.create(generation_id=wanted, code="lost")
        admin_sql.execute("UPDATE generation_generation SET status = 'failed'")
        remove_generation(wanted)
    assert look("SELECT id FROM generation_failure") == []
