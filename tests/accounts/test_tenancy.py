"""The scope itself, and its four traps: a lazily rendered page, a stream, a nested scope, a write without scope."""

from __future__ import annotations

import random
import threading
from itertools import zip_longest
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.http import StreamingHttpResponse

from accounts.errors import NoTenant
from accounts.ids import uuid7
from accounts.models import ApiKey, AuditEvent, Tenant
from accounts.tenancy import NOWHERE, across_tenants, current_scope, current_tenant, in_tenant
from tests.accounts.rows import make_row
from tests.factories import Person, make_tenant

Sql = psycopg.Connection[tuple[Any, ...]]
routes = pytest.mark.urls("tests.accounts.routes")


@pytest.fixture
def tenants(db: None) -> tuple[UUID, UUID]:
    return make_tenant("A")[0].pk, make_tenant("B")[0].pk


def settings_there() -> tuple[str, str]:
    """What the database believes: tenant and role."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.tenant', true), current_user")
        tenant, role = cursor.fetchone()
        return tenant, role


def add_keys(person: Person, *names: str) -> None:
    """Keys with telling names, instead of the factory's own."""
    with in_tenant(person.tenant.pk):
        ApiKey.objects.all().update(name=names[0])
        for name in names[1:]:
            ApiKey.objects.create(tenant=person.tenant, user=person.user, name=name, prefix="qs", scopes=[])


@routes
@pytest.mark.parametrize("page", ["/lazy/", "/lazy-raw/"])
def test_lazily_rendered_page_shows_its_tenants_rows(page: str, alice: Person, mallory: Person) -> None:
    add_keys(alice, "a1", "a2")
    add_keys(mallory, "m1")
    assert alice.client.get(page).content == b"a1;a2;"
    assert mallory.client.get(page).content == b"m1;"


@routes
def test_streamed_csv_stays_in_its_tenant(alice: Person, mallory: Person) -> None:
    """Two streams are read in turns by one thread: each piece must come from its own tenant."""
    add_keys(alice, "a1", "a2", "a3")
    add_keys(mallory, "m1", "m2")
    ours, theirs = alice.client.get("/csv/"), mallory.client.get("/csv/")
    assert isinstance(ours, StreamingHttpResponse)
    pieces = list(zip_longest(ours.streaming_content, theirs.streaming_content))
    assert b"".join(piece for piece, _ in pieces) == b"name\na1\na2\na3\n"
    assert b"".join(piece for _, piece in pieces if piece) == b"name\nm1\nm2\n"
    assert current_scope() == NOWHERE


@routes
def test_abandoned_stream_leaves_no_scope(alice: Person) -> None:
    response = alice.client.get("/csv/")
    next(iter(response.streaming_content))
    response.close()
    assert current_scope() == NOWHERE
    assert settings_there()[0] == ""


def test_nested_scope_returns_to_the_outer_one(tenants: tuple[UUID, UUID]) -> None:
    ours, theirs = tenants
    with in_tenant(ours):
        with in_tenant(theirs):
            assert Tenant.objects.get().pk == theirs
            with across_tenants():
                assert Tenant.objects.count() == 2
                assert settings_there() == ("", "studio_staff")
            assert Tenant._base_manager.get().pk == theirs
        assert Tenant._base_manager.get().pk == ours
        assert settings_there() == (str(ours), "studio_web")
    assert settings_there() == ("", "studio_web")


def test_nested_scope_returns_after_an_error_in_a_transaction(tenants: tuple[UUID, UUID]) -> None:
    """A failed transaction takes no settings; its rollback must bring the outer scope back."""
    ours, theirs = tenants
    with in_tenant(ours):
        with pytest.raises(DatabaseError), transaction.atomic(), in_tenant(theirs), connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")
        assert settings_there()[0] == str(ours)
        with transaction.atomic():
            with pytest.raises(DatabaseError), in_tenant(theirs), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT 1/0")
            assert Tenant._base_manager.get().pk == ours
        with pytest.raises(ValueError, match="ours"), transaction.atomic(), in_tenant(theirs):
            raise ValueError("ours")
        assert settings_there()[0] == str(ours)


def test_write_without_scope_raises_and_keeps_everything(tenants: tuple[UUID, UUID], admin_sql: Sql) -> None:
    """Zero rows would make a worker throw a paid picture away; an error keeps it."""
    from generation.models import Generation

    with across_tenants():
        row = make_row(Generation, tenant=tenants[0])
    before = admin_sql.execute("SELECT * FROM generation_generation").fetchall()
    with pytest.raises(DatabaseError, match="no tenant in scope"), connection.cursor() as cursor:
        cursor.execute("UPDATE generation_generation SET status = 'succeeded' WHERE id = %s AND fence = 0", [row.pk])
    with pytest.raises(NoTenant):
        Generation.objects.filter(pk=row.pk).update(status="succeeded")
    with pytest.raises(NoTenant):
        ApiKey(name="x", prefix="x", scopes=[], user_id=uuid7()).save()
    assert admin_sql.execute("SELECT * FROM generation_generation").fetchall() == before


def test_managers_refuse_outside_of_any_scope(db: None) -> None:
    with pytest.raises(NoTenant, match="in_tenant"):
        current_tenant()
    with pytest.raises(NoTenant):
        AuditEvent.objects.count()


def test_pooled_connection_forgets_its_last_borrower(tenants: tuple[UUID, UUID]) -> None:
    """The connection goes back to the pool with its settings; whoever takes it next must not see them."""
    for _ in range(3):
        with in_tenant(tenants[0]):
            assert Tenant._base_manager.get().pk == tenants[0]
            soiled = connection.connection.info.backend_pid
            connection.close()  # inside the scope: nothing is reset on the server
        seen: set[int] = set()
        for _ in range(20):  # the pool hands its connections out in turns: go on until that very one comes back
            with pytest.raises(DatabaseError, match="no tenant in scope"):
                Tenant._base_manager.count()
            assert settings_there() == ("", "studio_web")
            seen.add(connection.connection.info.backend_pid)
            connection.close()
            if soiled in seen:
                break
        assert soiled in seen


def test_staff_role_does_not_stay_on_a_pooled_connection(tenants: tuple[UUID, UUID]) -> None:
    for _ in range(4):
        with across_tenants():
            assert Tenant._base_manager.count() == 2
            connection.close()
        with in_tenant(tenants[1]):
            assert Tenant._base_manager.get().pk == tenants[1]
            assert settings_there()[1] == "studio_web"
        connection.close()


def test_interleaved_threads_over_one_pool_do_not_mix(db: None) -> None:
    """6 tenants, 3 pooled connections, 4 threads, 400 borrowings."""
    tenants = [make_tenant(f"T{number}")[0].pk for number in range(6)]
    mixed: list[object] = []

    def work(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(100):
            tenant = choose.choice(tenants)
            with in_tenant(tenant):
                if (found := [row.pk for row in Tenant._base_manager.all()]) != [tenant]:
                    mixed.append((tenant, found))
                if choose.random() < 0.5:
                    connection.close()
            if choose.random() < 0.5:
                connection.close()
        connections.close_all()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert mixed == []
