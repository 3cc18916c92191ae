"""The database's side: one snapshot that everything is read in, the dump, and loading it.

Who dumps. Row-level security is forced, so the tables' owner sees no tenant's row, and `pg_dump` as the owner would
fail. `studio_staff` sees all rows by its policies; the owner signs in and takes that role. `pg_dump` must be told
`--enable-row-security` then, which would silently leave out rows of a table whose policies do not show them: so every
table's policies are read first, and one that `studio_staff` does not see whole stops the backup.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from qwenstudio.backup.errors import BackupError
from qwenstudio.backup.lists import Entry
from qwenstudio.backup.programs import Programs

ROLE = "studio_staff"
MARK = "studio_restore"
"""A schema that exists while a restore is under way; its comment names the snapshot."""

TABLES_SQL = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname
"""
# Tables whose rows ROLE may not all see: no right to read, no policy that shows everything, or one that restricts.
HIDDEN_SQL = """
SELECT c.relname FROM pg_class c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND (
       NOT has_table_privilege(%(role)s, c.oid, 'SELECT')
    OR c.relrowsecurity AND (
          NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('*', 'r')
                         AND (p.polroles = '{0}' OR %(role)s::regrole = ANY (p.polroles))
                         AND pg_get_expr(p.polqual, p.polrelid) = 'true')
       OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND NOT p.polpermissive AND p.polcmd IN ('*', 'r')
                     AND (p.polroles = '{0}' OR %(role)s::regrole = ANY (p.polroles)))))
 ORDER BY c.relname
"""
# Every file that a row names: what lists are compared with, so in their order (`lists.order`).
NAMED_SQL = """
SELECT path, size, hash FROM (
  SELECT file AS path, bytes AS size, sha256 AS hash FROM generation_image
  UNION ALL SELECT thumbnail, thumbnail_bytes, '' FROM generation_image
  UNION ALL SELECT file, bytes, sha256 FROM generation_inputfile
  UNION ALL SELECT logo, 0, '' FROM accounts_tenant WHERE logo <> ''
) named ORDER BY replace(path, '/', E'\\x01') COLLATE "C"
"""
MODELS_SQL = "SELECT slug, spec, enabled FROM generation_model ORDER BY slug"
OTHERS_SQL = """
SELECT usename, count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename LIKE 'studio%' GROUP BY usename ORDER BY 1
"""
# What stands in the schema by itself: no indexes, no sequences of a column, nothing of an extension.
OBJECTS_SQL = """
SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
       c.oid::regclass::text
  FROM pg_class c WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i', 'e'))
UNION ALL
SELECT 'ROUTINE', p.oid::regprocedure::text FROM pg_proc p
 WHERE p.pronamespace = %(schema)s::regnamespace
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
"""
# Of the archive's entries: the schema itself is there, and not ours to change.
_OF_SCHEMA = re.compile(r"\d+; \d+ \d+ (SCHEMA - public|ACL - SCHEMA public|COMMENT - SCHEMA public) ")


@contextmanager
def connect(url: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection as the tables' owner (autocommit). Raises `BackupError` where there is none."""
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=10, application_name="qwenstudio-backup")
    except psycopg.Error as error:
        reason = (str(error).strip().splitlines() or ["no answer"])[0]
        raise BackupError(
            f"the database does not let studio_owner in ({reason}): correct DATABASE_OWNER_URL; roles and database are "
            "made as deploy/postgres/roles.sql says"
        ) from None
    with connection:
        # Of libpq's settings a URL may bring its own; a long count must not end at them.
        connection.execute("SET statement_timeout = 0")
        yield connection


class Snapshot:
    """One moment of the database, under the role that sees every row."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], url: str) -> None:
        self._connection, self._url = connection, url
        self.id = str(self._one("SELECT pg_export_snapshot()"))
        self.version = int(str(self._one("SELECT current_setting('server_version_num')")))

    def _one(self, query: str) -> Any:
        row = self._connection.execute(query).fetchone()
        return row[0] if row else None

    @property
    def database_bytes(self) -> int:
        """What it takes on the server's disk: an upper bound of the dump."""
        return int(self._one("SELECT pg_database_size(current_database())"))

    def rows(self) -> dict[str, int]:
        """How many rows each table has."""
        return count_rows(self._connection)

    def migrations(self) -> tuple[tuple[str, str], ...]:
        """Those that were applied."""
        return read_migrations(self._connection)

    def models(self) -> dict[str, dict[str, Any]]:
        """Every model's entry."""
        rows = self._connection.execute(MODELS_SQL).fetchall()
        return {str(slug): spec | {"enabled": enabled} for slug, spec, enabled in rows}

    def named(self) -> Iterator[Entry]:
        """The files that rows name, in the lists' order; two rows with one file give one entry."""
        last = None
        with self._connection.cursor(name="named") as cursor:
            cursor.itersize = 10_000
            for path, size, digest in cursor.execute(NAMED_SQL):
                if path != last:
                    yield Entry(path, int(size), sha256=digest)
                last = path

    def dump(self, target: Path, programs: Programs) -> None:
        """Write the dump of this moment."""
        programs.run(
            "pg_dump", "--format=custom", f"--file={target}", f"--snapshot={self.id}", f"--role={ROLE}",
            "--enable-row-security", "--schema=public", "--lock-wait-timeout=60s", "--no-password", url=self._url,
        )  # fmt: skip


@contextmanager
def open_snapshot(url: str) -> Iterator[Snapshot]:
    """Hold one moment of the database; raises `BackupError` where a role's rights would leave rows out."""
    with connect(url) as connection:
        try:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(ROLE)))
            hidden = [row[0] for row in connection.execute(HIDDEN_SQL, {"role": ROLE}).fetchall()]
            if hidden:
                raise BackupError(
                    f"{ROLE} does not see every row of {', '.join(hidden)}, so the backup would be incomplete: the "
                    "migration of that table lacks accounts.rls.protect, or its grants"
                )
            yield Snapshot(connection, url)
        except psycopg.errors.InsufficientPrivilege as error:
            raise BackupError(
                f"the backup needs a role that may become {ROLE} (studio_owner, see deploy/postgres/roles.sql): {error}"
            ) from error
        except psycopg.Error as error:
            raise BackupError(f"the database: {str(error).strip()}") from error


def count_rows(connection: psycopg.Connection[tuple[Any, ...]]) -> dict[str, int]:
    """Table → rows, as the role of the connection sees them."""
    tables = [row[0] for row in connection.execute(TABLES_SQL).fetchall()]
    found = {}
    for table in tables:
        row = connection.execute(sql.SQL("SELECT count(*) FROM public.{}").format(sql.Identifier(table))).fetchone()
        found[table] = int(row[0]) if row else 0
    return found


def count_all_rows(connection: psycopg.Connection[tuple[Any, ...]]) -> dict[str, int]:
    """The same as `ROLE`."""
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(ROLE)))
        return count_rows(connection)


def read_migrations(connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[tuple[str, str], ...]:
    """Those that were applied, in their order."""
    rows = connection.execute("SELECT app, name FROM public.django_migrations ORDER BY id").fetchall()
    return tuple((str(app), str(name)) for app, name in rows)


# ---- loading


def load_dump(url: str, dump: Path, programs: Programs) -> None:
    """Load a dump into a database whose `public` is empty, all of it or (in one transaction) nothing."""
    entries = programs.run("pg_restore", "--list", str(dump)).splitlines()
    with tempfile.NamedTemporaryFile("w", prefix="qwenstudio-restore-", suffix=".list") as chosen:
        chosen.writelines(f"{line}\n" for line in entries if not _OF_SCHEMA.match(line))
        chosen.flush()
        programs.run(
            "pg_restore", "--no-owner", "--single-transaction", "--exit-on-error", "--no-password",
            f"--use-list={chosen.name}", str(dump), url=url,
        )  # fmt: skip


def people_in(connection: psycopg.Connection[tuple[Any, ...]]) -> int:
    """How much of a database is somebody's: its users and tenants; a fresh `migrate` has none.

    Tables that are not a studio's count as somebody's.
    """
    tables = {row[0] for row in connection.execute(TABLES_SQL).fetchall()}
    if not tables:
        return 0
    if not {"accounts_user", "accounts_tenant", "django_migrations"} <= tables:
        return 1
    rows = count_all_rows(connection)
    return rows["accounts_user"] + rows["accounts_tenant"]


def move_objects(connection: psycopg.Connection[tuple[Any, ...]], *, source: str, target: str) -> int:
    """Move everything from one schema into another; returns how much. Inside the caller's transaction."""
    moved = connection.execute(OBJECTS_SQL, {"schema": source}).fetchall()
    for kind, name in moved:
        # Both are the catalogue's own words, quoted where they must be.
        connection.execute(
            sql.SQL("ALTER {} {} SET SCHEMA {}").format(sql.SQL(kind), sql.SQL(name), sql.Identifier(target))
        )
    return len(moved)


def read_mark(connection: psycopg.Connection[tuple[Any, ...]]) -> str:
    """The snapshot of a restore that was begun and has not ended; empty without one."""
    row = connection.execute(
        "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = %s", (MARK,)
    ).fetchone()
    return str(row[0]) if row else ""


def begin_load(connection: psycopg.Connection[tuple[Any, ...]], *, snapshot: str, aside: str | None) -> None:
    """Empty `public` and mark that a restore is under way, both or neither.

    What a bare `migrate` had put there is kept in the mark's schema until the end; with `aside` it goes into a schema
    of that name and stays.
    """
    with connection.transaction():
        # What one that was cut off has put aside came from a bare `migrate`, too.
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(MARK)))
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(MARK)))
        connection.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(MARK), sql.Literal(snapshot)))
        if aside:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(aside)))
        move_objects(connection, source="public", target=aside or MARK)


def undo_load(connection: psycopg.Connection[tuple[Any, ...]], *, aside: str | None) -> None:
    """After a load that failed: what was there before is there again."""
    with connection.transaction():
        move_objects(connection, source=aside or MARK, target="public")
        if aside:
            connection.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(aside)))
        connection.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(MARK)))


def end_load(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """It is over."""
    connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(MARK)))


def expire_exports(connection: psycopg.Connection[tuple[Any, ...]]) -> int:
    """Exports and zips are no part of a backup: those that could be fetched have expired. Returns how many."""
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(ROLE)))
        return sum(
            connection.execute(
                sql.SQL("UPDATE public.{} SET status = 'expired', file = '' WHERE status = 'ready'").format(
                    sql.Identifier(table)
                )
            ).rowcount
            for table in ("accounts_export", "generation_selection")
        )
