"""A machine small enough for a test: units, a proxy and releases, with what they leave in the database.

Its web servers are real ones on ports of their own and answer `/readyz` as the studio's do; its GPU workers are rows,
which is all that a release command sees of one. Processes of the product stand behind the same protocols in
`test_release_processes.py`. The power may be cut before and after everything that it does (`cut_at`).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from django.db.models.functions import Now

from accounts.ids import uuid7
from generation.chat.tasks import FILE as TASKS
from generation.enums import LaneState
from generation.errors import ReleaseFailed
from generation.models import Lane, Release, Worker
from generation.releases.ready import ask
from generation.releases.tools import LANES, Address, Migration, Tools, Traffic
from qwenstudio.embedded.ports import free_port

TICKER = "studio-ticker.service"
GIB = 1024**3


class PowerCut(BaseException):
    """The command is gone from one moment to the next. No `except Exception` sees it."""


class Server(ThreadingHTTPServer):
    """A lane's servers: well or not, pages for everybody, an API for those whom it knows."""

    daemon_threads = True

    def __init__(self, port: int, *, status: int, body: dict[str, Any], fault: str = "") -> None:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = json.dumps(body).encode()
                known = self.path in ("/readyz", "/healthz")
                if not known and fault == "late":
                    time.sleep(0.2)
                right = 401 if self.path.startswith("/api/") else 200
                self.send_response(status if known else 500 if fault == "500" else right)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: Any) -> None:
                return

        super().__init__(("127.0.0.1", port), Answer)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class Machine:
    """Units, proxy and code in one; `tools()` is what release commands get."""

    def __init__(self) -> None:
        self.ports = {lane: (free_port(), free_port()) for lane in LANES}
        self.servers: dict[str, Server] = {}
        self.states_of: dict[str, str] = {}
        self.enabled: set[str] = set()
        self.traffic = Traffic("blue", frozenset({"blue"}), sticky=False)
        self.links: dict[str, str] = {"blue": "one"}
        self.current = "blue"
        self.releases = ["two", "one"]
        self.tasks: dict[str, Path] = {}  # of a lane's release: what it asks of text models
        self.migrations: list[Migration] = []
        self.migrated: list[str] = []
        self.collected: list[str] = []
        self.old: list[str] = []
        self.faults: dict[str, str] = {}  # release → what is wrong with it
        self.memory = (GIB, 80 * GIB)  # of a worker: used, total
        self.said: list[str] = []
        self.done: list[str] = []
        self.cut_at = -1

    # ---- what a test does

    def tools(self) -> Tools:
        return Tools(
            units=self,
            proxy=self,
            code=self,
            lane_units=self.lane_units,
            address=lambda lane: Address(*self.ports[lane]),
            log_of=lambda unit: f"log of {unit}",
            shared_units=(TICKER,),
            say=self.said.append,
        )

    def begin(self) -> None:
        """Blue serves release one, as an install leaves it."""
        Worker.objects.all().delete()
        Lane.objects.update(release=None, serves=[], detail="")
        Lane.objects.filter(name="green").update(state=LaneState.STOPPED)
        Lane.objects.filter(name="blue").update(state=LaneState.SERVING)
        Release.objects.all().delete()
        self.stop(self.lane_units("blue") + self.lane_units("green"))
        self.traffic = Traffic("blue", frozenset({"blue"}), sticky=False)
        self.links, self.current, self.migrated = {"blue": "one"}, "blue", []
        self.start([*self.lane_units("blue"), TICKER])
        self.enabled = {*self.lane_units("blue"), TICKER}
        self.said, self.done = [], []

    def close(self) -> None:
        for server in self.servers.values():
            server.end()

    @contextmanager
    def power_cut(self, place: int) -> Iterator[None]:
        """The power goes at the n-th place from here on; even ones are before what is done there, odd ones after."""
        self.done, self.cut_at = [], place
        try:
            yield
        finally:
            self.cut_at = -1

    def serves(self) -> str:
        """What a newcomer gets: lane and release of whoever answers."""
        status, body = ask(self.ports[self.traffic.default][0], "/readyz", host="127.0.0.1")
        return f"{body.get('lane')} {body.get('release')}" if status == 200 else f"error {status}"

    def draws(self) -> set[str]:
        """Lanes whose workers would claim."""
        rows = Worker.objects.filter(state="idle", drain_requested_at=None)
        return set(rows.values_list("lane", flat=True))

    def lane_units(self, lane: str) -> list[str]:
        return [f"studio-{kind}@{lane}.service" for kind in ("web", "stream", "worker")] + [
            f"studio-gpu@{lane}-0.service"
        ]

    def _act(self, what: str, do: Any) -> None:
        if self.cut_at == 2 * len(self.done):
            raise PowerCut(f"before {what}")
        do()
        self.done.append(what)
        if self.cut_at == 2 * len(self.done) - 1:
            raise PowerCut(f"after {what}")

    # ---- Units

    def start(self, names: Sequence[str]) -> None:
        self._act(f"start {' '.join(names)}", lambda: [self._start(name) for name in names])

    def stop(self, names: Sequence[str]) -> None:
        self._act(f"stop {' '.join(names)}", lambda: [self._stop(name) for name in names])

    def restart(self, names: Sequence[str]) -> None:
        self._act(f"restart {' '.join(names)}", lambda: [(self._stop(name), self._start(name)) for name in names])

    def enable(self, names: Sequence[str]) -> None:
        self._act(f"enable {' '.join(names)}", lambda: self.enabled.update(names))

    def disable(self, names: Sequence[str]) -> None:
        self._act(f"disable {' '.join(names)}", lambda: self.enabled.difference_update(names))

    def states(self, names: Sequence[str]) -> dict[str, str]:
        self._let_workers_look()
        return {name: self.states_of.get(name, "inactive") for name in names}

    def _start(self, name: str) -> None:
        if self.states_of.get(name) == "active":
            return
        kind, _, rest = name.removesuffix(".service").partition("@")
        lane = rest.partition("-")[0]
        release = self.links.get(lane, "")
        fault = self.faults.get(release, "")
        self.states_of[name] = "failed" if (kind, fault) == ("studio-web", "crash") else "active"
        if self.states_of[name] == "failed":
            return
        if kind in ("studio-web", "studio-stream"):
            status = 503 if fault == "503" and kind == "studio-web" else 200
            failed = {"failed": {"storage": "not writable"}} if status == 503 else {}
            port = self.ports[lane][kind == "studio-stream"]
            body = {"lane": lane, "release": release, **failed}
            self.servers[name] = Server(port, status=status, body=body, fault=fault)
        if kind == "studio-gpu":
            state, detail = ("failed", "sleeping: is broken on purpose") if fault == "model" else ("idle", "")
            state = "loading" if fault == "slow" else state
            Worker.objects.create(
                name=f"gpu-{lane}-{uuid7().hex[-6:]}", pid=1, lane=lane, pool="demo", serves=["demo"], state=state,
                detail=detail, release=release, memory_used=self.memory[0], memory_total=self.memory[1], load_ms=42_000,
                device="a GPU", hardware="gpu",
            )  # fmt: skip

    def _stop(self, name: str) -> None:
        self.states_of[name] = "inactive"
        if server := self.servers.pop(name, None):
            server.end()
        if name.startswith("studio-gpu@"):
            lane = name.removeprefix("studio-gpu@").partition("-")[0]
            Worker.objects.filter(lane=lane).exclude(state="failed").update(state="stopped")

    def kill(self, name: str) -> None:
        """A process dies and is given up."""
        self._stop(name)
        self.states_of[name] = "failed"

    def _let_workers_look(self) -> None:
        """What a worker does about every second."""
        rows = Worker.objects.filter(state__in=("idle", "busy", "drained"))
        rows.filter(drain_requested_at__isnull=False).update(state="drained")
        rows.filter(drain_requested_at=None).update(state="idle")
        rows.update(seen_at=Now())

    # ---- Proxy

    def apply(self, traffic: Traffic) -> None:
        if self.faults.get("proxy"):
            raise ReleaseFailed(self.faults["proxy"])

        def change() -> None:
            self.traffic = traffic

        self._act(f"lead to {traffic.default}", change)

    def read(self) -> Traffic | None:
        return self.traffic

    # ---- Code

    def installed(self) -> list[str]:
        return self.releases

    def release_of(self, lane: str) -> str:
        return self.links.get(lane, "")

    def tasks_of(self, lane: str) -> Path:
        return self.tasks.get(lane, TASKS)

    def link(self, lane: str, release: str) -> None:
        self._act(f"link {lane} {release}", lambda: self.links.update({lane: release}))

    def make_current(self, lane: str) -> None:
        self._act(f"current {lane}", lambda: setattr(self, "current", lane))

    def unapplied(self, release: str) -> list[Migration]:
        return [one for one in self.migrations if one.name not in self.migrated]

    def migrate(self, release: str) -> None:
        if self.faults.get(release) == "migration":
            raise ReleaseFailed("manage.py migrate ended with 1: relation exists")
        self._act(f"migrate {release}", lambda: self.migrated.extend(one.name for one in self.migrations))

    def collect_static(self, release: str) -> None:
        if self.faults.get(release) == "static":
            raise ReleaseFailed("manage.py collectstatic ended with 1: No space left on device")
        self._act(f"collect {release}", lambda: self.collected.append(release))

    def remove_old(self) -> list[str]:
        removed, self.old = self.old, []
        return removed
