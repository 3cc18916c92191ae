"""A studio of a benchmark's own: `manage.py up` in a temporary folder, as a user starts it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.results import ROOT
from qwenstudio.embedded.ports import free_port
from qwenstudio.embedded.running import find_services

START_S = 120.0
STOP_S = 120.0
OTHERS = ("STUDIO_", "DATABASE_", "REDIS_URL", "SECRET_", "EMAIL_", "ALLOWED_HOSTS")


@contextmanager
def own_studio(*, only: Sequence[str] = (), **settings: str) -> Iterator[dict[str, str]]:
    """Start one (or `only` these of its processes) with these settings and wait until it is ready.

    Yields `demo.env`'s values, `REDIS_URL` and `WEB_PID`; raises `SystemExit` with the log when it does not come up.
    """
    folder = Path(tempfile.mkdtemp(prefix="qwenstudio-bench-"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    environment |= {"STUDIO_VAR": str(folder / "var"), "STUDIO_PORT": str(free_port()), **settings}
    log = folder / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up", *(["--only", *only] if only else [])],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_ready(process, log)
        values = read_env(folder / "var" / "demo.env")
        services = find_services(folder / "var")
        yield values | {"REDIS_URL": services.redis_url if services else "", "WEB_PID": str(web_of(process.pid).pid)}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the banner stands in its log."""
    end = time.monotonic() + START_S
    while "QwenStudio is ready" not in (text := log.read_text(encoding="utf-8", errors="replace")):
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the studio did not come up:\n{text}")
        time.sleep(0.2)


def web_of(up: int) -> psutil.Process:
    """The process that answers: the server's worker, which is the largest of the supervisor's `granian` children."""
    found = [child for child in psutil.Process(up).children(recursive=True) if "granian" in " ".join(child.cmdline())]
    return max(found, key=lambda child: child.memory_info().rss)


def read_env(path: Path) -> dict[str, str]:
    """`NAME=value` lines, as `make run` writes them."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)


def client_of(values: dict[str, str]) -> dict[str, Any]:
    """What an `httpx` client needs to be the demo's owner."""
    return {
        "base_url": values["STUDIO_URL"],
        "headers": {"Authorization": f"Bearer {values['STUDIO_API_KEY']}"},
        "timeout": httpx.Timeout(30),
    }
