"""One running studio per state folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

from qwenstudio.embedded.files import make_private_folder

FILE = "up.lock"


class AlreadyRunning(Exception):
    """Somebody holds the state folder; the text names its process and address."""


class StateLock:
    """An advisory lock on `$STUDIO_VAR/up.lock`. The kernel lets go of it when its holder dies, however it dies."""

    def __init__(self, var: Path) -> None:
        self.path = make_private_folder(var) / FILE
        self._file: int | None = None

    def acquire(self, *, address: str, settings: Mapping[str, str] | None = None) -> None:
        """Take the lock and leave pid and address in the file; raises `AlreadyRunning`.

        `settings` are variables that commands typed beside it should have too (`read_settings`).
        """
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid, _, where = os.read(handle, 400).decode(errors="replace").partition("\n")[0].partition(" ")
            os.close(handle)
            raise AlreadyRunning(
                f"The studio of {self.path.parent} is running already: process {pid or '?'}, {where or 'starting'}. "
                f"Stop it with `kill {pid or 'PID'}`, or give this copy its own STUDIO_VAR and STUDIO_PORT."
            ) from None
        os.ftruncate(handle, 0)
        lines = [f"{os.getpid()} {address}", *(f"{name}={value}" for name, value in (settings or {}).items())]
        os.pwrite(handle, ("\n".join(lines) + "\n").encode(), 0)
        self._file = handle

    def release(self) -> None:
        """Let go; the file stays (removing it would race with the next holder)."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None


def read_settings(var: Path) -> dict[str, str]:
    """The variables that whoever holds the state folder has left for others; empty where nobody has."""
    try:
        lines = (var / FILE).read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    except OSError:
        return {}
    return {name: value for name, sign, value in (line.partition("=") for line in lines) if sign}
