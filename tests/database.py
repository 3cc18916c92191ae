"""The test database: migrated once, emptied after each test.

Tests commit for real: row-level security, `on_commit` and other processes need that. So nothing is rolled back; what a
test wrote is deleted by the administrator, and what migrations had put there (the default plan, content types) is put
back when a test changed it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
from psycopg import sql

ROOT = Path(__file__).resolve().parent.parent
PRISTINE = "pristine"


def begin_migrations() -> subprocess.Popen[str]:
    """Start `manage.py migrate` as the owner, in a process of its own.

    `SCHEMA_FROM` names another checkout whose migrations are applied instead: a release's tests on the schema of the
    one that follows it (`tests/proofs/schema.py`).
    """
    environment = {**os.environ, "STUDIO_PROCESS": "owner"}
    folder = os.environ.get("SCHEMA_FROM", ROOT)
    return subprocess.Popen(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


class TestDatabase:
    """The administrator's connection to the migrated database."""

    __test__ = False

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        # No foreign key is checked and no trigger runs while rows are deleted and put back.
        self.connection.execute("SET session_replication_role = replica")
        self.connection.execute("SET lock_timeout = '30s'")
        self.tables = [row[0] for row in self.connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
        )]  # fmt: skip
        self.seeded = self._keep_seeds()
        self._find_written = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(sql.Literal(table), sql.Identifier(table))
            for table in self.tables
            if table not in self.seeded
        )
        self._find_changed = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {} WHERE {} IS DISTINCT FROM {}").format(
                sql.Literal(table), self._content("public", table), self._content(PRISTINE, table)
            )
            for table in self.seeded
        )

    @staticmethod
    def _content(schema: str, table: str) -> sql.Composed:
        return sql.SQL("(SELECT string_agg(t::text, ',' ORDER BY t::text) FROM {} t)").format(
            sql.Identifier(schema, table)
        )

    def _keep_seeds(self) -> list[str]:
        """Copy every table that migrations filled into the schema `pristine`."""
        self.connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(PRISTINE)))
        seeded = []
        for table in self.tables:
            name = sql.Identifier(table)
            if self.connection.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(name)).fetchone():
                copy = sql.Identifier(PRISTINE, table)
                self.connection.execute(sql.SQL("CREATE TABLE {} AS TABLE {}").format(copy, name))
                seeded.append(table)
        return seeded

    def clean(self) -> None:
        """Delete what a test wrote, put back what it changed."""
        written = [row[0] for row in self.connection.execute(self._find_written)]
        changed = [row[0] for row in self.connection.execute(self._find_changed)]
        steps = [sql.SQL("DELETE FROM {}").format(sql.Identifier(table)) for table in (*written, *changed)]
        steps += [
            sql.SQL("INSERT INTO {} SELECT * FROM {}").format(sql.Identifier(table), sql.Identifier(PRISTINE, table))
            for table in changed
        ]
        if not steps:
            return
        try:
            with self.connection.transaction():
                for step in steps:
                    self.connection.execute(step)
        except psycopg.errors.LockNotAvailable:
            raise AssertionError(f"A test left a transaction open: {self._open_transactions()}") from None

    def _open_transactions(self) -> list[tuple[object, ...]]:
        return self.connection.execute(
            "SELECT usename, application_name, state, query FROM pg_stat_activity "
            "WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        ).fetchall()

    def close(self) -> None:
        """Give the connection back."""
        self.connection.close()
