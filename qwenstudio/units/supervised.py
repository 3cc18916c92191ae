"""A small service manager for the installed unit files: what `manage.py up --from-units` runs.

It does with a unit's directives what systemd does with them (`unitfile.OBEYED`), without root, cgroups and sandboxes
(`unitfile.LEFT`), so that tests and people without systemd run the very command lines that are installed. One thread;
`control.Supervised` talks to it over a Unix socket, one line of JSON each way.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType

from qwenstudio.embedded.account import LAUNCH
from qwenstudio.supervise import Console, kill_group
from qwenstudio.units.catalog import enabled_units
from qwenstudio.units.doorway import Doorway
from qwenstudio.units.instance import Ears, Instance, Phase
from qwenstudio.units.layout import Layout
from qwenstudio.units.unitfile import Unit, UnitError, put_variables, read_environment, read_unit

TICK_S = 0.05
KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "HOME")
"""What systemd would give, too; everything else comes from the unit."""


class Manager:
    """Runs units until told to stop."""

    def __init__(self, layout: Layout, *, console: Console) -> None:
        self.layout, self.console = layout, console
        self.instances: dict[str, Instance] = {}
        self.stopping = False
        self._signals = 0
        self._selector = selectors.DefaultSelector()
        self._folder = Path(tempfile.mkdtemp(prefix="studio-units-"))
        self._listeners: dict[str, Ears] = {}
        self._doorway = Doorway(self, self._selector)

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
        self._doorway.listen()
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
        self._doorway.close()
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
            self.settle(instance)
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
            environment |= self._ears(instance).open(unit, lambda: instance.process.pid if instance.process else None)
        if not os.access(line[0], os.X_OK):
            raise UnitError(f"{line[0]} is no program")  # the launcher's own error would look like the unit's
        nice = [] if unit.nice is None else ["--nice", str(unit.nice)]
        tie = [sys.executable, "-I", str(LAUNCH), *nice, "--tie", str(os.getpid()), "--"]
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
        self._ears(instance).close()
        instance.watchdog = instance.ends = instance.until = None
        again = unit.restart == "always" or (unit.restart == "on-failure" and not clean)
        if not instance.wanted:
            self.settle(instance)
            return
        if not again:
            instance.failed, instance.wanted = not clean, False
            self.console.say(f"{instance.label} {what}")
            self.settle(instance)
            return
        instance.restarts += 1
        instance.phase, instance.until = Phase.PAUSE, time.monotonic() + unit.pause_s
        self.console.say(f"{instance.label} {what}; starting it again")

    def settle(self, instance: Instance) -> None:
        """It has ended for good: whoever waits for that is told."""
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

    def _ears(self, instance: Instance) -> Ears:
        if instance.name not in self._listeners:
            path = self._folder / str(len(self._listeners))
            self._listeners[instance.name] = Ears(path, self._selector, heard=partial(self._obey, instance))
        return self._listeners[instance.name]

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
