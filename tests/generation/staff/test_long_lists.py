"""Lists and the now page with many rows: as many queries as with few, none of them over the whole table's words."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.chaos.rig import offer_sleeping_model
from tests.crowd import fill

SQL = psycopg.Connection[tuple[Any, ...]]
TENANTS, ROWS = 60, 6_000  # benchmarks/admin.py measures 1,000 and 100,000

PAGES = (
    "/admin/now/",
    "/admin/now/?part",
    "/admin/generation/generation/",
    "/admin/generation/generation/?p=2",
    "/admin/generation/generation/?status__exact=failed&lane=blue",
    "/admin/generation/generation/?q=tenant 3",
    "/admin/generation/generation/?of=tenant 3&day=2026-01-01",
    "/admin/generation/failure/",
    "/admin/accounts/tenant/",
    "/admin/accounts/auditevent/",
    "/admin/accounts/auditevent/?what=key.&of=tenant 3",
    "/admin/accounts/ledgerentry/",
    "/admin/accounts/ledgerentry/?q=tenant 3",
    "/admin/search/?q=tenant",
)


def count(client: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(path)
    assert answer.status_code == 200, path
    assert b"a red circle" not in answer.content
    return len(queries)


@pytest.fixture
def few(staff: Client, admin_sql: SQL) -> dict[str, int]:
    """Queries of each page with a handful of rows."""
    offer_sleeping_model()
    fill(admin_sql, rows=60, tenants=6)
    return {path: count(staff, path) for path in PAGES}


def test_as_many_queries_with_many_rows(few: dict[str, int], staff: Client, admin_sql: SQL) -> None:
    for table in ("ledgerentry", "auditevent"):
        admin_sql.execute(f"DELETE FROM accounts_{table}")
    admin_sql.execute("DELETE FROM generation_failure; DELETE FROM generation_worker; DELETE FROM generation_fairclock")
    admin_sql.execute("DELETE FROM generation_generation; DELETE FROM accounts_tenant")
    fill(admin_sql, rows=ROWS, tenants=TENANTS)
    many = {path: count(staff, path) for path in PAGES}
    assert many == few
    assert max(many.values()) < 16 or {path: n for path, n in many.items() if n >= 16}.keys() <= {"/admin/now/"}
