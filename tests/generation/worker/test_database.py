"""PostgreSQL goes away and comes back: no scope, no row and no worker is lost with its connection."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import OperationalError, connection, transaction

from accounts.domain.sql import fetch_one
from accounts.tenancy import across_tenants, in_tenant
from generation.worker.serve import EXIT_STUCK
from qwenstudio.embedded import Services
from tests.chaos.rig import Rig, Submit, row_of, wait_for, wait_until
from tests.factories import Person, make_tenant

Sql = psycopg.Connection[tuple[Any, ...]]
COUNT = "SELECT count(*)::int AS rows FROM accounts_apikey"


@pytest.fixture
def tenant(db: None) -> UUID:
    return make_tenant("A")[0].pk


def cut(admin_sql: Sql) -> None:
    """End the session of this thread's own connection, as a restart does."""
    connection.ensure_connection()
    found = admin_sql.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.connection.info.backend_pid,))
    assert found.fetchone() == (True,)


def test_scope_is_entered_over_a_new_connection(tenant: UUID, admin_sql: Sql) -> None:
    cut(admin_sql)
    with in_tenant(tenant):
        assert fetch_one("SELECT app_tenant() AS tenant") == {"tenant": tenant}
        cut(admin_sql)
    cut(admin_sql)
    with across_tenants():
        assert fetch_one(COUNT) == {"rows": 0}


def test_in_a_transaction_the_loss_is_djangos_error(tenant: UUID, admin_sql: Sql) -> None:
    def enter_scope() -> None:
        with transaction.atomic():
            cut(admin_sql)
            with in_tenant(tenant):
                pass

    with pytest.raises(OperationalError):
        enter_scope()
    with in_tenant(tenant):
        assert fetch_one(COUNT) == {"rows": 0}


def test_restart_in_mid_tail_leaves_no_row_behind(rig: Rig, alice: Person, submit: Submit) -> None:
    """The tail keeps its connection between two pictures: it breaks there, before the next row's first statement."""
    rows = [submit(alice, prompt=f"picture {number}") for number in range(4)]
    rig.start_worker(lease=30, SLEEPING_STEP_S="0.1", SLEEPING_DECODE_S="1")
    wait_for(rig, rows[0], "succeeded")
    for row in rows[1:]:
        assert rig.cut_connections() > 0
        wait_for(rig, row, "succeeded", seconds=60)
    assert [row_of(rig, row, "attempt", "lost") for row in rows] == [(0, 0)] * 4
    assert rig.end("worker") == 0


def test_waiting_for_the_database_is_no_hanging_store(rig: Rig, alice: Person, submit: Submit, tmp_path: Path) -> None:
    """The picture is stored within its deadline; that nobody can own it for longer is not the worker's fault."""
    held = tmp_path / "held"
    child = rig.start_impatient(lease=30, SLEEPING_DECODE_S="1", SLEEPING_DECODE_WAITS=str(held))
    wait_for(rig, submit(alice, prompt="measured"), "succeeded")
    held.touch()  # it is not stored before the database is away
    wanted = submit(alice, prompt="stored without a database")
    wait_for(rig, wanted, "running")
    with rig.without_postgres():
        held.unlink()
        wait_until(lambda: "while I finish a row" in rig.log("worker"), seconds=60, what=rig.log("worker"))
        time.sleep(6)
        assert child.poll() is None, rig.log("worker")
    wait_for(rig, wanted, "succeeded", seconds=60)
    assert row_of(rig, wanted, "attempt", "lost") == (0, 0)
    assert rig.end("worker") == 0


def test_renewal_that_hangs_ends_the_process(rig: Rig, alice: Person, services: Services) -> None:
    """A silent network, a frozen server: here a lock that nobody gives back."""
    child = rig.start_worker(lease=5)
    rig.wait_for_worker()
    with psycopg.connect(services.superuser_url) as holder:
        holder.execute("LOCK TABLE generation_worker IN ACCESS EXCLUSIVE MODE")
        assert child.wait(90) == EXIT_STUCK
    assert "leases: renewal has not ended after" in rig.log("worker")
