"""Starting and stopping units, whoever manages them: systemd, or `manage.py up --from-units` by its socket."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from qwenstudio.units.layout import Layout

ANSWER_S = 150.0  # a stop is answered when it is over, a GPU worker's after 90 s at worst


class UnitsError(Exception):
    """What was asked of the units could not be done; the text says what to do."""


class Units(Protocol):
    """Whoever manages units. Names are whole: `studio-web@blue.service`. All raise `UnitsError`."""

    def start(self, names: Sequence[str]) -> None:
        """Ask for these to run; what loads a model takes minutes, so nobody waits: look at `states`."""

    def stop(self, names: Sequence[str]) -> None:
        """End these, each in its own time; returns when they have ended."""

    def restart(self, names: Sequence[str]) -> None:
        """Stop and start again; does not wait."""

    def states(self, names: Sequence[str]) -> dict[str, str]:
        """systemd's words: active, activating, deactivating, inactive, failed."""

    def main_pid(self, name: str) -> int | None:
        """The process that the manager watches; None where there is none."""

    def enable(self, names: Sequence[str]) -> None:
        """Start these whenever the machine starts."""

    def disable(self, names: Sequence[str]) -> None:
        """No longer."""


class Supervised:
    """Asks `manage.py up --from-units`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def start(self, names: Sequence[str]) -> None:
        self._ask("start", names)

    def stop(self, names: Sequence[str]) -> None:
        self._ask("stop", names)

    def restart(self, names: Sequence[str]) -> None:
        self._ask("restart", names)

    def states(self, names: Sequence[str]) -> dict[str, str]:
        return dict(self._ask("states", names)["states"])

    def main_pid(self, name: str) -> int | None:
        found = self._ask("pid", [name])["pid"]
        return int(found) if found else None

    def enable(self, names: Sequence[str]) -> None:
        self._ask("enable", names)

    def disable(self, names: Sequence[str]) -> None:
        self._ask("disable", names)

    def answers(self) -> bool:
        """Whether it runs."""
        try:
            self._ask("states", [])
        except UnitsError:
            return False
        return True

    def _ask(self, what: str, names: Sequence[str]) -> dict[str, Any]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk, short_path(self._path) as address:
                talk.settimeout(ANSWER_S)
                talk.connect(address)
                talk.sendall(json.dumps({"do": what, "units": list(names)}).encode() + b"\n")
                with talk.makefile("rb") as answers:
                    line = answers.readline()
        except OSError as error:
            raise UnitsError(f"{self._path} does not answer ({error}): does manage.py up --from-units run?") from None
        if not line:
            raise UnitsError(f"{self._path} hung up without an answer: look at the output of manage.py up --from-units")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise UnitsError(str(found["error"]))
        return found


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """An address for a Unix socket at `path`: at most 107 bytes fit, so a long one goes by its open folder."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def pick_units(layout: Layout | None = None) -> Units:
    """Who manages the studio's units here; raises `UnitsError` where nobody does."""
    from qwenstudio.units.systemd import Systemd

    place = layout or Layout.here()
    supervised = Supervised(place.socket)
    if supervised.answers():
        return supervised
    if place.is_machine and Systemd.manages_studio():
        return Systemd()
    raise UnitsError(
        f"nobody manages the studio's units of {place.root}: install them (deploy/install), or start "
        f"`manage.py up --from-units --root {place.root}`"
    )
