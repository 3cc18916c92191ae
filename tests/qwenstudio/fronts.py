"""The real server (Granian, one worker) on a free port, as `manage.py up` runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from qwenstudio.embedded.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
START_S = 180.0


@dataclass(frozen=True)
class RunningFront:
    """A server under test."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def worker(self) -> psutil.Process:
        """The process that answers (the other one only watches over it)."""
        children = [
            child
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if "resource_tracker" not in " ".join(child.cmdline())
        ]
        return children[-1]


@contextmanager
def running_front(
    folder: Path, *, target: str = "qwenstudio.asgi:front", interface: str = "asgi", **environment: str
) -> Iterator[RunningFront]:
    """Start the front with the environment of this process and wait until it answers."""
    log = folder / "front.log"
    front = _start(log, target, interface, environment)
    for _ in range(3):  # somebody may have been faster at the port
        if _answers(front) or "in use" not in log.read_text():
            break
        front = _start(log, target, interface, environment)
    try:
        if not _answers(front):
            raise RuntimeError(f"the front did not start:\n{log.read_text()[-3000:]}")
        yield front
    finally:
        front.process.terminate()
        try:
            front.process.wait(60)
        except subprocess.TimeoutExpired:
            front.process.kill()
            front.process.wait()


def _start(log: Path, target: str, interface: str, environment: dict[str, str]) -> RunningFront:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "granian", "--interface", interface, "--workers", "1", "--host", "127.0.0.1",
             "--port", str(port), "--workers-kill-timeout", "20", target],
            cwd=ROOT,
            env={**os.environ, "STUDIO_PORT": str(port), "STUDIO_URL": url, "STUDIO_PROCESS": "web", **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    return RunningFront(url=url, process=process, log=log)


def _answers(front: RunningFront) -> bool:
    """Wait until it does (the door alone knows no /healthz and says so); False when it has ended or takes too long."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and front.process.poll() is None:
        try:
            if httpx.get(f"{front.url}/healthz", timeout=30).status_code < 500:
                return True
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    return False
