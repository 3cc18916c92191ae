"""`manage.py up` as a user starts it, for tests and benchmarks."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from qwenstudio.embedded import Services, find_services
from qwenstudio.embedded.ports import free_port
from qwenstudio.embedded.postgres import OWN_PROGRAMS
from qwenstudio.embedded.valkey import OWN_PROGRAM

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 150.0


def users_environment() -> dict[str, str]:
    """Ours, without what names another studio, or what a test run set for itself; the servers' programs stay ours."""
    foreign = ("DATABASE_", "REDIS_", "STUDIO_", "SECRET_KEY", "DJANGO_", "EMAIL_", "ALLOWED_HOSTS")
    ours = (OWN_PROGRAMS, OWN_PROGRAM)
    return {name: value for name, value in os.environ.items() if name in ours or not name.startswith(foreign)}


class Up:
    """One state folder, and the `up` that runs on it: all of it, or `only` these of its processes."""

    def __init__(self, folder: Path, *, only: Sequence[str] = (), **settings: str) -> None:
        self.var, self.port = folder / "var", free_port()
        self.only, self.settings = only, settings
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "up.log"

    @property
    def environment(self) -> dict[str, str]:
        """The user's, for this folder."""
        chat = str("chat" in self.only)  # its start costs seconds of a core: for those tests that ask for it
        own = {"STUDIO_VAR": str(self.var), "STUDIO_PORT": str(self.port), "STUDIO_CHAT_DEMO": chat}
        return users_environment() | own | self.settings

    @property
    def line(self) -> list[str]:
        return [sys.executable, "manage.py", "up", *(["--only", *self.only] if self.only else [])]

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def start(self) -> None:
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                self.line, cwd=ROOT, env=self.environment, stdout=output, stderr=output, start_new_session=True
            )
        self.wait_for(lambda: "QwenStudio is ready" in self.text)

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process is not None
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.1)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def ask(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    def is_ready(self) -> bool:
        """The database is well and nothing is degraded."""
        status, body = self.ask("/readyz")
        return status == 200 and json.loads(body)["status"] == "ready"

    def accounts(self) -> dict[str, str]:
        """What `demo.env` says: addresses, passwords, the key."""
        lines = (self.var / "demo.env").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def children(self) -> dict[str, int]:
        recorded = json.loads((self.var / "up.json").read_text())["children"]
        return {name: entry["pid"] for name, entry in recorded.items()}

    def services(self) -> Services:
        found = find_services(self.var)
        assert found is not None, self.text
        return found

    def servers(self) -> list[int]:
        pid = int((self.var / "postgres" / "postmaster.pid").read_text().split()[0])
        return [pid, int((self.var / "valkey" / "valkey.pid").read_text())]
