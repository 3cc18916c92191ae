"""Statements that say more than the ORM can, over Django's connection and so in the scope in force."""

from __future__ import annotations

from typing import Any

from django.db import connection


def fetch_all(sql: str, **parameters: Any) -> list[dict[str, Any]]:
    """The rows of a statement with `%(name)s` parameters."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def fetch_one(sql: str, **parameters: Any) -> dict[str, Any] | None:
    """The first row of a statement, or `None`."""
    return next(iter(fetch_all(sql, **parameters)), None)


def execute(sql: str, **parameters: Any) -> int:
    """Run a statement; returns how many rows it changed."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)
