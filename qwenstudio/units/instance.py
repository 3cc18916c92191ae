"""One unit in the small service manager: where it stands, and what its processes say."""

from __future__ import annotations

import os
import selectors
import socket
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from qwenstudio.units.unitfile import Unit


class Phase(StrEnum):
    """Where a unit stands."""

    DEAD = "dead"
    BEFORE = "before"
    START = "start"
    RUN = "run"
    STOP = "stop"
    PAUSE = "pause"


STATES = {
    Phase.BEFORE: "activating",
    Phase.START: "activating",
    Phase.PAUSE: "activating",
    Phase.RUN: "active",
    Phase.STOP: "deactivating",
}


@dataclass
class Instance:
    """One unit, across its restarts."""

    name: str
    unit: Unit | None = None
    phase: Phase = Phase.DEAD
    failed: bool = False
    wanted: bool = False
    process: subprocess.Popen[bytes] | None = None
    step: int = 0
    until: float | None = None
    """When the present phase has taken too long, or the pause is over."""
    watchdog: float | None = None
    ends: float | None = None
    restarts: int = 0
    status: str = ""
    waiting: list[Callable[[], None]] = field(default_factory=list)
    """Whom to tell that it has ended."""

    @property
    def state(self) -> str:
        """systemd's word."""
        return STATES.get(self.phase, "failed" if self.failed else "inactive")

    @property
    def label(self) -> str:
        """Its name in the log."""
        return self.name.removeprefix("studio-").removesuffix(".service")


class Ears:
    """The notify socket of one unit: who may speak is heard, word by word."""

    def __init__(self, path: Path, selector: selectors.BaseSelector, *, heard: Callable[[str], None]) -> None:
        self._path, self._selector, self._heard = path, selector, heard
        self._talk: socket.socket | None = None

    def open(self, unit: Unit, process: Callable[[], int | None]) -> dict[str, str]:
        """Listen anew; what the process has to know. `process` tells whom the unit is about."""
        self.close()
        self._path.unlink(missing_ok=True)
        talk = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        talk.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        talk.bind(str(self._path))
        self._talk = talk
        self._selector.register(talk, selectors.EVENT_READ, lambda _: self._hear(unit, process))
        watchdog = {"WATCHDOG_USEC": str(int(unit.watchdog_s * 1_000_000))} if unit.watchdog_s else {}
        return {"NOTIFY_SOCKET": str(self._path), **watchdog}

    def close(self) -> None:
        """Hear nobody any more."""
        if self._talk is not None:
            self._selector.unregister(self._talk)
            self._talk.close()
            self._talk = None

    def _hear(self, unit: Unit, process: Callable[[], int | None]) -> None:
        while self._talk is not None:
            try:
                data, extra, _, _ = self._talk.recvmsg(4096, socket.CMSG_SPACE(struct.calcsize("3i")))
            except BlockingIOError:
                return
            pids = [struct.unpack("3i", value[:12])[0] for _, kind, value in extra if kind == socket.SCM_CREDENTIALS]
            if pids and may_speak(unit, process(), pids[0]):
                for word in data.decode(errors="replace").splitlines():
                    self._heard(word)


def may_speak(unit: Unit, main: int | None, pid: int) -> bool:
    """The unit's own process, and with `NotifyAccess=all` those of its group."""
    if main is None or pid == main:
        return main is not None
    try:
        return unit.all_may_notify and os.getpgid(pid) == main
    except ProcessLookupError:
        return False
