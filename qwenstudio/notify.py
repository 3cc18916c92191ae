"""Tells whoever started this process that it is ready and that it still moves: systemd's notify protocol.

A unit of `Type=notify` gets a socket in NOTIFY_SOCKET; `READY=1` says that it serves, `WATCHDOG=1`, at least every
WATCHDOG_USEC, that it moves. Without that socket everything here does nothing. systemd and `manage.py up --from-units`
(`units/supervised.py`) read the same words.

What is behind `WATCHDOG=1` is the whole point, so each kind of process asks what would be stuck if it were stuck:

    web, stream     a thread of each server process asks its own port for /healthz (`watch_server`)
    ticker, errands their loop is within the time that its turn may take
    GPU worker      no phase of its clock is overdue (`generation/worker/clock.py`)
    Redis           the process that starts it asks it (`units/redisguard.py`)

A process that is stopped (SIGSTOP) says nothing by itself; a GPU worker, whose start takes longest, has somebody beside
it who sees that at once (`watch_stopped`). Standard library only: the workers import this too.
"""

from __future__ import annotations

import http.client
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

EVERY_S = 1.0
SILENT_S = (
    4.0  # a sibling that has said nothing for so long is stuck; less than WatchdogSec, which then is not waited for
)
SILENT_START_S = 120.0  # one that still imports has said nothing yet
_finished = 0


# ---- saying


def send(*words: str) -> bool:
    """Send `NAME=value` words to the supervisor; False where there is none, or where it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as talk:
            talk.settimeout(1)
            talk.connect(address)
            talk.sendall("\n".join(words).encode())
    except OSError as error:
        logger.warning("the supervisor's socket does not listen: %s", error)
        return False
    return True


def ready(status: str = "") -> bool:
    """This process serves from now on."""
    return send("READY=1", *([f"STATUS={status}"] if status else []))


def say_status(text: str) -> bool:
    """One line for `systemctl status`."""
    return send(f"STATUS={text}")


def stopping() -> bool:
    """This process is about to end in its own order."""
    return send("STOPPING=1")


# ---- moving


def watchdog_s() -> float | None:
    """How often somebody wants to hear from this process; None where nobody does."""
    pid = os.environ.get("WATCHDOG_PID", "")
    # A server's worker speaks for its parent, which does nothing but wait for it.
    if not os.environ.get("NOTIFY_SOCKET") or (pid and pid not in (str(os.getpid()), str(os.getppid()))):
        return None
    usec = os.environ.get("WATCHDOG_USEC", "")
    return int(usec) / 1_000_000 if usec.isdigit() and int(usec) > 0 else None


def watchdog(alive: Callable[[], bool], *, every_s: float = EVERY_S) -> threading.Thread | None:
    """Start the thread that says `WATCHDOG=1` every second while `alive` says so; None where nobody listens."""
    wanted = watchdog_s()
    if wanted is None:
        return None
    pause = min(every_s, wanted / 4)

    def speak() -> None:
        while True:
            if ask(alive):
                send("WATCHDOG=1")
            time.sleep(pause)

    thread = threading.Thread(target=speak, name="notify", daemon=True)
    thread.start()
    return thread


def ask(alive: Callable[[], bool]) -> bool:
    """What `alive` says; one that breaks says no."""
    try:
        return alive()
    except Exception:
        logger.exception("the question whether this process moves has failed")
        return False


def watch_stopped() -> subprocess.Popen[bytes] | None:
    """Start the process that ends this one where somebody has stopped it; None where nobody would start us again."""
    if watchdog_s() is None:
        return None
    words = [sys.executable, "-I", "-S", str(Path(__file__).parent / "units" / "stopped.py"), str(os.getpid())]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, env={})


# ---- servers


def count_finished() -> None:
    """A request has been answered: who still does that is slow at worst, not stuck."""
    global _finished
    _finished += 1  # two threads that count as one do no harm


def watch_server(port: int) -> threading.Thread | None:
    """For each process of a server: say `READY=1` once the port answers, then watch it; None where nobody listens."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return None
    thread = threading.Thread(target=ServerWatch(port).run, name="notify", daemon=True)
    thread.start()
    return thread


class ServerWatch:
    """One server process: it moves while its port answers, or while requests get finished.

    Siblings share a port, so another one may answer. Each therefore leaves the time of its last good look in the unit's
    runtime folder, and whoever finds a living sibling silent there asks for the restart at once.
    """

    def __init__(self, port: int, *, folder: Path | None = None, every_s: float = EVERY_S) -> None:
        self._port, self._every_s = port, every_s
        runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        self._folder = folder or (Path(runtime) if runtime else None)
        self._seen = _finished
        self._looked = time.monotonic()

    def run(self) -> None:
        """Until the process ends."""
        self._beat(ahead_s=SILENT_START_S)
        while not probe(self._port):
            time.sleep(0.2)
        self._beat()
        ready()
        wanted = watchdog_s()
        while wanted is not None:
            self.turn()
            time.sleep(min(self._every_s, wanted / 4))

    def turn(self) -> None:
        """One look."""
        if not self._moves():
            return
        was, self._looked = self._looked, time.monotonic()
        self._beat()
        # Where we are late ourselves, all of us were frozen: the others get until the next look.
        silent = self._find_silent() if self._looked - was < SILENT_S / 2 else None
        if silent is None:
            send("WATCHDOG=1")
        else:
            send("WATCHDOG=trigger", f"STATUS=server process {silent} is stuck")

    def _moves(self) -> bool:
        before = self._seen
        answered = probe(self._port)
        self._seen = _finished
        return answered or self._seen != before

    def _beat(self, *, ahead_s: float = 0.0) -> None:
        """Leave the time; a process that still imports leaves one that is yet to come. A clock that nobody sets."""
        if self._folder is None:
            return
        moment = time.monotonic() + ahead_s
        file = self._folder / f"alive-{os.getpid()}"
        with suppress(OSError):
            file.touch()
            os.utime(file, (moment, moment))

    def _find_silent(self) -> int | None:
        """A living sibling that has not moved for too long."""
        for file in self._folder.glob("alive-*") if self._folder else ():
            pid = int(file.name.removeprefix("alive-"))
            with suppress(OSError):
                if not is_sibling(pid):
                    file.unlink()
                elif time.monotonic() - file.stat().st_mtime > SILENT_S:
                    return pid
        return None


def is_sibling(pid: int) -> bool:
    """Whether the process lives and has our parent."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    state, parent = line.rpartition(")")[2].split()[:2]
    return state != "Z" and int(parent) == os.getppid()


def probe(port: int, *, timeout_s: float = 1.0) -> bool:
    """Whether somebody answers on our port. What it says is the load balancer's affair (`/readyz`)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
