"""PostgreSQL's dialect without a server, so that settings, types and migrations files work before one is there."""

from __future__ import annotations

from typing import Any, NoReturn

from django.db.backends.postgresql import base
from django.db.utils import OperationalError


class NoDatabase(OperationalError):
    """Nobody has said where the database is; the message says what to do."""


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's PostgreSQL backend with a connection that refuses to open."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> NoReturn:
        raise NoDatabase(
            "DATABASE_URL is not set and no studio runs on this state folder. Start one (`make run`), or set "
            "DATABASE_URL, DATABASE_OWNER_URL and DATABASE_WORKER_URL (docs/operations.md)."
        )
