"""A GPU worker that somebody has stopped is ended from beside; one that is let go on again is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qwenstudio.units import stopped
from tests.chaos.rig import wait_until

ROOT = Path(__file__).resolve().parents[2]
WORKER = (
    "import sys, time; sys.path.insert(0, {root!r}); from qwenstudio import notify; found = notify.watch_stopped(); "
    "print(found.pid if found else 0, flush=True); time.sleep(600)"
)


def begin(**environment: str) -> tuple[subprocess.Popen[str], int]:
    """A process with the watch beside it, and the watch's number (0: none)."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER.format(root=str(ROOT))], stdout=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"], **environment},
    )  # fmt: skip
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def is_there(pid: int) -> bool:
    """Whether a process lives that nobody has to fetch any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


WATCHED = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "5000000"}


def test_a_stopped_process_is_ended() -> None:
    process, watch = begin(**WATCHED)
    try:
        os.kill(process.pid, signal.SIGSTOP)
        assert process.wait(60) == -signal.SIGKILL
        wait_until(lambda: not is_there(watch), seconds=60, what="the watch to end")
    finally:
        process.kill()


def test_the_watch_ends_with_its_process() -> None:
    process, watch = begin(**WATCHED)
    try:
        assert is_there(watch)
        process.terminate()
        process.wait(60)
        wait_until(lambda: not is_there(watch), seconds=60, what="the watch to end")
    finally:
        process.kill()


def test_who_goes_on_again_is_let(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, killed = iter([True, True, False, True, True, True, True]), []
    monkeypatch.setattr(stopped, "is_stopped", lambda pid: next(looks))
    monkeypatch.setattr(stopped, "LOOK_S", 0)
    monkeypatch.setattr(stopped.os, "getppid", lambda: 7)
    monkeypatch.setattr(stopped.os, "kill", lambda pid, number: killed.append((pid, number)))
    stopped.watch(7)
    assert killed == [(7, signal.SIGKILL)]
    assert list(looks) == [True], "three in a row, and no look more"
    stopped.watch(8)  # another parent: ours has ended
    assert len(killed) == 1


def test_nobody_is_watched_whom_nobody_would_start_again() -> None:
    process, watch = begin()
    process.kill()
    process.wait(60)
    assert watch == 0
