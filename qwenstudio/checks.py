"""What stops a process at its start: a database role that would see through the policies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connection


@register(Tags.database)
def check_role(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Refuse a role that row-level security does not hold, and tenant tables that do not force it."""
    if not databases:
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = session_user")
        name, unbound = cursor.fetchone()
        cursor.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
            "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attname = 'tenant_id' "
            "AND c.relrowsecurity AND NOT c.relforcerowsecurity"
        )
        unforced = [row[0] for row in cursor.fetchall()]
    found: list[CheckMessage] = []
    if unbound:
        found.append(
            Error(
                f"The database role {name} is a superuser or bypasses row-level security: tenants would not be apart.",
                hint="Use the roles of deploy/postgres/roles.sql in DATABASE_URL and its kin.",
                id="studio.E001",
            )
        )
    found.extend(
        Error(f"Table {table} does not force row-level security.", hint="Run manage.py migrate.", id="studio.E002")
        for table in unforced
    )
    return found
