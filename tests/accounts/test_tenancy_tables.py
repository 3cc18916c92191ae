"""The database alone keeps tenants apart: every table, with the ORM's filters taken away.

The tables come from the database and the rows from the models, so a new table is held to this without a new test.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, connection, models, transaction

from accounts.ids import uuid7
from accounts.models import ApiKey, KeySecret, Tenant
from accounts.tenancy import GLOBAL_TABLES, across_tenants, in_tenant
from tests.accounts.rows import make_row, tenant_column, tenant_models
from tests.factories import make_tenant

TENANT_MODELS = tenant_models()
APPEND_ONLY = ("accounts_ledgerentry", "accounts_auditevent")
Sql = psycopg.Connection[tuple[Any, ...]]

FOREIGN_KEYS_SQL = """
SELECT c.conrelid::regclass::text,
       (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(c.conkey) WITH ORDINALITY k (num, n)
          JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num),
       c.confrelid::regclass::text,
       (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(c.confkey) WITH ORDINALITY k (num, n)
          JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.num)
  FROM pg_constraint c WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace
"""


@pytest.fixture
def tenants(db: None) -> tuple[UUID, UUID]:
    """Two tenants."""
    return make_tenant("A")[0].pk, make_tenant("B")[0].pk


def fill(model: type[models.Model], *tenants: UUID) -> None:
    """One row for each tenant."""
    with across_tenants():
        for tenant in tenants:
            make_row(model, tenant=tenant)


def count(sql: str, *values: object) -> int:
    """The first number that a statement answers, under the scope in force."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return int(cursor.fetchone()[0])


def change(sql: str, *values: object) -> int:
    """How many rows a statement changes, under the scope in force."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return int(cursor.rowcount)


def test_tests_run_under_the_web_role(db: None) -> None:
    """Otherwise everything below would prove nothing."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_user, (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user), "
            "pg_has_role('studio_web', 'studio_staff', 'MEMBER')"
        )
        assert cursor.fetchone() == ("studio_web", False, True)


@pytest.mark.parametrize("model", TENANT_MODELS, ids=lambda model: model._meta.label)
def test_no_foreign_rows_without_the_managers(
    model: type[models.Model], tenants: tuple[UUID, UUID], admin_sql: Sql
) -> None:
    ours, theirs = tenants
    fill(model, ours, theirs)
    table, column = model._meta.db_table, tenant_column(model)
    stored = dict(admin_sql.execute(f"SELECT {column}, count(*) FROM {table} GROUP BY 1").fetchall())
    assert stored[ours] and stored[theirs], "both tenants must have rows, or 0 would mean nothing"
    with in_tenant(ours):
        assert count(f"SELECT count(*) FROM {table}") == stored[ours]
        assert count(f"SELECT count(*) FROM {table} WHERE {column} = %s", theirs) == 0
        assert model._base_manager.count() == stored[ours]
        assert not model._base_manager.filter(**{column: theirs}).exists()


@pytest.mark.parametrize("model", TENANT_MODELS, ids=lambda model: model._meta.label)
def test_foreign_rows_cannot_be_changed(model: type[models.Model], tenants: tuple[UUID, UUID], admin_sql: Sql) -> None:
    ours, theirs = tenants
    fill(model, ours, theirs)
    table, column = model._meta.db_table, tenant_column(model)
    before = admin_sql.execute(f"SELECT * FROM {table} WHERE {column} = %s", [theirs]).fetchall()
    with in_tenant(ours):
        for statement in (
            f"UPDATE {table} SET {column} = {column} WHERE {column} = %s",
            f"DELETE FROM {table} WHERE {column} = %s",
        ):
            if table in APPEND_ONLY:
                with pytest.raises(DatabaseError, match="permission denied"):
                    change(statement, theirs)
            else:
                assert change(statement, theirs) == 0
    assert admin_sql.execute(f"SELECT * FROM {table} WHERE {column} = %s", [theirs]).fetchall() == before


@pytest.mark.parametrize("model", TENANT_MODELS, ids=lambda model: model._meta.label)
def test_rows_cannot_be_given_to_another_tenant(model: type[models.Model], tenants: tuple[UUID, UUID]) -> None:
    ours, theirs = tenants
    fill(model, ours, theirs)
    table, column = model._meta.db_table, tenant_column(model)
    names = [field.column for field in model._meta.concrete_fields if field.column not in (column, "id")]
    listed = ", ".join(f'"{name}"' for name in names)
    copied = listed and f", {listed}"
    given = (
        f"INSERT INTO {table} ({column}, id{copied}) SELECT %s::uuid, gen_random_uuid(){copied} FROM {table} LIMIT 1"
    )
    if model is Tenant:  # its id is the tenant
        given = f"INSERT INTO {table} (id{copied}) SELECT %s::uuid{copied} FROM {table} LIMIT 1"
    with in_tenant(ours), pytest.raises(DatabaseError, match="row-level security"):
        change(given, uuid7() if model is Tenant else theirs)


@pytest.mark.parametrize("model", TENANT_MODELS, ids=lambda model: model._meta.label)
def test_no_scope_raises(model: type[models.Model], tenants: tuple[UUID, UUID]) -> None:
    """Zero rows has a meaning in our protocol, so a forgotten scope must be an error and not an empty answer."""
    fill(model, *tenants)
    table, column = model._meta.db_table, tenant_column(model)
    with pytest.raises(DatabaseError, match="no tenant in scope"):
        count(f"SELECT count(*) FROM {table}")
    with pytest.raises(DatabaseError, match="no tenant in scope"):
        model._base_manager.count()
    with pytest.raises(DatabaseError, match=r"no tenant in scope|permission denied"):
        change(f"UPDATE {table} SET {column} = {column}")


@pytest.mark.parametrize("model", TENANT_MODELS, ids=lambda model: model._meta.label)
def test_membership_of_the_staff_role_alone_shows_nothing(
    model: type[models.Model], tenants: tuple[UUID, UUID]
) -> None:
    """A plain GRANT of the staff role showed web every row: only SET ROLE may."""
    fill(model, *tenants)
    ours, theirs = tenants
    column = tenant_column(model)
    with in_tenant(ours):
        assert not model._base_manager.filter(**{column: theirs}).exists()
    with across_tenants():
        assert model._base_manager.filter(**{column: theirs}).exists()


def test_every_table_is_protected_or_listed(admin_sql: Sql) -> None:
    rows = admin_sql.execute(
        "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity, "
        "coalesce((SELECT array_agg(polname::text ORDER BY polname) FROM pg_policy "
        "  WHERE polrelid = c.oid AND NOT (polname = 'erase' AND polroles = ARRAY['studio_owner'::regrole::oid])), "
        "  '{}') "
        "FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
    ).fetchall()
    tables = {name for name, _, _ in rows}
    protected = {name for name, forced, policies in rows if forced and policies == ["everybody", "tenant"]}
    assert tables - protected - GLOBAL_TABLES.keys() == set(), "protect them, or list them with a reason"
    assert GLOBAL_TABLES.keys() - tables == set(), "listed, but gone"
    assert GLOBAL_TABLES.keys() & protected == set(), "listed as global, but protected"
    assert protected == {model._meta.db_table for model in TENANT_MODELS}, (
        "a protected table without a model is not tested"
    )


def test_no_views_see_through_the_policies(admin_sql: Sql) -> None:
    """A view runs with its owner's rights unless it says `security_invoker`."""
    views = admin_sql.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm') "
        "AND NOT coalesce(reloptions::text LIKE '%security_invoker=true%', false)"
    ).fetchall()
    assert views == []


def test_composite_foreign_keys_match_the_models(admin_sql: Sql) -> None:
    """Foreign keys ignore policies: between tenant tables each must carry the tenant."""
    tables = {model._meta.db_table for model in TENANT_MODELS}
    expected = {
        (model._meta.db_table, field.column, field.remote_field.model._meta.db_table)
        for model in TENANT_MODELS
        for field in model._meta.concrete_fields
        if isinstance(field, models.ForeignKey)
        and field.name != "tenant"
        and field.remote_field.model._meta.db_table in tables
    }
    found, plain = set(), set()
    for table, columns, parent, parent_columns in admin_sql.execute(FOREIGN_KEYS_SQL).fetchall():
        if table not in tables or parent not in tables or parent == "accounts_tenant":
            continue
        if columns[0] == "tenant_id" and parent_columns == ["tenant_id", "id"]:
            found.add((table, columns[1], parent))
        else:
            plain.add((table, tuple(columns), parent))
    assert expected, "there are such keys, or the test compares nothing"
    assert found == expected
    assert plain == set(), "a plain foreign key accepts another tenant's id"


def test_foreign_parent_is_refused(tenants: tuple[UUID, UUID]) -> None:
    ours, theirs = tenants
    with across_tenants():
        foreign = make_row(ApiKey, tenant=theirs)
    with in_tenant(ours), pytest.raises(IntegrityError, match="_tenant_fk"), transaction.atomic():
        KeySecret.objects.create(tenant_id=ours, key_id=foreign.pk, sha256="0" * 64)
    with across_tenants():
        assert not KeySecret.objects.exists()


def test_uniques_do_not_tell_about_other_tenants(admin_sql: Sql) -> None:
    tables = [model._meta.db_table for model in TENANT_MODELS if model is not Tenant]
    rows = admin_sql.execute(
        "SELECT i.indexrelid::regclass::text, (SELECT attname::text FROM pg_attribute WHERE attrelid = i.indrelid "
        "  AND attnum = i.indkey[0]) FROM pg_index i "
        "WHERE i.indisunique AND NOT i.indisprimary AND i.indrelid::regclass::text = ANY(%s)",
        [tables],
    ).fetchall()
    assert len(rows) >= len(tables)
    assert [name for name, first in rows if first != "tenant_id"] == []


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("role", ["studio_web", "studio_staff", "studio_worker"])
def test_append_only_tables_cannot_be_changed(
    role: str, table: str, tenants: tuple[UUID, UUID], admin_sql: Sql
) -> None:
    model = next(model for model in TENANT_MODELS if model._meta.db_table == table)
    fill(model, tenants[0])
    before = admin_sql.execute(f"SELECT count(*) FROM {table}").fetchone()
    admin_sql.execute(f"SET ROLE {role}")
    admin_sql.execute("SELECT set_config('app.tenant', %s, false)", [str(tenants[0])])
    assert admin_sql.execute(f"SELECT count(*) > 0 FROM {table}").fetchone() == (True,), "the role can read"
    for statement in (f"UPDATE {table} SET id = id", f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            admin_sql.execute(statement)
    admin_sql.execute("RESET ROLE")
    assert admin_sql.execute(f"SELECT count(*) FROM {table}").fetchone() == before


def test_index_is_used_under_the_policy(tenants: tuple[UUID, UUID], admin_sql: Sql) -> None:
    """`app_tenant()` is STABLE, so that the planner may look it up in an index."""
    with admin_sql.transaction():
        admin_sql.execute("DROP INDEX generation_all")  # the administrator's: in a table of few rows as good as any
        admin_sql.execute("SET LOCAL ROLE studio_web")
        admin_sql.execute("SELECT set_config('app.tenant', %s, true)", [str(tenants[0])])
        admin_sql.execute("SET LOCAL enable_seqscan = off")
        asked = "EXPLAIN SELECT * FROM generation_generation ORDER BY created_at DESC, id DESC LIMIT 10"
        plan = "\n".join(str(row[0]) for row in admin_sql.execute(asked).fetchall())
        raise psycopg.Rollback
    assert "Index Cond: (tenant_id = app_tenant())" in plan, plan
