"""Keeps the studio's processes running: starts them, shows their output in one log, starts them again, stops them.

Embedded servers that die are started again too, on the port that everybody knows.

Each child leads a process group of its own, so that Ctrl-C reaches only us and a dead leader's rest can be ended. Each
is tied to us: should we be killed, it gets SIGTERM by itself (`embedded/launch.py`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TextIO

import psutil

from qwenstudio.embedded.account import LAUNCH
from qwenstudio.embedded.errors import EmbeddedError
from qwenstudio.embedded.files import read_json, write_json
from qwenstudio.embedded.process import Server
from qwenstudio.processes import ROOT, Program, environment_of

STATE = "up.json"
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
HEALTHY_AFTER_S = 60.0
REFUSED = 3
"""The exit code of a child that says what somebody must repair (a broken checkpoint, a model too large)."""
FIRST_REFUSED_DELAY_S = 5.0
LONGEST_REFUSED_DELAY_S = 300.0
TICK_S = 0.1
COLOURS = ("36", "35", "33", "34", "32")
STRAY_GRACE_S = 10.0


class Console:
    """One output for all: lines keep whole, each with the name of who said it."""

    def __init__(self, output: TextIO, *, raw: bool = False) -> None:
        self.output, self.raw = output, raw
        self.colour = output.isatty() and not os.environ.get("NO_COLOR")
        self._lock = threading.Lock()
        self._colours: dict[str, str] = {}

    def say(self, text: str, *, name: str = "studio") -> None:
        """Write each line of `text` behind the name's prefix; in `raw` mode (JSON logs) children's lines stay bare."""
        bare = self.raw and name != "studio"
        for line in text.splitlines() or [""]:
            self._write(line if bare else f"{self._prefix(name)}{line}")

    def show(self, text: str) -> None:
        """Write a text as it stands."""
        self._write(text)

    def _prefix(self, name: str) -> str:
        label = f"{name:<9} │ "
        if not self.colour:
            return label
        code = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
        return f"\x1b[{code}m{label}\x1b[0m"

    def _write(self, line: str) -> None:
        with self._lock:
            try:
                self.output.write(line + "\n")
                self.output.flush()
            except (BrokenPipeError, ValueError):  # whoever read our log is gone; the studio goes on without
                self.output = open(os.devnull, "w")  # noqa: SIM115  (stays open until we end)


@dataclass
class Backoff:
    """The pause before the next start: doubled each time, short again after a healthy life."""

    seconds: float = 0.0

    def lengthen(self, *, healthy: bool) -> float:
        """The pause after one more end, in seconds."""
        longer = FIRST_DELAY_S if healthy else max(self.seconds * 2, FIRST_DELAY_S)
        self.seconds = min(longer, LONGEST_DELAY_S)
        return self.seconds

    def lengthen_refused(self) -> float:
        """The pause after a refusal: however long loading took, the next try will end alike until somebody helps."""
        self.seconds = min(max(self.seconds * 2, FIRST_REFUSED_DELAY_S), LONGEST_REFUSED_DELAY_S)
        return self.seconds


class EmbeddedServer(Protocol):
    """PostgreSQL or Valkey, as the supervisor sees them."""

    name: str
    port: int
    log_file: Path
    server: Server | None

    def start_again(self) -> None:
        """Start it on its old port without waiting for it; raises `EmbeddedError`."""


@dataclass
class KeptServer:
    """One embedded server, across its restarts."""

    part: EmbeddedServer
    started: float = field(default_factory=time.monotonic)
    backoff: Backoff = field(default_factory=Backoff)
    next_start: float | None = None
    """None while it runs."""


@dataclass
class Child:
    """One supervised process, across its restarts."""

    program: Program
    environment: Mapping[str, str]
    line: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)
    next_start: float = 0.0
    restarts: int = 0
    readers: list[threading.Thread] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name in the log."""
        return self.program.name

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self.process.pid if self.process and self.process.poll() is None else None


class Supervisor:
    """Runs a list of programs until told to stop."""

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        environment: Mapping[str, str],
        values: Mapping[str, object],
        var: Path,
        console: Console,
        servers: Sequence[EmbeddedServer] = (),
    ) -> None:
        self.servers = [KeptServer(part) for part in servers]
        torch_processes = sum(program.torch for program in programs)
        self.children = [
            Child(
                program,
                environment_of(program, base=dict(environment), torch_processes=torch_processes),
                [word.format(**values) if "{" in word else word for word in program.line],
            )
            for program in programs
        ]
        self.state_file, self.console = var / STATE, console
        self.stopping = False
        self._signals = 0

    def child(self, name: str) -> Child | None:
        """The child with this name."""
        return next((child for child in self.children if child.name == name), None)

    # ---- signals

    def catch_signals(self) -> None:
        """SIGINT, SIGTERM and SIGHUP ask for a clean stop; a second one for a quick one."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
        self._signals += 1

    # ---- running

    def start(self, names: Sequence[str] | None = None) -> None:
        """Start the children that do not run yet (those named, or all)."""
        for child in self.children:
            if child.process is None and (names is None or child.name in names):
                self._start(child)

    def run(self, *, each_tick: Callable[[], None] = lambda: None) -> None:
        """Watch servers and children until somebody asks us to stop."""
        while not self.stopping:
            self._watch()
            each_tick()
            time.sleep(TICK_S)

    def _start(self, child: Child) -> None:
        child.process = subprocess.Popen(
            [sys.executable, "-I", str(LAUNCH), "--tie", str(os.getpid()), "--", *child.line],
            cwd=ROOT,
            env=dict(child.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        child.started = time.monotonic()
        reader = threading.Thread(target=self._relay, args=(child.name, child.process), daemon=True)
        reader.start()
        child.readers = [thread for thread in child.readers if thread.is_alive()] + [reader]
        self._record()

    def _relay(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101  (we asked for a pipe)
        for line in process.stdout:
            self.console.say(line.decode(errors="replace").rstrip("\n"), name=name)

    def _watch(self) -> None:
        now = time.monotonic()
        for kept in self.servers:  # first: the children need them
            if kept.next_start is None:
                if kept.part.server is None or not kept.part.server.is_running():
                    self._plan_server(kept, f"ended (see {kept.part.log_file})", now)
            elif now >= kept.next_start:
                self._start_server(kept, now)
        for child in self.children:
            if child.process is None:
                if child.restarts and now >= child.next_start:
                    self._start(child)
            elif (code := child.process.poll()) is not None:
                self._note_end(child, code, now)

    def _plan_server(self, kept: KeptServer, what: str, now: float) -> None:
        """A server does not run: plan its next start."""
        delay_s = kept.backoff.lengthen(healthy=now - kept.started > HEALTHY_AFTER_S)
        self.console.say(f"{kept.part.name} {what}; starting it again in {delay_s:g} s")
        kept.next_start = now + delay_s

    def _start_server(self, kept: KeptServer, now: float) -> None:
        kept.started = now
        try:
            kept.part.start_again()
        except (EmbeddedError, OSError, psutil.Error) as error:
            self._plan_server(kept, f"cannot be started: {error}", now)
            return
        kept.next_start = None
        self.console.say(f"{kept.part.name}: started again on port {kept.part.port}")

    def _note_end(self, child: Child, code: int, now: float) -> None:
        """A child has ended without being asked: end what it left, and plan its next start."""
        assert child.process is not None  # noqa: S101  (the caller has seen it end)
        kill_group(child.process.pid, signal.SIGKILL)
        if code == REFUSED:
            delay_s = child.backoff.lengthen_refused()
            self.console.say(f"{child.name} cannot work: its line above says why; trying it again in {delay_s:g} s")
        else:
            delay_s = child.backoff.lengthen(healthy=now - child.started > child.program.healthy_after_s)
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            self.console.say(f"{child.name} ended ({how}); starting it again in {delay_s:g} s")
        child.process = None
        child.restarts += 1
        child.next_start = now + delay_s

    # ---- stopping

    def stop(self) -> None:
        """Ask all children to finish, wait as long as each may take, kill what is left."""
        self.stopping = True
        begin, asked = time.monotonic(), self._signals
        for child in self.children:
            if child.process is not None:
                kill_group(child.process.pid, signal.SIGTERM, leader_only=True)
        for child in self.children:
            if child.process is None:
                continue
            while child.process.poll() is None:
                if time.monotonic() - begin > child.program.stop_s or self._signals > max(asked, 1):
                    self.console.say(f"{child.name} does not stop; killing it")
                    break
                time.sleep(0.02)
            kill_group(child.process.pid, signal.SIGKILL)
            child.process.wait()
            for reader in child.readers:
                reader.join(1)
            child.process = None
        self._record()

    # ---- what a killed supervisor leaves

    def _record(self) -> None:
        running = {
            child.name: {"pid": child.process.pid, "created": psutil.Process(child.process.pid).create_time()}
            for child in self.children
            if child.process is not None and child.process.poll() is None
        }
        try:
            write_json(self.state_file, read_json(self.state_file) | {"children": running})
        except OSError as error:  # a full disk is no reason to end the studio
            self.console.say(f"{self.state_file} cannot be written: {error}")


def kill_group(leader: int, number: signal.Signals, *, leader_only: bool = False) -> None:
    """Signal a child's process group, or its leader alone (who then ends the others in its own order)."""
    try:
        if leader_only:
            os.kill(leader, number)
        else:
            os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):  # macOS answers the latter for a group of zombies
        return


def end_strays(var: Path, *, console: Console) -> None:
    """End children of a supervisor that was killed: most have gone by themselves, or are about to."""
    recorded: dict[str, Any] = read_json(var / STATE).get("children", {})
    strays = [found for entry in recorded.values() if (found := find_stray(entry))]
    for process in strays:
        console.say(f"ending process {process.pid}, left by a studio that was killed")
        kill_group(process.pid, signal.SIGTERM, leader_only=True)
    _, alive = psutil.wait_procs(strays, timeout=STRAY_GRACE_S)
    for process in strays:
        kill_group(process.pid, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5)


def find_stray(entry: Mapping[str, Any]) -> psutil.Process | None:
    """The recorded process if it still is that one: pid and start time must agree."""
    try:
        process = psutil.Process(int(entry["pid"]))
        return process if abs(process.create_time() - float(entry["created"])) < 0.05 else None
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return None
