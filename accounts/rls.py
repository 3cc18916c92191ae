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


# Append-only tables lose rows in one case only: with their tenant, when its days of grace are over. The function runs
# as the tables' owner, who is under row-level security too and sees the rows of that tenant while it runs, no others.
ERASE_HISTORY = """
CREATE FUNCTION erase_history(gone uuid, most integer) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  name text;
  erased bigint := 0;
  count bigint;
BEGIN
  PERFORM set_config('app.erasing', gone::text, true);
  IF NOT EXISTS (SELECT FROM public.accounts_tenant WHERE id = gone AND delete_after <= now()) THEN
    RAISE EXCEPTION 'this tenant is not to be deleted now' USING ERRCODE = 'QS002';
  END IF;
  FOREACH name IN ARRAY ARRAY[{tables}] LOOP
    EXECUTE format('DELETE FROM public.%I WHERE ctid = ANY(ARRAY('
                   'SELECT ctid FROM public.%I WHERE tenant_id = $1 LIMIT $2))', name, name) USING gone, most;
    GET DIAGNOSTICS count = ROW_COUNT;
    erased := erased + count;
  END LOOP;
  PERFORM set_config('app.erasing', '', true);
  RETURN erased;
END $$
"""


def allow_erasing(*tables: str) -> RunSQL:
    """Let workers remove the rows of a tenant that is to be deleted from these append-only tables."""
    mine = "= current_setting('app.erasing', true)"
    listed = ", ".join(f"'{table}'" for table in tables)
    forward: list[Any] = [
        ERASE_HISTORY.format(tables=listed),
        "REVOKE ALL ON FUNCTION erase_history(uuid, integer) FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION erase_history(uuid, integer) TO studio_worker",
        f"CREATE POLICY erase ON accounts_tenant FOR SELECT TO studio_owner USING (id::text {mine})",
        *(f"CREATE POLICY erase ON {table} TO studio_owner USING (tenant_id::text {mine})" for table in tables),
    ]
    return RunSQL(forward, reverse_sql=RunSQL.noop)
