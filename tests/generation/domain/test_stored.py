"""Storage: counted where pictures come and go, a bound for submits, and counted anew on demand."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from accounts.domain.callers import caller_of_member
from accounts.errors import StorageFull
from accounts.models import Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.claim import ClaimedRow
from generation.domain.finish import finish_slice
from generation.domain.remove import remove_generation
from generation.domain.stored import rebuild_all_stored, rebuild_stored
from tests.factories import Person, make_plan
from tests.generation.domain.desk import Look, claim, draw, submit

pytestmark = pytest.mark.usefixtures("worker")
ONE = 110  # bytes of a made-up picture and its thumbnail


def stored(person: Person) -> int:
    with across_tenants():
        return Tenant.objects.get(pk=person.tenant.pk).stored_bytes


def finished(person: Person, **fields: Any) -> ClaimedRow:
    submit(person.caller, **fields)
    taken = claim()
    assert taken is not None
    assert finish_slice(row=taken.rows[0], images=draw(taken.rows[0]), run_ms=5) != "lost"
    return taken.rows[0]


def test_files_and_thumbnails_count_until_they_are_removed(alice: Person, mallory: Person, look: Look) -> None:
    rows = [finished(alice), finished(alice, n=3)]
    assert look("SELECT sum(bytes), sum(thumbnail_bytes) FROM generation_image") == [(400, 40)]
    assert (stored(alice), stored(mallory)) == (4 * ONE, 0)
    with in_tenant(alice.tenant.pk):
        remove_generation(rows[1].id)
    assert stored(alice) == ONE
    with across_tenants():
        assert rebuild_stored(alice.tenant.pk) == 0


def test_a_lost_finish_stores_nothing(alice: Person) -> None:
    submit(alice.caller)
    taken = claim()
    assert taken is not None
    row = taken.rows[0]
    assert finish_slice(row=row, images=draw(row), run_ms=5) == "finished"
    assert finish_slice(row=row, images=draw(row), run_ms=5) == "lost"
    assert stored(alice) == ONE


def test_full_storage_refuses_and_says_what_to_do(alice: Person, look: Look) -> None:
    with across_tenants():
        Tenant.objects.filter(pk=alice.tenant.pk).update(plan=make_plan(storage_bytes=2 * ONE))
    finished(alice)
    caller = caller_of_member(user_id=alice.user.pk, tenant_id=alice.tenant.pk)
    submit(caller)  # there is room, and what was accepted is drawn
    submit(caller)
    for _ in range(2):
        taken = claim(models={"demo": 1})
        assert taken is not None
        finish_slice(row=taken.rows[0], images=draw(taken.rows[0]), run_ms=5)
    assert stored(alice) == 3 * ONE
    before = look("SELECT count(*) FROM accounts_ledgerentry")
    full = caller_of_member(user_id=alice.user.pk, tenant_id=alice.tenant.pk)
    with pytest.raises(StorageFull) as refused:
        submit(full)
    error = refused.value
    assert (error.kind, error.limit, error.used, error.quota) == ("conflict", "storage_bytes", 330, 220)
    assert "take 330 bytes of the 220 bytes" in error.message and "delete some" in error.message
    assert look("SELECT count(*) FROM accounts_ledgerentry") == before
    with in_tenant(alice.tenant.pk):
        for (id,) in look("SELECT id FROM generation_generation"):
            remove_generation(id)
    submit(caller_of_member(user_id=alice.user.pk, tenant_id=alice.tenant.pk))


def test_rebuild_counts_anew_and_measures_old_thumbnails(alice: Person, look: Look, media: Path) -> None:
    finished(alice)
    [(thumbnail,)] = look("SELECT thumbnail FROM generation_image")
    (media / thumbnail).parent.mkdir(parents=True)
    (media / thumbnail).write_bytes(b"x" * 33)
    look("UPDATE generation_image SET thumbnail_bytes = 0 RETURNING 1")
    look("UPDATE accounts_tenant SET stored_bytes = 7 RETURNING 1")
    look("UPDATE accounts_counter SET used = 99 WHERE scope = 'tenant' RETURNING 1")
    out = io.StringIO()
    call_command("rebuild", stdout=out)
    found = json.loads(out.getvalue())
    assert found == {"tenants": 1, "wrong": {str(alice.tenant.pk): {"counters": 4, "stored_bytes": 7 - 133}}}
    assert look("SELECT thumbnail_bytes FROM generation_image") == [(33,)]
    assert stored(alice) == 133
    assert rebuild_all_stored() == 0


def test_parallel_finishes_removals_and_rebuilds_lose_nothing(alice: Person) -> None:
    rows = []
    for _ in range(12):
        submit(alice.caller)
    while (taken := claim(models={"demo": 1})) is not None:
        rows.append(taken.rows[0])
        if len(rows) == 8:  # the plan's concurrency
            break
    errors: list[str] = []

    def work(row: ClaimedRow, number: int) -> None:
        try:
            finish_slice(row=row, images=draw(row), run_ms=5)
            if number % 2:
                with in_tenant(row.tenant):
                    remove_generation(row.id)
            rebuild_stored(row.tenant)
        except Exception as error:  # a thread's error would be lost otherwise
            errors.append(repr(error))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(row, number)) for number, row in enumerate(rows)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert errors == []
    assert stored(alice) == 4 * ONE
    assert rebuild_stored(alice.tenant.pk) == 0
