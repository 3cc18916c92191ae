"""An installation in a folder, and `manage.py up --from-units` that runs it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from qwenstudio.embedded import Services
from qwenstudio.embedded.ports import free_port
from qwenstudio.units.catalog import TICKER
from qwenstudio.units.control import Supervised, UnitsError
from qwenstudio.units.layout import LANES, Layout
from qwenstudio.units.unitfile import read_environment

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = "studio.test"
UNITS = {
    "web": "studio-web@blue.service",
    "stream": "studio-stream@blue.service",
    "worker": "studio-worker@blue.service",
    "gpu": "studio-gpu@blue-0.service",
    "ticker": TICKER,
}

SLEEPING = """[Service]
ExecStart=
ExecStart=/bin/sh -ec 'set -a; . "{etc}/lanes/$${{1%%-*}}.env"; . "{etc}/gpu/$${{1##*-}}.env"; set +a; \\
    cd "{opt}/lanes/$${{1%%-*}}"; exec .venv/bin/python manage.py gpuworker --pool "$$STUDIO_POOL" \\
    --engine tests.chaos.sleeping:Sleeping' studio-gpu %i
"""


def run_install(*words: str, code: int = 0, release: str = "") -> str:
    """Run deploy/install by the machine's own Python, as a checkout of this release; what it printed."""
    environment = {"PATH": os.environ["PATH"]} | ({"STUDIO_RELEASE": release} if release else {})
    done = subprocess.run(
        [sys.executable, "-I", str(ROOT / "deploy" / "install"), *words],
        cwd="/", capture_output=True, text=True, timeout=170, env=environment,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def install(root: Path, *words: str, release: str = "") -> str:
    """Install into a folder, with the virtual environment that runs us."""
    line = ["--domain", DOMAIN, "--root", str(root), "--no-start", "--venv", str(Path(sys.prefix))]
    return run_install(*line, *words, release=release)


def database_words(services: Services) -> list[str]:
    """The options that name the tests' own servers."""
    urls = services.urls
    return [
        "--database-url", urls["web"], "--database-worker-url", urls["worker"], "--database-owner-url", urls["owner"],
        "--redis-url", services.redis_url,
    ]  # fmt: skip


def wait_for(condition: Callable[[], object], *, seconds: float, what: str) -> float:
    """Poll; the seconds that it took. Raises AssertionError naming `what`."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - begin


@dataclass
class Installed:
    """A running installation."""

    layout: Layout
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def units(self) -> Supervised:
        return Supervised(self.layout.socket)

    def port(self, kind: str) -> int:
        """Where the web or the stream process of blue listens."""
        name = "STUDIO_PORT" if kind == "web" else "STUDIO_STREAM_PORT"
        return int(read_environment(self.layout.lane_env("blue"))[name])

    def main(self, kind: str) -> int | None:
        """The process that the manager watches."""
        return self.units.main_pid(UNITS[kind])

    def state(self, kind: str) -> str:
        """The unit's; empty while nobody manages it yet."""
        try:
            return self.units.states([UNITS[kind]])[UNITS[kind]]
        except UnitsError:
            return ""

    def serving(self, kind: str) -> int | None:
        """The process that does the work: of a server its child."""
        main = self.main(kind)
        if main is None or kind not in ("web", "stream"):
            return main
        try:
            children = [(child.pid, " ".join(child.cmdline())) for child in psutil.Process(main).children()]
        except psutil.NoSuchProcess:
            return None
        return next((pid for pid, line in children if line and "resource_tracker" not in line), None)

    def serves(self, kind: str) -> bool:
        """Whether it does what it is for: a server answers, a worker has said that it is ready."""
        if self.state(kind) != "active":
            return False
        return kind not in ("web", "stream") or self.ask(kind, "GET", "/readyz", timeout_s=5)[0] == 200

    def ask(
        self, kind: str, method: str, path: str, body: object = None, key: str = "", timeout_s: float = 60
    ) -> tuple[int, Any]:
        """One request, as nginx sends it; status 0 where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port(kind), timeout=timeout_s)
        headers = {"Host": DOMAIN, "X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.1"}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        headers |= {"Content-Type": "application/json"} if body is not None else {}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()
        return answer.status, json.loads(text) if text.startswith(b"{") else dict(answer.getheaders())

    def said(self) -> str:
        """What it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def running(root: Path, services: Services, *, sleeping: bool = False) -> Iterator[Installed]:
    """Install, put the tests' secrets and free ports in, start; ends everything in the end.

    `sleeping`: with that engine, whose model the test offers, instead of the demo's.
    """
    layout = set_up(root, services)
    if sleeping:
        let_sleep(layout)
    else:
        studio(layout, "loadmodels")
    with managed(layout) as found:
        yield found


def set_up(root: Path, services: Services) -> Layout:
    """Install, with the tests' secrets and free ports for both lanes; nothing runs yet."""
    layout = Layout(root)
    install(root, *database_words(services))
    # What the tests sign in their own process must be good there.
    ours = services.environment()
    layout.secret("secret-key").write_text(ours["SECRET_KEY"] + "\n")
    layout.secret("encryption-keys").write_text(ours["STUDIO_ENCRYPTION_KEYS"] + "\n")
    for lane in LANES:
        layout.lane_env(lane).write_text(
            f"STUDIO_LANE={lane}\nSTUDIO_PORT={free_port()}\nSTUDIO_STREAM_PORT={free_port()}\n"
        )
    return layout


def let_sleep(layout: Layout) -> None:
    """Have the units of the GPU start the sleeping engine, which loads no torch."""
    folder = layout.units / "studio-gpu@.service.d"
    folder.mkdir()
    (folder / "10-sleeping.conf").write_text(SLEEPING.format(etc=layout.etc, opt=layout.opt))


def clean_environment() -> dict[str, str]:
    """Nothing of the tests' own studio."""
    return {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}


def studio(layout: Layout, *words: str, seconds: float = 120) -> str:
    """The installed `studio` command; what it printed."""
    line = [str(layout.command), *words]
    done = subprocess.run(line, capture_output=True, text=True, timeout=seconds, env=clean_environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def managed(layout: Layout) -> Iterator[Installed]:
    """`manage.py up --from-units` for this installation, until the block ends."""
    log = layout.root / "up.log"
    with log.open("wb") as output:
        line = [sys.executable, str(ROOT / "manage.py"), "up", "--from-units", "--root", str(layout.root)]
        process = subprocess.Popen(line, cwd=ROOT, env=clean_environment(), stdout=output, stderr=subprocess.STDOUT)
    try:
        yield Installed(layout, process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(100)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
