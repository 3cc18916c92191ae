"""Statements that say more than the ORM can, over Django's connection and so in the scope in force."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import connection


def fetch_all(sql: str, **parameters: Any) -> list[dict[str, Any]]:
    """The rows of a statement with `%(name)s` parameters."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def fetch_prepared(sql: str, **parameters: Any) -> list[dict[str, Any]]:
    """The same for a long statement that is run again and again: the connection plans it once, where it may.

    It may where settings name a `prepare_threshold`, as they do for workers. PostgreSQL takes two milliseconds to plan
    the claim and one to run it. Parameters go to the server apart from the text, so each needs a type that it can see.
    """
    connection.ensure_connection()
    connection.validate_no_broken_transaction()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(sql.encode(), parameters, prepare=True)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def fetch_one(sql: str, **parameters: Any) -> dict[str, Any] | None:
    """The first row of a statement, or `None`."""
    return next(iter(fetch_all(sql, **parameters)), None)


def execute(sql: str, **parameters: Any) -> int:
    """Run a statement; returns how many rows it changed."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)
