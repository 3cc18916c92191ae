"""Programs of the rig: started, waited for, ended, and what they have cost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from benchmarks.gateway.load import Place
from benchmarks.results import ROOT
from qwenstudio.embedded.ports import free_port

START_S = 180.0
STOP_S = 30.0


@contextmanager
def running(
    words: Sequence[str], *, log: Path, environment: Mapping[str, str], ready: str, cwd: Path = ROOT
) -> Iterator[psutil.Process]:
    """A program, once it answers at `ready` (whatever it says)."""
    with log.open("wb") as output:
        process = subprocess.Popen(words, cwd=cwd, env=dict(environment), stdout=output, stderr=output)
    try:
        wait_until_it_answers(process, ready, log)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Raises `SystemExit` with what it has said, where it ends or takes too long."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(url, timeout=5)
            return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise SystemExit(f"{process.args} did not start:\n{log.read_text(encoding='utf-8', errors='replace')[-3000:]}")


@contextmanager
def running_upstream(folder: Path) -> Iterator[tuple[Place, psutil.Process]]:
    """The upstream of this rig."""
    port = free_port()
    words = [sys.executable, "-m", "benchmarks.gateway.upstream", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/counts"
    with running(words, log=folder / "upstream.log", environment=os.environ, ready=url) as process:
        yield Place(port=port), process


def counts_of(upstream: Place) -> dict[str, int]:
    """What has reached the upstream so far."""
    found: dict[str, int] = httpx.get(f"http://127.0.0.1:{upstream.port}/counts", timeout=10).json()
    return found


def family_of(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that it has started."""
    return [process, *process.children(recursive=True)]


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time of a family so far; what has ended is counted by its parent."""
    seconds = 0.0
    for one in family_of(process):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds += times.user + times.system
    return seconds


def memory_mb(process: psutil.Process) -> float:
    """Resident memory of a family, each shared page counted once for its share."""
    total = 0
    for one in family_of(process):
        try:
            total += one.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return round(total / 1e6, 1)
