"""The studio's own Valkey under its guard: ready once it answers, silent when it hangs, ended with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from qwenstudio.embedded.ports import free_port
from qwenstudio.embedded.valkey import find_program

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Guarded:
    """A guard, its Valkey, and what it has said."""

    process: subprocess.Popen[bytes]
    hears: socket.socket

    @property
    def valkey(self) -> psutil.Process:
        """The child."""
        (child,) = psutil.Process(self.process.pid).children()
        return child

    def heard(self, seconds: float) -> str:
        """The next thing it says, or nothing."""
        self.hears.settimeout(seconds)
        try:
            return self.hears.recv(4096).decode()
        except TimeoutError:
            return ""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    """One that is ready."""
    file = tmp_path / "redis.conf"
    file.write_text(f"bind 127.0.0.1\nport {free_port()}\nrequirepass secret\ndir {tmp_path}\nsave 300 1\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hears:
        hears.bind(str(tmp_path / "notify"))
        line = [sys.executable, "-m", "qwenstudio.units.redisguard", str(find_program()), str(file)]
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        process = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        found = Guarded(process, hears)
        try:
            while found.heard(60) != "READY=1":
                assert process.poll() is None
            yield found
        finally:
            children = psutil.Process(process.pid).children() if process.poll() is None else []
            for one in [*children, process]:
                one.kill()
            process.wait()


def test_it_moves_while_valkey_answers_and_is_silent_when_not(guarded: Guarded) -> None:
    assert guarded.heard(60) == "WATCHDOG=1"
    guarded.valkey.suspend()
    until = time.monotonic() + 60
    while guarded.heard(4):
        assert time.monotonic() < until, "it says that a stopped server moves"
    guarded.valkey.resume()
    assert guarded.heard(60) == "WATCHDOG=1"


def test_the_end_is_handed_on(guarded: Guarded) -> None:
    valkey = guarded.valkey
    guarded.process.send_signal(signal.SIGTERM)
    assert guarded.process.wait(60) == 0
    assert not valkey.is_running()


def test_it_ends_with_valkey(guarded: Guarded) -> None:
    guarded.valkey.kill()
    assert guarded.process.wait(60) == 128 + signal.SIGKILL
