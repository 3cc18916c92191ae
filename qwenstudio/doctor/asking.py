"""Statements over the worker's role, which sees every tenant's rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from qwenstudio.doctor.database import connect
from qwenstudio.settings import database_urls


def ask_database(*statements: tuple[str, Sequence[Any]]) -> list[list[tuple[Any, ...]]] | None:
    """The rows of each; `None` without a database, of which its own check has said so."""
    if not database_urls["worker"]:
        return None
    try:
        with connect(database_urls["worker"]) as database:
            return [database.execute(sql.encode(), values).fetchall() for sql, values in statements]
    except psycopg.Error:
        return None
