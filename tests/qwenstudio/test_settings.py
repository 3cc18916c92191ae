"""The settings that follow from the environment: database URLs and roles, and what stops a process at its start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from qwenstudio.databases import database_from_url, read_urls
from qwenstudio.doctor import database as doctor
from qwenstudio.embedded import Services, start
from qwenstudio.embedded import postgres as postgres_module
from qwenstudio.env import Env, EnvError

ROOT = Path(__file__).resolve().parents[2]
WITH_PASSWORD = "postgresql://studio_web:s3cret@db:5432/studio?sslmode=require"
SHOW_ROLE = "from django.conf import settings; print(settings.DATABASES['default']['USER'])"


def run(*line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """One Python process with these variables and none of the tests'."""
    foreign = ("DATABASE_", "REDIS_", "STUDIO_", "SECRET_KEY")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return subprocess.run([sys.executable, *line], cwd=ROOT, env=clean | variables, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("web", "worker"),
    [
        ("postgresql://studio_web@db:5432/studio?sslmode=require", "postgresql://studio_worker@db:5432/studio?sslmode=require"),
        ("postgresql://studio_web@%2FRun%2Fpg/studio", "postgresql://studio_worker@%2FRun%2Fpg/studio"),
        ("postgresql://studio_web@/studio?host=/run/pg", "postgresql://studio_worker@/studio?host=/run/pg"),
    ],
)  # fmt: skip
def test_other_roles_follow_from_a_url_without_a_password(web: str, worker: str) -> None:
    urls, missing = read_urls(Env({"DATABASE_URL": web}))
    assert (urls["web"], urls["worker"], missing) == (web, worker, {})
    assert urls["owner"] == worker.replace("studio_worker", "studio_owner")


@pytest.mark.parametrize(
    "web", [WITH_PASSWORD, "postgresql://me@db/studio", "postgresql:///studio", "postgresql://studio_web@/s?password=x"]
)
def test_a_password_or_another_name_says_nothing_of_the_other_roles(web: str) -> None:
    urls, missing = read_urls(Env({"DATABASE_URL": web, "DATABASE_OWNER_URL": "postgresql://boss@db/studio"}))
    assert urls["owner"] == "postgresql://boss@db/studio"
    assert list(missing) == ["worker"]
    assert "DATABASE_WORKER_URL is not set" in missing["worker"]
    assert urls["worker"].startswith("postgresql://studio_worker@")
    assert "s3cret" not in urls["worker"] + missing["worker"]


def test_without_any_url_nothing_is_missing() -> None:
    assert read_urls(Env({})) == ({"web": "", "owner": "", "worker": ""}, {})
    worker = "postgresql://studio_worker:x@db/studio"
    assert read_urls(Env({"DATABASE_WORKER_URL": worker}))[0]["worker"] == worker


@pytest.mark.parametrize("command", ["reencrypt", "rebuild", "sweep", "loadmodels"])
def test_commands_say_in_one_sentence_what_they_lack(command: str, tmp_path: Path) -> None:
    nothing = run("manage.py", command, STUDIO_VAR=str(tmp_path), SECRET_KEY="x")
    assert nothing.returncode == 1 and nothing.stderr.startswith("DATABASE_URL is not set")
    half = run("manage.py", command, DATABASE_URL=WITH_PASSWORD, STUDIO_PROCESS="ticker", SECRET_KEY="x")
    assert half.returncode == 1 and half.stderr.startswith("DATABASE_WORKER_URL is not set")
    assert "Traceback" not in nothing.stderr + half.stderr
    shown = run("manage.py", command, "--traceback", STUDIO_VAR=str(tmp_path), SECRET_KEY="x")
    assert "Traceback" in shown.stderr


def test_only_processes_of_the_role_that_is_missing_refuse() -> None:
    for process in ("web", "stream"):
        assert run("-c", SHOW_ROLE, DATABASE_URL=WITH_PASSWORD, STUDIO_PROCESS=process).stdout == "studio_web\n"
    for process, variable in (("worker", "WORKER"), ("errands", "WORKER"), ("ticker", "WORKER"), ("owner", "OWNER")):
        refused = run("-c", SHOW_ROLE, DATABASE_URL=WITH_PASSWORD, STUDIO_PROCESS=process)
        assert refused.returncode == 1
        assert f"DATABASE_{variable}_URL is not set" in refused.stderr
        assert "s3cret" not in refused.stderr
    peer = run("-c", SHOW_ROLE, DATABASE_URL="postgresql://studio_web@%2Frun/studio", STUDIO_PROCESS="ticker")
    assert peer.stdout == "studio_worker\n", peer.stderr


def test_what_answers_requests_keeps_its_connections() -> None:
    """A worker's threads have one each; whoever answers requests would pay 20 ms for a new one each time."""
    show = "from django.conf import settings; print('pool' in settings.DATABASES['default']['OPTIONS'])"
    urls = {"DATABASE_URL": "postgresql://studio_web@%2Frun/studio", "SECRET_KEY": "x"}
    for process, keeps in (("web", True), ("stream", True), ("worker", False), ("errands", False), ("ticker", False)):
        assert run("-c", show, **urls, STUDIO_PROCESS=process).stdout == f"{keeps}\n", process


def test_up_names_what_is_missing_before_it_starts_anything(tmp_path: Path) -> None:
    var = tmp_path / "var"
    refused = run("manage.py", "up", "--only", "web", DATABASE_URL=WITH_PASSWORD, STUDIO_VAR=str(var))
    assert "DATABASE_OWNER_URL is not set" in refused.stderr
    assert "DATABASE_WORKER_URL" not in refused.stderr, "web alone has no use for it"
    refused = run("manage.py", "up", DATABASE_WORKER_URL=WITH_PASSWORD, STUDIO_VAR=str(var))
    assert "DATABASE_WORKER_URL is set, DATABASE_URL is not" in refused.stderr
    assert not var.exists()


@pytest.mark.django_db
def test_doctor_names_the_variable_that_is_missing(monkeypatch: pytest.MonkeyPatch, services: Services) -> None:
    urls, _ = read_urls(Env({"DATABASE_URL": services.urls["web"]}))
    monkeypatch.setattr(doctor, "database_urls", urls)
    failed = {found.name: found.remedy for found in doctor.check_database() if found.level == "fail"}
    assert set(failed) == {"database, owner", "database, worker"}
    assert "DATABASE_OWNER_URL" in failed["database, owner"]
    assert "DATABASE_WORKER_URL" in failed["database, worker"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p%40ss@h:5/n", ("u", "p@ss", "h", "5", "n", {})),
        ("postgres://u@%2FTmp%2Fa%20b/n", ("u", "", "/Tmp/a b", "", "n", {})),
        ("postgresql://u@/n?host=/run/pg&sslmode=disable", ("u", "", "/run/pg", "", "n", {"sslmode": "disable"})),
        ("postgresql://u@[::1]:5/n", ("u", "", "::1", "5", "n", {})),
        ("postgresql:///n", ("", "", "", "", "n", {})),
    ],
)
def test_a_url_means_what_libpq_reads_in_it(url: str, expected: tuple[object, ...]) -> None:
    found = database_from_url("DATABASE_URL", url)
    assert tuple(found[name] for name in ("USER", "PASSWORD", "HOST", "PORT", "NAME", "OPTIONS")) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://u:s3cret@h/n", "must start with postgresql://, not mysql"),
        ("u:s3cret", "must start with postgresql://, not nothing"),
        ("postgresql://u:s3cret@h:5432", "names no database"),
        ("postgresql://u:s3cret@h:x/n", "a port that is no number"),
        ("postgresql://u:s3cret %zz@h/n", "is no URL of a database"),
        ("postgresql://u:s3cret@h/n?sslmod=require", "is no URL of a database"),
    ],
)
def test_a_broken_url_is_named_and_not_shown(url: str, reason: str) -> None:
    with pytest.raises(EnvError, match=r"^DATABASE_URL ") as caught:
        database_from_url("DATABASE_URL", url)
    assert reason in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.django_db
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the options have other names")
def test_a_database_that_vanished_is_noticed_in_seconds() -> None:
    connection.ensure_connection()
    assert connection.connection is not None
    with socket.socket(fileno=os.dup(connection.connection.pgconn.socket)) as ours:
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        assert [ours.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [5, 2, 3, 10_000]
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


@pytest.fixture
def sockets() -> Iterator[str]:
    """A folder that the database's account can write to; its name is short, as a socket's must be."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o777)
        yield folder


def test_a_socket_is_reached_by_both_forms_of_its_url(
    tmp_path: Path, sockets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_module.SETTINGS, "unix_socket_directories", sockets)
    services = start(tmp_path / "var", log=lambda text: None, valkey=False, durable=False, tie=True)
    try:
        sign_in = f"postgresql://studio_web:{services.secrets.web}"
        port = services.ours[0].port
        query = "from django.db import connection as c; c.ensure_connection(); print(c.connection.info.host)"
        for url in (
            f"{sign_in}@{sockets.replace('/', '%2F')}:{port}/studio",
            f"{sign_in}@/studio?host={sockets}&port={port}",
        ):
            done = run("-c", f"import django; django.setup(); {query}", DATABASE_URL=url, SECRET_KEY="x" * 50)
            assert done.stdout.strip() == sockets, done.stderr
    finally:
        services.stop()
