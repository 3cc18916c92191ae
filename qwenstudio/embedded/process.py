"""Starting and stopping one server process, our child or an adopted one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from qwenstudio.embedded.account import LAUNCH

Log = Callable[[str], object]
LOG_LIMIT = 10_000_000


@dataclass
class Server:
    """A running server. `child` is set when this process started it, and then reaps it."""

    name: str
    process: psutil.Process
    stop_signal: signal.Signals
    child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        return int(self.process.pid)

    def is_running(self) -> bool:
        """Whether it lives (a reused pid does not count: psutil compares the start time)."""
        if self.child is not None:
            return self.child.poll() is None
        try:
            return bool(self.process.is_running()) and self.process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:  # it went between the two questions
            return False

    def ask_to_stop(self) -> None:
        """Send the signal that means: finish, write everything, go."""
        try:
            self.process.send_signal(self.stop_signal)
        except psutil.NoSuchProcess:
            return

    def wait(self, *, timeout_s: float) -> bool:
        """Wait for its end; kill it after `timeout_s`. Returns whether it went by itself."""
        try:
            if self.child is not None:
                self.child.wait(timeout_s)
            else:
                self.process.wait(timeout_s)
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            self.process.kill()
            if self.child is not None:
                self.child.wait(5)
            return False
        return True


def spawn(line: Sequence[str], *, log_file: Path, tie: bool = False) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own (Ctrl-C in the terminal is not for it), its output in `log_file`."""
    if tie and str(LAUNCH) not in line:
        line = [sys.executable, "-I", str(LAUNCH), "--tie", str(os.getpid()), "--", *line]
    if log_file.exists() and log_file.stat().st_size > LOG_LIMIT:
        log_file.replace(log_file.with_suffix(".old"))
    with os.fdopen(os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        return subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True
        )


def read_tail(log_file: Path, *, since: int = 0, limit: int = 2000) -> str:
    """The end of a log, from byte `since` on."""
    try:
        content = log_file.read_bytes()
    except FileNotFoundError:
        return ""
    if len(content) < since:  # it was rotated
        since = 0
    return content[since:][-limit:].decode(errors="replace").strip()


def size_of(log_file: Path) -> int:
    """Bytes in a log; 0 when there is none."""
    return log_file.stat().st_size if log_file.exists() else 0
