"""What the chaos tests need around the studio: its processes as children, and things to do to them.

The processes are the product's own (`manage.py gpuworker`, `ticker`, `errandworker`, granian); only the engine sleeps.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import psycopg

from qwenstudio.embedded import Services

ROOT = Path(__file__).resolve().parents[2]
Submit = Callable[..., UUID]
ENGINE = "tests.chaos.sleeping:Sleeping"


def make_entry() -> dict[str, object]:
    """The model entry that the sleeping engine serves: the demo's slug, small pictures, batches of eight."""
    from generation.engine.catalog import ModelSpec

    return ModelSpec.from_table(
        "demo",
        {
            "family": "qwen-image",
            "path": "sleeping",
            "pool": "demo",
            "title": "Sleeping",
            "default_steps": 4,
            "max_steps": 8,
            "true_cfg_scale": 1.0,
            "default_width": 64,
            "default_height": 64,
            "max_width": 512,
            "max_height": 512,
            "batch_max": 8,
            "cost_ms": 60,
        },
    ).to_table()


def offer_sleeping_model() -> None:
    """Write the entry into the database (the tests' Django must be set up)."""
    from generation.models import Model

    entry = make_entry()
    Model.objects.update_or_create(slug="demo", defaults={"title": "Sleeping", "pool": "demo", "spec": entry})


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Poll every 50 ms; raises AssertionError naming `what` after `seconds`."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


@dataclass
class Rig:
    """Children by name, and eyes of the database's administrator."""

    services: Services
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    # 1. Processes

    def start(self, name: str, *line: str, role: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a child; its output goes to `<folder>/<name>.log`."""
        whole = {**os.environ, "STUDIO_PROCESS": role, "STUDIO_LOG": "console", "OMP_NUM_THREADS": "1"}
        whole |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "PYTHONPATH": str(ROOT)}
        whole |= self.environment | environment
        with (self.folder / f"{name}.log").open("ab") as output:
            child = subprocess.Popen([sys.executable, *line], cwd=ROOT, env=whole, stdout=output, stderr=output)
        self.children[name] = child
        return child

    def start_worker(
        self, name: str = "worker", *, lease: int = 30, engine: str = ENGINE, **environment: str
    ) -> subprocess.Popen[bytes]:
        words = ("gpuworker", "--pool", "demo", "--lease", str(lease), *(("--engine", engine) if engine else ()))
        return self.start(name, "manage.py", *words, role="worker", **environment)

    def start_ticker(self, name: str = "ticker") -> subprocess.Popen[bytes]:
        return self.start(name, "manage.py", "ticker", role="ticker")

    def start_errands(self, name: str = "errands") -> subprocess.Popen[bytes]:
        return self.start(name, "manage.py", "errandworker", role="errands")

    def start_web(self, port: int) -> subprocess.Popen[bytes]:
        line = ("-m", "granian", "--interface", "asgi", "--no-ws", "--host", "127.0.0.1", "--port", str(port))
        line += ("--workers", "1", "--log-level", "warning", "--working-dir", str(ROOT), "qwenstudio.asgi:front")
        return self.start("web", *line, role="web")

    def start_impatient(
        self, name: str = "worker", *, lease: int, floor_s: float = 3.0, first_s: float = 20.0, **environment: str
    ) -> subprocess.Popen[bytes]:
        """A worker with short deadlines: `floor_s` for phases that were measured, `first_s` for others."""
        program = (
            "import django; django.setup()\n"
            "from generation.worker.clock import Deadlines\n"
            "from generation.worker.serve import GpuWorker, Plan\n"
            "from generation.worker.stop import StopFlag\n"
            "from tests.chaos.sleeping import Sleeping\n"
            f"plan = Plan(lane='blue', pool='demo', lease_s={lease})\n"
            f"deadlines = Deadlines(floor_s={floor_s}, first_s={first_s})\n"
            "stop = StopFlag(); stop.install()\n"
            "raise SystemExit(GpuWorker(plan, engine=Sleeping(), stop=stop, deadlines=deadlines).run())\n"
        )
        return self.start(
            name, "-c", program, role="worker", DJANGO_SETTINGS_MODULE="qwenstudio.settings", **environment
        )

    def signal(self, name: str, number: signal.Signals) -> None:
        self.children[name].send_signal(number)

    def end(self, name: str, *, seconds: float = 90) -> int:
        """SIGTERM, and the exit code."""
        child = self.children.pop(name)
        if child.poll() is None:
            child.terminate()
        return child.wait(seconds)

    def close(self) -> None:
        """Kill whatever still runs, with the processes that it has started: Granian's worker would outlive it."""
        for child in self.children.values():
            if child.poll() is None:
                for process in psutil.Process(child.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
                child.send_signal(signal.SIGCONT)
                child.kill()
            child.wait(60)
        self.children.clear()

    def log(self, name: str) -> str:
        file = self.folder / f"{name}.log"
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    # 2. The truth

    def ask(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        """One statement as the administrator, who sees every tenant's rows."""
        with psycopg.connect(self.services.superuser_url, autocommit=True) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def count(self, *statuses: str) -> int:
        """How many are in one of these states, at one moment: between two looks a row may go back to where it was."""
        sql = "SELECT count(*) FROM generation_generation WHERE status = ANY(%s)"
        return int(str(self.ask(sql, list(statuses))[0][0]))

    def wait_for_worker(self, *, seconds: float = 120, pid: int | None = None) -> None:
        """Until a worker (this one) is ready to draw."""
        sql = "SELECT 1 FROM generation_worker WHERE state IN ('idle', 'busy') AND (%s::int IS NULL OR pid = %s::int)"
        wait_until(lambda: bool(self.ask(sql, pid, pid)), seconds=seconds, what=f"a ready worker\n{self.log('worker')}")

    def cut_connections(self, process: str = "worker") -> int:
        """End every PostgreSQL session of this kind of process, as a restart does; how many there were."""
        sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s"
        return len(self.ask(sql, f"qwenstudio-{process}-%"))

    @contextmanager
    def without_postgres(self) -> Iterator[None]:
        """PostgreSQL is away for workers: their sessions end, and they get no new one."""
        self.ask("ALTER ROLE studio_worker NOLOGIN")
        try:
            self.cut_connections()
            yield
        finally:
            self.ask("ALTER ROLE studio_worker LOGIN")

    # 3. Valkey

    @contextmanager
    def frozen_valkey(self) -> Iterator[None]:
        """Valkey hangs: its sockets stay open and nobody answers."""
        server = self.services.valkey
        if server is None:
            raise ValueError("this rig has no Valkey of its own")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(server.pid, signal.SIGCONT)


def row_of(rig: Rig, generation: UUID, *columns: str) -> tuple[Any, ...]:
    """Columns of one generation as they stand in the database."""
    return rig.ask(f"SELECT {', '.join(columns)} FROM generation_generation WHERE id = %s", generation)[0]


def wait_for(rig: Rig, generation: UUID, status: str, *, seconds: float = 120) -> None:
    """Until the generation has this status."""

    def reached() -> bool:
        return bool(row_of(rig, generation, "status")[0] == status)

    try:
        wait_until(reached, seconds=seconds, what=f"status {status}")
    except AssertionError as error:
        now = row_of(rig, generation, "status", "error_code", "error_message", "attempt", "lost", "fence")
        raise AssertionError(f"{error}; it is {now}\n{rig.log('worker')[-4000:]}") from None


class Keeper:
    """Restarts the worker when it was killed, as the supervisor does; counts."""

    def __init__(self, rig: Rig, *, lease: int, **environment: str) -> None:
        self._rig = rig
        self._lease = lease
        self._environment = environment
        self._ended = threading.Event()
        self.restarts = 0
        self._rig.start_worker(lease=lease, **environment)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            if self._rig.children["worker"].poll() is not None:
                self.restarts += 1
                self._rig.start_worker(lease=self._lease, **self._environment)

    def has_a_worker(self) -> bool:
        """Whether one lives and is ready to draw."""
        child = self._rig.children["worker"]
        sql = "SELECT 1 FROM generation_worker WHERE state IN ('idle', 'busy') AND pid = %s"
        return child.poll() is None and bool(self._rig.ask(sql, child.pid))

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def kill_at_work(self, *, seconds: float = 60) -> bool:
        """SIGKILL the worker while it holds rows; False when it held none for `seconds`."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pid = self._rig.children["worker"].pid
            sql = (
                "SELECT 1 FROM generation_generation g JOIN generation_worker w ON w.id = g.worker"
                " WHERE g.status = 'running' AND w.pid = %s LIMIT 1"
            )
            if self._rig.ask(sql, pid):
                os.kill(pid, signal.SIGKILL)
                return True
            time.sleep(0.02)
        return False
