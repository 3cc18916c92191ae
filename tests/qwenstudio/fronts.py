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
def running_front(folder: Path, *, target: str = "qwenstudio.asgi:front", **environment: str) -> Iterator[RunningFront]:
    """Start the front with the environment of this process and wait until it answers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = folder / "front.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "granian", "--interface", "asgi", "--workers", "1", "--host", "127.0.0.1",
             "--port", str(port), "--workers-kill-timeout", "20", target],
            cwd=ROOT,
            env={**os.environ, "STUDIO_PORT": str(port), "STUDIO_URL": url, "STUDIO_PROCESS": "web", **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        _wait(url, process, log)
        yield RunningFront(url=url, process=process, log=log)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            httpx.get(f"{url}/healthz", timeout=30).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"the front did not start:\n{log.read_text()[-3000:]}")
