"""The end of a tenant: nothing of it is left anywhere, everything of its neighbour is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.contrib.admin.models import LogEntry
from django.db import DatabaseError
from django.utils import timezone
from redis import Redis

from accounts.domain import errands
from accounts.domain.closing import ask_deletion, keep_tenant
from accounts.domain.errands import claim_errand, run_errand
from accounts.domain.invitations import invite_person
from accounts.domain.sql import fetch_one
from accounts.models import Errand, Tenant
from accounts.tenancy import across_tenants, in_tenant
from generation.domain import erase
from generation.domain.erase import tenant_tables
from generation.models import Generation
from generation.queue.progress import STREAM, publish
from tests.accounts.rows import make_row, tenant_models
from tests.factories import Person
from tests.generation.domain.desk import Look, claim, submit

AsWorker = Callable[[], AbstractContextManager[None]]
NAMED_SQL = """
SELECT c.table_name, c.column_name FROM information_schema.columns c
  JOIN information_schema.tables t USING (table_schema, table_name)
 WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.data_type = 'uuid'
   AND (c.column_name IN ('tenant_id', 'tenant'))
"""


def ask(who: Person) -> None:
    with in_tenant(who.tenant.pk):
        ask_deletion(by=who.caller, confirm=who.tenant.name)


def end_grace() -> None:
    with across_tenants():
        Tenant.objects.exclude(delete_after=None).update(delete_after=timezone.now() - timedelta(seconds=1))
        Errand.objects.update(due_at=timezone.now())


def run_errands(as_worker: AsWorker) -> list[str]:
    with as_worker():
        found = []
        while (claimed := claim_errand("test", slow=True)) is not None:
            found.append(run_errand(claimed))
        return found


def rows_of(tenant: UUID, admin: psycopg.Connection[tuple[Any, ...]]) -> dict[str, int]:
    """Every table that names a tenant, with how many rows name this one."""
    tables = [*admin.execute(NAMED_SQL).fetchall(), ("accounts_tenant", "id")]
    counts = {
        table: admin.execute(f'SELECT count(*) FROM {table} WHERE "{column}" = %s', [tenant]).fetchone()[0]  # type: ignore[index]
        for table, column in tables
    }
    return {table: int(count) for table, count in counts.items()}


def test_the_tables_are_those_of_the_database(admin_sql: psycopg.Connection[tuple[Any, ...]]) -> None:
    found = tenant_tables()
    assert sorted(found) == sorted(admin_sql.execute(NAMED_SQL).fetchall())
    order = [table for table, _ in found]
    assert order.index("generation_receipt") < order.index("generation_image") < order.index("generation_generation")
    assert order.index("accounts_keysecret") < order.index("accounts_apikey")


def fill(person: Person, media: Path) -> None:
    """A row in every table of a tenant, files, an invitation's token, an event in Redis."""
    with across_tenants():
        for model in tenant_models():
            make_row(model, tenant=person.tenant.pk)
    with in_tenant(person.tenant.pk):
        invite_person(by=person.caller, email="carol@example.com", role="member")
    file = media / str(person.tenant.pk) / "someone" / "2026-11" / "x.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    publish(tenant=person.tenant.pk, generation=person.key.pk, kind="queued")


def test_nothing_is_left_and_the_neighbour_is_untouched(
    alice: Person,
    bob: Person,
    mallory: Person,
    media: Path,
    redis: Redis,
    as_worker: AsWorker,
    admin_sql: psycopg.Connection[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(erase, "BATCH", 1)  # every table takes more than one
    for person in (alice, mallory):
        fill(person, media)
        submit(person.caller)
        LogEntry.objects.create(
            user=mallory.user, object_id=str(person.tenant.pk), object_repr=person.tenant.name, action_flag=2
        )
    mine, theirs = rows_of(alice.tenant.pk, admin_sql), rows_of(mallory.tenant.pk, admin_sql)
    assert [table for rows in (mine, theirs) for table, count in rows.items() if not count] == []

    ask(alice)
    assert run_errands(as_worker) == ["done"]  # the first one cancels; the second is not due
    with in_tenant(alice.tenant.pk):
        assert set(Generation.objects.values_list("status", flat=True)) == {"canceled"}
    still = rows_of(alice.tenant.pk, admin_sql)
    assert still["generation_image"] == mine["generation_image"] and (media / str(alice.tenant.pk)).exists()

    end_grace()
    assert run_errands(as_worker) == ["done"]
    assert {table: count for table, count in rows_of(alice.tenant.pk, admin_sql).items() if count} == {}
    assert rows_of(mallory.tenant.pk, admin_sql) == theirs
    assert [folder.name for folder in media.iterdir()] == [str(mallory.tenant.pk)]
    assert {fields[b"t"].decode() for _, fields in redis.xrange(STREAM)} == {str(mallory.tenant.pk)}
    assert list(LogEntry.objects.values_list("object_repr", flat=True)) == ["B"], "the admin's history knew its name"
    left = admin_sql.execute("SELECT tenant_id, action, target, detail FROM accounts_auditevent WHERE action = %s", [
        "tenant.deleted"
    ]).fetchall()  # fmt: skip
    assert [(row[0], row[2]) for row in left] == [(None, f"tenant:{alice.tenant.pk}")]
    assert left[0][3]["accounts_apikey"] >= 2 and left[0][3]["history"] > 2 and "name" not in left[0][3]
    assert alice.client.get("/keys/").status_code == 403, "the person is still signed in, and belongs to nothing"


def test_kept_tenant_is_left_alone(alice: Person, media: Path, as_worker: AsWorker, look: Look) -> None:
    fill(alice, media)
    ask(alice)
    keep_tenant(user=alice.user, tenant_id=alice.tenant.pk, address=None)
    end_grace()
    before = look("SELECT count(*) FROM accounts_auditevent"), look("SELECT count(*) FROM generation_generation")
    assert run_errands(as_worker) == ["done", "done"]
    assert (
        look("SELECT count(*) FROM accounts_auditevent"),
        look("SELECT count(*) FROM generation_generation"),
    ) == before
    assert alice.client.get("/keys/").status_code == 200


def test_running_work_is_waited_for(alice: Person, media: Path, as_worker: AsWorker, look: Look) -> None:
    submit(alice.caller)
    with as_worker():
        assert claim() is not None
    ask(alice)
    end_grace()
    assert run_errands(as_worker) == ["retry", "retry"]
    assert look("SELECT cancel_requested_at IS NOT NULL FROM generation_generation") == [(True,)]
    assert "StillRunning" in look("SELECT error FROM accounts_errand WHERE kind = 'delete_tenant'")[0][0]
    assert look("SELECT count(*) FROM accounts_tenant WHERE delete_after IS NOT NULL") == [(1,)]


def test_interrupted_deletion_goes_on(
    alice: Person,
    media: Path,
    as_worker: AsWorker,
    admin_sql: psycopg.Connection[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(alice, media)
    ask(alice)
    run_errands(as_worker)
    end_grace()
    asked: list[int] = []

    def stop_at_the_tenth() -> bool:
        asked.append(1)
        return len(asked) == 10

    monkeypatch.setattr(errands, "is_ending", [stop_at_the_tenth])
    with as_worker():
        claimed = claim_errand("test", slow=True)
        assert claimed is not None and run_errand(claimed) == "retry"
    assert rows_of(alice.tenant.pk, admin_sql)["accounts_tenant"] == 1
    assert run_errands(as_worker) == ["done"]
    assert {table: count for table, count in rows_of(alice.tenant.pk, admin_sql).items() if count} == {}


def test_history_goes_only_with_its_tenant(alice: Person, as_worker: AsWorker, look: Look) -> None:
    events = look("SELECT count(*) FROM accounts_auditevent")
    with as_worker(), pytest.raises(DatabaseError, match="not to be deleted now"), across_tenants():
        fetch_one("SELECT erase_history(%(tenant)s, 10)", tenant=alice.tenant.pk)
    ask(alice)
    with as_worker(), pytest.raises(DatabaseError, match="not to be deleted now"), across_tenants():
        fetch_one("SELECT erase_history(%(tenant)s, 10)", tenant=alice.tenant.pk)
    end_grace()
    with in_tenant(alice.tenant.pk), pytest.raises(DatabaseError, match="permission denied"):
        fetch_one("SELECT erase_history(%(tenant)s, 10)", tenant=alice.tenant.pk)
    with across_tenants(), pytest.raises(DatabaseError, match="permission denied"):
        fetch_one("SELECT erase_history(%(tenant)s, 10)", tenant=alice.tenant.pk)
    assert look("SELECT count(*) FROM accounts_auditevent")[0][0] == events[0][0] + 1
