"""The studio's units by systemctl."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from qwenstudio.units.catalog import TARGET
from qwenstudio.units.control import UnitsError

STOP_S = 150.0


class Systemd:
    """Asks systemd. Needs root for everything but looking."""

    def start(self, names: Sequence[str]) -> None:
        # A unit that was given up starts again all the same.
        self._call("reset-failed", *names, may_fail=True)
        self._call("start", "--no-block", *names)

    def stop(self, names: Sequence[str]) -> None:
        self._call("stop", *names)

    def restart(self, names: Sequence[str]) -> None:
        self._call("restart", "--no-block", *names)

    def states(self, names: Sequence[str]) -> dict[str, str]:
        return {name: self._show(name, "ActiveState") for name in names}

    def main_pid(self, name: str) -> int | None:
        return int(self._show(name, "MainPID") or 0) or None

    def enable(self, names: Sequence[str]) -> None:
        self._call("enable", *names)

    def disable(self, names: Sequence[str]) -> None:
        self._call("disable", *names)

    @classmethod
    def manages_studio(cls) -> bool:
        """Whether systemd runs here and knows the studio."""
        if shutil.which("systemctl") is None:
            return False
        try:
            return cls()._show(TARGET, "LoadState") == "loaded"
        except UnitsError:
            return False

    def _show(self, name: str, what: str) -> str:
        return self._call("show", "--property", what, "--value", name).strip()

    def _call(self, *words: str, may_fail: bool = False) -> str:
        line = ["systemctl", "--no-ask-password", *words]
        try:
            done = subprocess.run(line, capture_output=True, text=True, timeout=STOP_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UnitsError(f"`{' '.join(line)}` did not end well: {error}") from None
        if done.returncode != 0 and not may_fail:
            said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise UnitsError(f"`{' '.join(line)}`: {said}")
        return done.stdout
