"""The socket by which units are started and stopped: a line of JSON with `do` and `units`, a line back."""

from __future__ import annotations

import json
import os
import selectors
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from qwenstudio.units.catalog import TARGET
from qwenstudio.units.control import short_path
from qwenstudio.units.instance import Phase
from qwenstudio.units.layout import Layout
from qwenstudio.units.unitfile import UnitError, read_unit

if TYPE_CHECKING:
    from qwenstudio.units.supervised import Manager


class Doorway:
    """Serves a manager's socket, inside the manager's own loop."""

    def __init__(self, manager: Manager, selector: selectors.BaseSelector) -> None:
        self._manager, self._selector = manager, selector
        self._server: socket.socket | None = None
        self._acts: dict[str, Callable[[list[str], Callable[[dict[str, Any]], None]], None]] = {
            "start": self._ask_start,
            "stop": self._ask_stop,
            "restart": self._ask_restart,
            "states": self._ask_states,
            "pid": self._ask_pid,
            "enable": self._ask_enable,
            "disable": self._ask_disable,
        }

    def close(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self._server.close()
            self._manager.layout.socket.unlink(missing_ok=True)

    def listen(self) -> None:
        """From now on; the socket is for its owner alone."""
        path = self._manager.layout.socket
        path.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        old = os.umask(0o177)  # never open to others, not even for a moment
        try:
            with short_path(path) as address:
                server.bind(address)
        finally:
            os.umask(old)
        server.listen(16)
        self._server = server
        self._selector.register(server, selectors.EVENT_READ, self._accept)

    def _accept(self, server: socket.socket) -> None:
        client, _ = server.accept()
        client.settimeout(2)
        answer = Answer(client)
        try:
            with client.makefile("rb") as lines:
                asked = json.loads(lines.readline(65536))
            names = [str(name) for name in asked["units"]]
            self._acts[asked["do"]](names, answer)
        except (UnitError, OSError) as error:
            answer({"error": str(error)})
        except (ValueError, KeyError, TypeError):
            answer({"error": "the question was no line of JSON with `do` and `units`"})

    def _ask_start(self, names: list[str], answer: Callable[[dict[str, Any]], None]) -> None:
        for name in names:
            read_unit(self._manager.layout.units, name)  # all of them are right, or none starts
        for name in names:
            self._manager.start(name)
        answer({})

    def _ask_stop(self, names: list[str], answer: Callable[[dict[str, Any]], None]) -> None:
        for name in names:
            self._manager.stop(name)
        left = [self._manager.instances[name] for name in names if self._manager.instances[name].phase != Phase.DEAD]
        if not left:
            answer({})
            return

        def tell() -> None:
            if all(instance.phase == Phase.DEAD for instance in left):
                answer({})

        for instance in left:
            instance.waiting.append(tell)

    def _ask_restart(self, names: list[str], answer: Callable[[dict[str, Any]], None]) -> None:
        for name in names:
            read_unit(self._manager.layout.units, name)
        for name in names:
            self._manager.stop(name)
            self._manager.instances[name].waiting.append(partial(self._start_again, name))
            if self._manager.instances[name].phase == Phase.DEAD:
                self._manager.settle(self._manager.instances[name])
        answer({})

    def _start_again(self, name: str) -> None:
        self._manager.start(name)

    def _ask_states(self, names: list[str], answer: Callable[[dict[str, Any]], None]) -> None:
        known = self._manager.instances
        answer({"states": {name: known[name].state if name in known else "inactive" for name in names}})

    def _ask_pid(self, names: list[str], answer: Callable[[dict[str, Any]], None]) -> None:
        instance = self._manager.instances.get(names[0])
        running = instance is not None and instance.process is not None and instance.phase != Phase.BEFORE
        answer({"pid": instance.process.pid if running and instance and instance.process else None})

    def _ask_enable(self, names: list[str], answer: Callable[[dict[str, Any]], None]) -> None:
        for name in names:
            read_unit(self._manager.layout.units, name)
        enable(self._manager.layout, names)
        answer({})

    def _ask_disable(self, names: list[str], answer: Callable[[dict[str, Any]], None]) -> None:
        for name in names:
            (self._manager.layout.units / f"{TARGET}.wants" / name).unlink(missing_ok=True)
        answer({})


class Answer:
    """One line to whoever asked; a client that has left misses nothing."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client

    def __call__(self, words: Mapping[str, Any]) -> None:
        try:
            self._client.sendall(json.dumps(words).encode() + b"\n")
        except OSError:
            return
        finally:
            self._client.close()


def enable(layout: Layout, names: Sequence[str]) -> None:
    """The links by which `studio.target` wants these."""
    wants = layout.units / f"{TARGET}.wants"
    wants.mkdir(parents=True, exist_ok=True)
    for name in names:
        link = wants / name
        if not link.is_symlink():
            link.symlink_to(layout.units / (name if "@" not in name else name.split("@")[0] + "@.service"))
