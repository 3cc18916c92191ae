"""Migration operations that put a table under row-level security; `docs/data.md` tells the rules they emit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.migrations import RunSQL

APP_ROLES = "studio_web, studio_worker, studio_staff"

# plpgsql and STABLE: it may raise, and the planner still uses it as an index condition.
APP_TENANT = """
CREATE FUNCTION app_tenant() RETURNS uuid LANGUAGE plpgsql STABLE AS $$
DECLARE found text := current_setting('app.tenant', true);
BEGIN
  IF found IS NULL OR found = '' THEN
    RAISE EXCEPTION 'no tenant in scope' USING ERRCODE = 'QS001';
  END IF;
  RETURN found::uuid;
END $$
"""


def create_roles_grants() -> RunSQL:
    """Let the application's roles use what exists, and what later migrations create."""
    return RunSQL(
        [
            APP_TENANT,
            f"GRANT USAGE ON SCHEMA public TO {APP_ROLES}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {APP_ROLES}",
            f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {APP_ROLES}",
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {APP_ROLES}",
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {APP_ROLES}",
        ],
        reverse_sql=[
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON SEQUENCES FROM {APP_ROLES}",
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM {APP_ROLES}",
            "DROP FUNCTION app_tenant()",
        ],
    )


def protect(
    table: str,
    *,
    column: str = "tenant_id",
    append_only: bool = False,
    references: Sequence[tuple[str, str]] = (),
) -> RunSQL:
    """Put a table under row-level security.

    Web sees the tenant in scope only; staff and worker see all. `references` are composite foreign keys
    `(tenant_id, column) -> (tenant_id, id)`: a plain one ignores policies and would accept another tenant's id.
    An append-only table can be read and added to, by nobody changed.
    """
    forward: list[Any] = [  # RunSQL takes texts and pairs in one list
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant ON {table} TO studio_web "
        f"USING ({column} = app_tenant()) WITH CHECK ({column} = app_tenant())",
        f"CREATE POLICY everybody ON {table} TO studio_staff, studio_worker USING (true) WITH CHECK (true)",
    ]
    if column == "tenant_id":
        forward.append(f"ALTER TABLE {table} ADD CONSTRAINT {table}_tenant_key UNIQUE (tenant_id, id)")
    for name, parent in references:
        forward.append(
            f"ALTER TABLE {table} ADD CONSTRAINT {table}_{name}_tenant_fk FOREIGN KEY (tenant_id, {name}) "
            f"REFERENCES {parent} (tenant_id, id) DEFERRABLE INITIALLY DEFERRED"
        )
    if append_only:
        forward.append(f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM {APP_ROLES}")
    return RunSQL(forward, reverse_sql=RunSQL.noop)
