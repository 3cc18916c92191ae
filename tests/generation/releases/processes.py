"""Two lanes of the product's own processes: Granian, errand workers, GPU workers with the sleeping engine, a ticker.

Everything that a release command must find again when it is typed a second time lies in a folder (`RELEASE_RIG`): who
runs under which unit's name, which release a lane is, where people are led. The proxy is that note alone: the clients
of a test read it before each request. What a release sets in its environment stands in `<release>.json`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from generation.releases.tools import LANES, Address, Migration, Tools, Traffic

ROOT = Path(__file__).resolve().parents[3]
ENGINE = "tests.chaos.sleeping:Sleeping"
TICKER = "studio-ticker.service"
STOP_S = 20.0
_started: dict[int, subprocess.Popen[bytes]] = {}  # of this process: a child that has ended is to be fetched


def make_tools() -> Tools:
    """For `manage.py release --tools`."""
    return rig_tools(Path(os.environ["RELEASE_RIG"]))


def rig_tools(folder: Path) -> Tools:
    notes = Notes(folder)
    return Tools(
        units=Processes(notes),
        proxy=Note(notes),
        code=Links(notes),
        lane_units=lane_units,
        address=lambda lane: Address(web=notes.read("ports")[lane]),
        log_of=lambda unit: f"less {folder / unit}.log",
        shared_units=(TICKER,),
    )


def lane_units(lane: str) -> list[str]:
    return [f"studio-web@{lane}.service", f"studio-worker@{lane}.service", f"studio-gpu@{lane}-0.service"]


@dataclass(frozen=True)
class Notes:
    """Small JSON files that are always whole."""

    folder: Path

    def read(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        beside = self.folder / f"{name}.json.{os.getpid()}"
        beside.write_text(json.dumps(value), encoding="utf-8")
        beside.replace(self.folder / f"{name}.json")

    def put(self, name: str, **values: Any) -> None:
        self.write(name, self.read(name) | values)


@dataclass(frozen=True)
class Processes:
    """Units as processes that outlive whoever started them."""

    notes: Notes

    def start(self, names: Sequence[str]) -> None:
        for name in names:
            if self._process(name) is None:
                self._start(name)

    def stop(self, names: Sequence[str]) -> None:
        found = [process for name in names if (process := self._process(name)) is not None]
        for process in found:
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + STOP_S
        for process in found:
            wait_ended(process, until=until)
        for name in names:
            self.notes.put("running", **{name: None})

    def restart(self, names: Sequence[str]) -> None:
        self.stop(names)
        self.start(names)

    def states(self, names: Sequence[str]) -> dict[str, str]:
        running = self.notes.read("running")
        return {
            name: "active" if self._process(name) else "failed" if running.get(name) else "inactive" for name in names
        }

    def enable(self, names: Sequence[str]) -> None:
        self.notes.put("enabled", **dict.fromkeys(names, True))

    def disable(self, names: Sequence[str]) -> None:
        self.notes.put("enabled", **dict.fromkeys(names, False))

    def kill(self, name: str) -> None:
        """SIGKILL, with its children."""
        if (process := self._process(name)) is not None:
            os.killpg(process.pid, signal.SIGKILL)
            wait_ended(process, until=time.monotonic() + 10)

    def _process(self, name: str) -> psutil.Process | None:
        noted = self.notes.read("running").get(name)
        if not noted:
            return None
        if (child := _started.get(noted["pid"])) is not None:
            child.poll()
        try:
            process = psutil.Process(noted["pid"])
            same = abs(process.create_time() - noted["created"]) < 0.05
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def _start(self, name: str) -> None:
        kind, _, rest = name.removesuffix(".service").partition("@")
        lane = rest.partition("-")[0] or "blue"
        release = self.notes.read("links").get(lane, "")
        role, line = self._line(kind, port=str(self.notes.read("ports")[lane]))
        environment = {
            **os.environ, "STUDIO_PROCESS": role, "STUDIO_LANE": lane, "STUDIO_RELEASE": release,
            "STUDIO_LOG": "console", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **self.notes.read(release),
        }  # fmt: skip
        with (self.notes.folder / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, *line], cwd=ROOT, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        _started[child.pid] = child
        created = psutil.Process(child.pid).create_time()
        self.notes.put("running", **{name: {"pid": child.pid, "created": created}})

    @staticmethod
    def _line(kind: str, *, port: str) -> tuple[str, tuple[str, ...]]:
        granian = ("-m", "granian", "--interface", "asgi", "--no-ws", "--host", "127.0.0.1", "--port", port)
        return {
            "studio-web": ("web", (*granian, "--workers", "1", "--log-level", "warning", "qwenstudio.asgi:front")),
            "studio-worker": ("errands", ("manage.py", "errandworker")),
            "studio-gpu": ("worker", ("manage.py", "gpuworker", "--pool", "demo", "--engine", ENGINE)),
            "studio-ticker": ("ticker", ("manage.py", "ticker")),
        }[kind]


def wait_ended(process: psutil.Process, *, until: float) -> None:
    """Until it has ended, whoever's child it is; killed when the time is up."""
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if (child := _started.get(process.pid)) is not None:
            child.poll()
        if time.monotonic() > until:
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.02)


@dataclass(frozen=True)
class Note:
    """Where people are led, for the test's clients to read."""

    notes: Notes

    def apply(self, traffic: Traffic) -> None:
        self.notes.write("proxy", {"default": traffic.default, "live": sorted(traffic.live), "sticky": traffic.sticky})

    def read(self) -> Traffic | None:
        found = self.notes.read("proxy")
        return Traffic(found["default"], frozenset(found["live"]), sticky=found["sticky"]) if found else None


@dataclass(frozen=True)
class Links:
    """Which release a lane is."""

    notes: Notes

    def installed(self) -> list[str]:
        return list(self.notes.read("installed"))

    def release_of(self, lane: str) -> str:
        return str(self.notes.read("links").get(lane, ""))

    def tasks_of(self, lane: str) -> Path:
        return ROOT / "deploy" / "tasks.toml"  # one checkout is all releases

    def link(self, lane: str, release: str) -> None:
        self.notes.put("links", **{lane: release})

    def make_current(self, lane: str) -> None:
        self.notes.put("current", lane=lane)

    def unapplied(self, release: str) -> list[Migration]:
        return []  # one checkout is all releases

    def migrate(self, release: str) -> None:
        raise AssertionError("there is nothing to migrate")

    def collect_static(self, release: str) -> None:
        return  # from the checkout itself

    def remove_old(self) -> list[str]:
        return []


def begin(folder: Path, *, ports: Mapping[str, int], releases: Mapping[str, Mapping[str, str]]) -> Processes:
    """Blue serves the last of these releases (name → environment), as an install leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    notes = Notes(folder)
    for name, environment in releases.items():
        notes.write(name, environment)
    notes.write("installed", dict.fromkeys(releases, True))
    notes.write("ports", ports)
    notes.write("links", {"blue": list(releases)[-1]})
    notes.write("proxy", {"default": "blue", "live": ["blue"], "sticky": False})
    processes = Processes(notes)
    processes.start([*lane_units("blue"), TICKER])
    processes.enable([*lane_units("blue"), TICKER])
    return processes


def end(processes: Processes) -> None:
    """Kill whatever still runs."""
    for name in [*(unit for lane in LANES for unit in lane_units(lane)), TICKER]:
        processes.kill(name)
