"""The fixtures themselves: what a test wrote is gone, what migrations wrote is back."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import connection

Sql = psycopg.Connection[tuple[Any, ...]]


@pytest.mark.django_db
def test_web_role_is_bound_by_policies() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT session_user, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = session_user")
        assert cursor.fetchone() == ("studio_web", False)


@pytest.mark.parametrize("turn", [1, 2])
def test_rows_do_not_survive_a_test(admin_sql: Sql, turn: int) -> None:
    assert admin_sql.execute("SELECT count(*) FROM auth_group WHERE name = 'left behind'").fetchone() == (0,)
    admin_sql.execute("INSERT INTO auth_group (name) VALUES ('left behind')")


@pytest.mark.parametrize("turn", [1, 2])
def test_seeds_are_put_back(admin_sql: Sql, turn: int) -> None:
    assert admin_sql.execute("SELECT title FROM accounts_plan").fetchall() == [("Default",)]
    admin_sql.execute("UPDATE accounts_plan SET title = 'Changed'")


def test_owner_is_under_row_level_security_too(owner_sql: Sql) -> None:
    rows = owner_sql.execute("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user").fetchall()
    assert rows == [(False, False)]


@pytest.mark.parametrize("turn", [1, 2])
def test_valkey_is_emptied(redis: Any, turn: int) -> None:
    assert redis.dbsize() == 0
    redis.set("left", "behind")
