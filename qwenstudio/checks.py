"""What stops a process at its start: a database role that would see through the policies.

`manage.py migrate` asks by Django's system check. Every other process asks once, over the first connection that it
opens; a server asks before it answers anything, if its database is there by then.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import psycopg
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.backends.signals import connection_created

from qwenstudio.connections import connection_parameters

logger = logging.getLogger(__name__)

# Of the role that signed in and of every role that it may take by SET ROLE.
ROLE_SQL = (
    "SELECT session_user, bool_or(rolsuper OR rolbypassrls), bool_or(rolname = 'studio_worker')"
    " FROM pg_roles WHERE pg_has_role(session_user, oid, 'MEMBER')"
)
REMEDY = (
    "Use the roles of deploy/postgres/roles.sql: studio_web in DATABASE_URL, studio_worker in DATABASE_WORKER_URL, "
    "studio_owner in DATABASE_OWNER_URL."
)

_asking = threading.Lock()
_role_is_right = False


def find_fault(database: psycopg.Connection[Any], *, web: bool) -> str:
    """Why this session's role must not serve tenants; empty when it may. `web`: it is for pages and API."""
    row = database.execute(ROLE_SQL).fetchone()
    assert row is not None  # noqa: S101  (an aggregate always has a row)
    name, unbound, sees_all = row
    if unbound:
        return f"The database role {name} is a superuser or bypasses row-level security, or may take a role that does."
    if web and sees_all:
        return f"The database role {name} is studio_worker or may take it: pages would see the rows of all tenants."
    return ""


def check_at_start() -> None:
    """For servers, before their first request. A database that is down stops no start: the first page asks again."""
    if connection.settings_dict["ENGINE"] == "qwenstudio.nodb":
        return
    try:
        with psycopg.connect(**connection_parameters()) as database:
            _refuse_wrong_role(database)
    except psycopg.Error as error:
        logger.warning("the database's role could not be checked, the first page tries again: %s", error)


def _on_connection(*, connection: Any, **_: object) -> None:
    if _role_is_right or connection.alias != DEFAULT_DB_ALIAS or settings.PROCESS == "owner":
        return
    try:
        _refuse_wrong_role(connection.connection)
    except BaseException:
        connection.close()  # who catches this must not go on with it
        raise


connection_created.connect(_on_connection, dispatch_uid="qwenstudio.checks")


def _refuse_wrong_role(database: psycopg.Connection[Any]) -> None:
    global _role_is_right
    with _asking:
        if _role_is_right:
            return
        if fault := find_fault(database, web=settings.PROCESS in ("web", "stream")):
            raise ImproperlyConfigured(f"{fault} {REMEDY}")
        _role_is_right = True


@register(Tags.database)
def check_role(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Refuse a role that row-level security does not hold, and tenant tables that do not force it."""
    if not databases:
        return []
    with connection.cursor() as cursor:
        fault = find_fault(connection.connection, web=False)
        cursor.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
            "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attname = 'tenant_id' "
            "AND c.relrowsecurity AND NOT c.relforcerowsecurity"
        )
        unforced = [row[0] for row in cursor.fetchall()]
    found: list[CheckMessage] = [Error(fault, hint=REMEDY, id="studio.E001")] if fault else []
    found.extend(
        Error(f"Table {table} does not force row-level security.", hint="Run manage.py migrate.", id="studio.E002")
        for table in unforced
    )
    return found
