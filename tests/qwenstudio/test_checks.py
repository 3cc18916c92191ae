"""No process works with a database role that sees through the policies; asking costs one query per process."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.backends.postgresql.base import DatabaseWrapper
from pytest_django.fixtures import Settings

from qwenstudio import checks
from qwenstudio.embedded import Services
from qwenstudio.settings import BASE_DIR, database_from_url

SQL = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(autouse=True)
def nobody_has_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has just begun."""
    monkeypatch.setattr(checks, "_role_is_right", False)


@pytest.fixture
def urls(db: None, services: Services, admin_sql: SQL) -> Iterator[dict[str, str]]:
    """The studio's roles, a superuser, and two roles that look bound and may take one that is not."""
    found = {**services.urls, "superuser": services.superuser_url}
    superuser = database_from_url("superuser", services.superuser_url)["USER"]
    for name, held in (("climber", superuser), ("guest", "studio_worker")):
        admin_sql.execute(f"CREATE ROLE {name} LOGIN NOINHERIT PASSWORD 'secret'")
        admin_sql.execute(f'GRANT "{held}" TO {name}')
        admin_sql.execute(f"GRANT CONNECT ON DATABASE {connection.settings_dict['NAME']} TO {name}")
        found[name] = re.sub("//[^@]+@", f"//{name}:secret@", services.urls["web"])
    yield found
    for name in ("climber", "guest"):
        admin_sql.execute(f"DROP OWNED BY {name}")
        admin_sql.execute(f"DROP ROLE {name}")


def connect_as(url: str) -> DatabaseWrapper:
    """Django's wrapper for this role, not connected yet. Without the pool, whose connections are another role's."""
    values = copy.deepcopy(connection.settings_dict) | database_from_url("URL", url)
    values["OPTIONS"].pop("pool", None)
    return DatabaseWrapper(values)


@pytest.mark.parametrize("process", ["web", "stream"])
@pytest.mark.parametrize("role", ["superuser", "climber", "worker", "guest", "owner"])
def test_pages_refuse_what_sees_all_tenants(settings: Settings, urls: dict[str, str], process: str, role: str) -> None:
    settings.PROCESS = process
    wrapper = connect_as(urls[role])
    for _ in range(2):  # nor does a second try get through
        with pytest.raises(ImproperlyConfigured, match=r"deploy/postgres/roles\.sql"):
            wrapper.ensure_connection()
        assert wrapper.connection is None


def test_refused_connections_go_back_to_the_pool(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_fault", lambda database, *, web: "wrong")
    for _ in range(connection.settings_dict["OPTIONS"]["pool"]["max_size"] + 1):
        with pytest.raises(ImproperlyConfigured):
            connection.ensure_connection()
        assert connection.connection is None


@pytest.mark.parametrize(("process", "role"), [("web", "web"), ("stream", "web"), ("worker", "worker")])
def test_right_roles_connect(settings: Settings, urls: dict[str, str], process: str, role: str) -> None:
    settings.PROCESS = process
    wrapper = connect_as(urls[role])
    wrapper.ensure_connection()
    wrapper.close()


@pytest.mark.parametrize("process", ["worker", "errands", "ticker"])
@pytest.mark.parametrize("role", ["superuser", "climber"])
def test_workers_refuse_what_no_policy_binds(settings: Settings, urls: dict[str, str], process: str, role: str) -> None:
    settings.PROCESS = process
    with pytest.raises(ImproperlyConfigured, match="row-level security"):
        connect_as(urls[role]).ensure_connection()


def test_migrations_are_not_asked_here_but_by_the_system_check(settings: Settings, urls: dict[str, str]) -> None:
    settings.PROCESS = "owner"
    wrapper = connect_as(urls["owner"])
    wrapper.ensure_connection()
    wrapper.close()
    assert run_checks(tags=["database"], databases=["default"]) == []


def test_asks_once_per_process_whatever_the_pool_does(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    find_fault = checks.find_fault

    def count(database: Any, *, web: bool) -> str:
        asked.append(web)
        return find_fault(database, web=web)

    def connect() -> None:
        for _ in range(3):
            connection.close()
            connection.ensure_connection()
        connection.close()

    monkeypatch.setattr(checks, "find_fault", count)
    threads = [threading.Thread(target=connect) for _ in range(4)]
    for thread in threads:
        thread.start()
    connect()
    for thread in threads:
        thread.join()
    assert asked == [True]


def start(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=BASE_DIR, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip


def test_server_refuses_to_start(services: Services, test_database: object) -> None:
    done = start("-c", "import qwenstudio.asgi", DATABASE_URL=services.urls["worker"])
    assert done.returncode != 0
    assert "studio_web in DATABASE_URL" in done.stderr


def test_server_starts_without_its_database() -> None:
    nowhere = "postgresql://studio_web:x@127.0.0.1:1/studio"
    done = start("-c", "import qwenstudio.asgi; print('up')", DATABASE_URL=nowhere)
    assert (done.returncode, done.stdout) == (0, "up\n")
    assert "could not be checked" in done.stderr


@pytest.mark.parametrize(("command", "process"), [("ticker", "ticker"), ("errandworker", "errands")])
def test_workers_refuse_to_start(services: Services, test_database: object, command: str, process: str) -> None:
    superuser = services.superuser_url
    done = start("manage.py", command, STUDIO_PROCESS=process, DATABASE_WORKER_URL=superuser)
    assert done.returncode != 0
    assert "studio_worker in DATABASE_WORKER_URL" in done.stderr
