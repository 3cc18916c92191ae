"""A small service manager for the installed unit files: what `manage.py up --from-units` runs.

It does with a unit's directives what systemd does with them (`unitfile.OBEYED`), without root, cgroups and sandboxes
(`unitfile.LEFT`), so that tests and people without systemd run the very command lines that are installed. One thread;
`control.Supervised` talks to it over a Unix socket, one line of JSON each way.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from qwenstudio.embedded.account import LAUNCH
from qwenstudio.supervise import Console, kill_group
from qwenstudio.units.catalog import TARGET, enabled_units
from qwenstudio.units.control import short_path
from qwenstudio.units.layout import Layout
from qwenstudio.units.unitfile import Unit, UnitError, put_variables, read_environment, read_unit

TICK_S = 0.05
KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "HOME")
"""What systemd would give, too; everything else comes from the unit."""


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
    talk: socket.socket | None = None
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


class Manager:
    """Runs units until told to stop."""

    def __init__(self, layout: Layout, *, console: Console) -> None:
        self.layout, self.console = layout, console
        self.instances: dict[str, Instance] = {}
        self.stopping = False
        self._signals = 0
        self._selector = selectors.DefaultSelector()
        self._folder = Path(tempfile.mkdtemp(prefix="studio-units-"))
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

    # ---- the loop

    def catch_signals(self) -> None:
        """SIGINT, SIGTERM and SIGHUP ask for a clean stop; a second one for a quick one."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
        self._signals += 1

    def run(self) -> None:
        """Start what is enabled, serve the socket, and stop everything in the end."""
        names = enabled_units(self.layout)
        for name in names:
            read_unit(self.layout.units, name)  # all of them are right, or nothing starts
        self._listen()
        try:
            for name in names:
                self.start(name)
            while not self.stopping:
                self.turn()
            self._end_all()
        finally:
            self.close()

    def turn(self) -> None:
        """Hear what there is to hear, then look at every unit."""
        for key, _ in self._selector.select(TICK_S):
            key.data(key.fileobj)
        now = time.monotonic()
        for instance in list(self.instances.values()):
            self._look(instance, now)

    def close(self) -> None:
        """Nothing of ours stays behind."""
        for instance in self.instances.values():
            if instance.process is not None:
                kill_group(instance.process.pid, signal.SIGKILL)
        if self._server is not None:
            self._server.close()
            self.layout.socket.unlink(missing_ok=True)
        self._selector.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end_all(self) -> None:
        self.console.say("stopping")
        for instance in self.instances.values():
            self.stop(instance.name)
        while any(instance.phase != Phase.DEAD for instance in self.instances.values()):
            if self._signals > 1:
                return  # `close` kills
            self.turn()

    # ---- what is asked for

    def start(self, name: str) -> Instance:
        """Read the unit anew and start it, unless it runs. Raises `UnitError`."""
        instance = self.instances.setdefault(name, Instance(name))
        if instance.phase in (Phase.BEFORE, Phase.START, Phase.RUN):
            instance.wanted = True
            return instance
        unit = read_unit(self.layout.units, name)
        instance.wanted, instance.failed = True, False
        if instance.phase == Phase.STOP:
            return instance  # begins again when it has ended
        instance.unit, instance.restarts = unit, 0
        self._begin(instance)
        return instance

    def stop(self, name: str) -> None:
        """End it and keep it so."""
        instance = self.instances.setdefault(name, Instance(name))
        instance.wanted = False
        if instance.phase == Phase.PAUSE:
            self._settle(instance)
        elif instance.phase in (Phase.BEFORE, Phase.START, Phase.RUN):
            self._ask_to_end(instance)

    # ---- a life

    def _begin(self, instance: Instance) -> None:
        unit = self._unit(instance)
        instance.step, instance.status = 0, ""
        instance.until = None if unit.start_s is None else time.monotonic() + unit.start_s
        instance.watchdog = instance.ends = None
        if unit.runtime_folder:
            folder = self.layout.run.parent / unit.runtime_folder
            folder.mkdir(parents=True, exist_ok=True)
        self._next_command(instance)

    def _next_command(self, instance: Instance) -> None:
        unit = self._unit(instance)
        main = instance.step >= len(unit.before)
        words = unit.start if main else unit.before[instance.step].words
        instance.phase = Phase.START if main else Phase.BEFORE
        try:
            instance.process = self._spawn(instance, words, main=main)
        except (OSError, UnitError) as error:
            if not main and unit.before[instance.step].may_fail:
                instance.step += 1
                self._next_command(instance)
                return
            self._note_end(instance, f"cannot be started: {error}", clean=False)
            return
        if main and not unit.notifies:
            self._note_ready(instance)

    def _spawn(self, instance: Instance, words: Sequence[str], *, main: bool) -> subprocess.Popen[bytes]:
        unit = self._unit(instance)
        environment = self._environment(instance)
        line = put_variables(words, environment)
        if main and unit.notifies:
            environment |= self._open_ears(instance)
        if not os.access(line[0], os.X_OK):
            raise UnitError(f"{line[0]} is no program")  # the launcher's own error would look like the unit's
        tie = [sys.executable, "-I", str(LAUNCH), "--tie", str(os.getpid()), "--"]
        process = subprocess.Popen(
            [*tie, *line],
            cwd=unit.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=unit.umask,
        )
        threading.Thread(target=self._relay, args=(instance.label, process), daemon=True).start()
        return process

    def _environment(self, instance: Instance) -> dict[str, str]:
        unit = self._unit(instance)
        found = {name: os.environ[name] for name in KEPT if name in os.environ} | dict(unit.environment)
        for path, optional in unit.environment_files:
            if not (optional and not Path(path).exists()):
                found |= read_environment(Path(path))
        if unit.runtime_folder:
            found["RUNTIME_DIRECTORY"] = str(self.layout.run.parent / unit.runtime_folder)
        return found

    def _relay(self, label: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101  (we asked for a pipe)
        for line in process.stdout:
            self.console.say(line.decode(errors="replace").rstrip("\n"), name=label)

    def _look(self, instance: Instance, now: float) -> None:
        """What the clock and the process's end ask for."""
        if instance.process is not None and (code := instance.process.poll()) is not None:
            self._note_exit(instance, code)
        elif instance.phase == Phase.PAUSE:
            if instance.until is not None and now >= instance.until:
                self._begin(instance)
        elif instance.watchdog is not None and now > instance.watchdog:
            self._abort(instance, "has said nothing for too long")
        elif instance.phase == Phase.RUN and instance.ends is not None and now > instance.ends:
            self.console.say(f"{instance.label} has reached its age")
            self._ask_to_end(instance)
        elif instance.until is not None and now > instance.until:
            self._note_late(instance)

    def _note_late(self, instance: Instance) -> None:
        if instance.phase == Phase.STOP:
            self.console.say(f"{instance.label} does not end; killing it")
            instance.until = None
            if instance.process is not None:
                kill_group(instance.process.pid, signal.SIGKILL)
        else:
            self.console.say(f"{instance.label} is not ready in time")
            self._ask_to_end(instance)

    def _note_exit(self, instance: Instance, code: int) -> None:
        unit, process = self._unit(instance), instance.process
        assert process is not None  # noqa: S101  (the caller has seen it end)
        kill_group(process.pid, signal.SIGKILL)  # what it left behind
        instance.process = None
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if instance.phase == Phase.BEFORE and instance.wanted:
            if code == 0 or unit.before[instance.step].may_fail:
                instance.step += 1
                self._next_command(instance)
                return
            how = f"ExecStartPre: {how}"
        self._note_end(instance, f"ended ({how})", clean=code == 0 or -code == signal.SIGTERM)

    def _note_end(self, instance: Instance, what: str, *, clean: bool) -> None:
        """The main process is gone: begin again, or leave it."""
        unit = self._unit(instance)
        self._close_ears(instance)
        instance.watchdog = instance.ends = instance.until = None
        again = unit.restart == "always" or (unit.restart == "on-failure" and not clean)
        if not instance.wanted:
            self._settle(instance)
            return
        if not again:
            instance.failed, instance.wanted = not clean, False
            self.console.say(f"{instance.label} {what}")
            self._settle(instance)
            return
        instance.restarts += 1
        instance.phase, instance.until = Phase.PAUSE, time.monotonic() + unit.pause_s
        self.console.say(f"{instance.label} {what}; starting it again")

    def _settle(self, instance: Instance) -> None:
        instance.phase, instance.until = Phase.DEAD, None
        unit = instance.unit
        if unit is not None and unit.runtime_folder:
            shutil.rmtree(self.layout.run.parent / unit.runtime_folder, ignore_errors=True)
        waiting, instance.waiting = instance.waiting, []
        for tell in waiting:
            tell()

    def _ask_to_end(self, instance: Instance) -> None:
        unit = self._unit(instance)
        instance.phase, instance.watchdog = Phase.STOP, None
        instance.until = None if unit.stop_s is None else time.monotonic() + unit.stop_s
        self._signal(instance, signal.Signals[unit.kill_signal])

    def _abort(self, instance: Instance, why: str) -> None:
        """The watchdog: SIGABRT, so that it may say where it stands, and SIGKILL soon after."""
        self.console.say(f"{instance.label} {why}; aborting it")
        unit = self._unit(instance)
        instance.phase, instance.watchdog = Phase.STOP, None
        instance.until = None if unit.abort_s is None else time.monotonic() + unit.abort_s
        self._signal(instance, signal.SIGABRT)

    def _signal(self, instance: Instance, number: signal.Signals) -> None:
        """As systemd: to the leader alone or to all, and SIGCONT behind it, or a stopped process would not hear it."""
        if instance.process is not None:
            alone = self._unit(instance).kill_mode == "mixed"
            kill_group(instance.process.pid, number, leader_only=alone)
            kill_group(instance.process.pid, signal.SIGCONT, leader_only=alone)

    def _unit(self, instance: Instance) -> Unit:
        assert instance.unit is not None  # noqa: S101  (`start` has read it)
        return instance.unit

    # ---- what processes say

    def _open_ears(self, instance: Instance) -> dict[str, str]:
        self._close_ears(instance)
        path = self._folder / f"{abs(hash(instance.name)):x}"
        path.unlink(missing_ok=True)
        talk = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        talk.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        talk.bind(str(path))
        instance.talk = talk
        self._selector.register(talk, selectors.EVENT_READ, lambda _: self._hear(instance))
        unit = self._unit(instance)
        watchdog = {"WATCHDOG_USEC": str(int(unit.watchdog_s * 1_000_000))} if unit.watchdog_s else {}
        return {"NOTIFY_SOCKET": str(path), **watchdog}

    def _close_ears(self, instance: Instance) -> None:
        if instance.talk is not None:
            self._selector.unregister(instance.talk)
            instance.talk.close()
            instance.talk = None

    def _hear(self, instance: Instance) -> None:
        while instance.talk is not None:
            try:
                data, extra, _, _ = instance.talk.recvmsg(4096, socket.CMSG_SPACE(struct.calcsize("3i")))
            except BlockingIOError:
                return
            pids = [struct.unpack("3i", value[:12])[0] for _, kind, value in extra if kind == socket.SCM_CREDENTIALS]
            if pids and self._may_speak(instance, pids[0]):
                for word in data.decode(errors="replace").splitlines():
                    self._obey(instance, word)

    def _may_speak(self, instance: Instance, pid: int) -> bool:
        if instance.process is None:
            return False
        if pid == instance.process.pid:
            return True
        try:
            return self._unit(instance).all_may_notify and os.getpgid(pid) == instance.process.pid
        except ProcessLookupError:
            return False

    def _obey(self, instance: Instance, word: str) -> None:
        unit = self._unit(instance)
        name, _, value = word.partition("=")
        if word == "READY=1" and instance.phase == Phase.START:
            self._note_ready(instance)
        elif word == "WATCHDOG=1" and instance.phase == Phase.RUN and unit.watchdog_s:
            instance.watchdog = time.monotonic() + unit.watchdog_s
        elif word == "WATCHDOG=trigger" and instance.phase == Phase.RUN:
            self._abort(instance, "asks for its own end")
        elif word == "STOPPING=1" and instance.phase == Phase.RUN:
            instance.phase, instance.watchdog = Phase.STOP, None
            instance.until = None if unit.stop_s is None else time.monotonic() + unit.stop_s
        elif name == "STATUS":
            instance.status = value
            self.console.say(f"{instance.label}: {value}")

    def _note_ready(self, instance: Instance) -> None:
        unit, now = self._unit(instance), time.monotonic()
        instance.phase, instance.until = Phase.RUN, None
        instance.watchdog = now + unit.watchdog_s if unit.watchdog_s else None
        instance.ends = now + unit.runtime_s if unit.runtime_s else None
        self.console.say(f"{instance.label} is active")

    # ---- the socket

    def _listen(self) -> None:
        path = self.layout.socket
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
            read_unit(self.layout.units, name)  # all of them are right, or none starts
        for name in names:
            self.start(name)
        answer({})

    def _ask_stop(self, names: list[str], answer: Callable[[dict[str, Any]], None]) -> None:
        for name in names:
            self.stop(name)
        left = [self.instances[name] for name in names if self.instances[name].phase != Phase.DEAD]
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
            read_unit(self.layout.units, name)
        for name in names:
            self.stop(name)
            self.instances[name].waiting.append(partial(self._start_again, name))
            if self.instances[name].phase == Phase.DEAD:
                self._settle(self.instances[name])
        answer({})

    def _start_again(self, name: str) -> None:
        self.start(name)

    def _ask_states(self, names: list[str], answer: Callable[[dict[str, Any]], None]) -> None:
        known = self.instances
        answer({"states": {name: known[name].state if name in known else "inactive" for name in names}})

    def _ask_pid(self, names: list[str], answer: Callable[[dict[str, Any]], None]) -> None:
        instance = self.instances.get(names[0])
        running = instance is not None and instance.process is not None and instance.phase != Phase.BEFORE
        answer({"pid": instance.process.pid if running and instance and instance.process else None})

    def _ask_enable(self, names: list[str], answer: Callable[[dict[str, Any]], None]) -> None:
        for name in names:
            read_unit(self.layout.units, name)
        enable(self.layout, names)
        answer({})

    def _ask_disable(self, names: list[str], answer: Callable[[dict[str, Any]], None]) -> None:
        for name in names:
            (self.layout.units / f"{TARGET}.wants" / name).unlink(missing_ok=True)
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
