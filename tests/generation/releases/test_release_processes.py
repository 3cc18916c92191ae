"""Whole releases of real processes under load: every picture once, none lost, no request refused.

The commands are typed as an operator types them (`manage.py release …`), one of them is killed while it waits and typed
again, and two promotions race.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from qwenstudio.embedded import Services
from qwenstudio.embedded.ports import free_port
from tests.chaos.audit import audit
from tests.chaos.rig import offer_sleeping_model, wait_until
from tests.factories import Person, make_person, make_plan, make_tenant, make_user
from tests.generation.releases.processes import ROOT, Notes, Processes, begin, end, lane_units

pytestmark = pytest.mark.timeout(400)
GIB = 1024**3


@dataclass
class Studio:
    """The rig as a test sees it."""

    folder: Path
    processes: Processes
    look: Any

    @property
    def notes(self) -> Notes:
        return self.processes.notes

    def type(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """`manage.py release …`, begun."""
        line = [sys.executable, "manage.py", "release", "--tools", f"{make_tools_path()}", *words]
        return subprocess.Popen(
            line, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env={**os.environ, "RELEASE_RIG": str(self.folder), "STUDIO_PROCESS": "worker", **environment},
        )  # fmt: skip

    def release(self, *words: str, fails: bool = False) -> str:
        """`manage.py release …`, to its end; what it said."""
        command = self.type(*words)
        said, _ = command.communicate(timeout=300)
        assert (command.returncode != 0) is fails, said
        return said

    def default(self) -> str:
        return str(self.notes.read("proxy")["default"])

    def url(self) -> str:
        return f"http://127.0.0.1:{self.notes.read('ports')[self.default()]}"

    def wait_serving(self) -> None:
        wait_until(lambda: self.answers() == 200, seconds=120, what="the pages of blue")
        sql = "SELECT count(*)::int FROM generation_worker WHERE state = 'idle'"
        wait_until(lambda: self.look(sql)[0][0] == 1, seconds=120, what="blue's worker")

    def answers(self) -> int:
        try:
            return httpx.get(f"{self.url()}/readyz", timeout=10).status_code
        except httpx.HTTPError:
            return 0


def make_tools_path() -> str:
    return "tests.generation.releases.processes:make_tools"


@dataclass
class Client:
    """Asks for pictures without a pause longer than `every_s`, and writes down each answer."""

    studio: Studio
    person: Person
    log: Path
    every_s: float = 0.15
    statuses: Counter[int] = field(default_factory=Counter)
    lanes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        headers = {"Authorization": f"Bearer {self.person.secret}"}
        with httpx.Client(headers=headers, timeout=60) as http, self.log.open("a", encoding="utf-8") as log:
            while not self._ended.is_set():
                lane, url = self.studio.default(), self.studio.url()
                entry: dict[str, Any] = {"client": 0, "tenant": str(self.person.tenant.pk), "n": 1, "id": None}
                body = {"model": "demo", "prompt": "a red circle", "width": 64, "height": 64}
                try:
                    answer = http.post(f"{url}/api/v1/images", json=body)
                    entry |= {"status": answer.status_code, "id": answer.json().get("id")}
                except httpx.HTTPError as error:
                    entry |= {"status": 0, "detail": repr(error)}
                log.write(json.dumps(entry) + "\n")
                self.statuses[entry["status"]] += 1
                self.lanes[lane] += 1
                self._ended.wait(self.every_s)


@pytest.fixture
def person(db: object) -> Person:
    plan = make_plan(
        queue_length=5000, concurrent_generations=8, requests_per_minute=100_000, tenant_requests_per_minute=100_000
    )
    tenant, owner = make_tenant("Busy", owner=make_user("busy"), plan=plan)
    return make_person(tenant, owner)


@pytest.fixture
def studio(db: object, look: Any, tmp_path: Path, media: Path, request: pytest.FixtureRequest) -> Iterator[Studio]:
    """Blue serves release one; two is installed, three cannot load its model."""
    offer_sleeping_model()
    common = {"SLEEPING_STEP_S": "0.02", **getattr(request, "param", {})}
    releases = {"two": common, "one": common, "three": {**common, "SLEEPING_BROKEN": "1"}}
    folder = tmp_path / "rig"
    processes = begin(
        folder,
        ports={lane: free_port() for lane in ("blue", "green")},
        releases={"two": releases["two"], "three": releases["three"], "one": releases["one"]},
    )
    try:
        found = Studio(folder, processes, look)
        found.wait_serving()
        yield found
    finally:
        end(processes)


def wait_done(studio: Studio) -> None:
    sql = "SELECT count(*)::int FROM generation_generation WHERE status IN ('queued', 'running')"
    wait_until(lambda: studio.look(sql)[0][0] == 0, seconds=120, what="everything to be drawn")


def check(client: Client, services: Services, media: Path) -> None:
    """Every request was taken, every picture is there once and was charged once."""
    found = audit(log=client.log, url=services.superuser_url, media=media)
    print(found, dict(client.statuses), dict(client.lanes))
    assert found.faults == []
    assert dict(client.statuses) == {202: found.sent}
    assert found.sent == found.rows == found.succeeded == found.images_stored == found.ledger_images
    assert found.sent > 20


def test_a_release_side_by_side_under_load(
    studio: Studio, person: Person, services: Services, media: Path, tmp_path: Path
) -> None:
    assert "next: nothing is under way" in studio.release("status")
    with Client(studio, person, tmp_path / "clients.jsonl") as client:
        # The operator's machine dies while green starts; typed again, the command goes on.
        started = studio.type("start", "green", "--release", "two", "--yes")
        gpu = "studio-gpu@green-0.service"
        wait_until(lambda: bool(studio.notes.read("running").get(gpu)), seconds=120, what="green to start")
        pid = studio.notes.read("running")[gpu]["pid"]
        started.send_signal(signal.SIGKILL)
        started.communicate()
        assert "release start green, which goes on" in studio.release("status")
        said = studio.release("start", "green", "--yes")
        assert "go on with release two in green" in said
        assert "green is ready with two; blue serves as before" in said
        assert studio.notes.read("running")[gpu]["pid"] == pid, "the worker that had been started was kept"
        assert studio.default() == "blue"

        # Two operators at once: one moves, the other is told so.
        both = [studio.type("promote", "green", "--yes") for _ in range(2)]
        answers = sorted(command.communicate(timeout=120)[0] for command in both)
        moved = [text for text in answers if "green serves: the move took" in text]
        others = ("another release command is at work", "green serves already, nothing was moved")
        assert len(moved) == 1, answers
        assert any(word in text for text in answers for word in others), answers
        assert studio.default() == "green"
        time.sleep(1)

        assert "blue serves" in studio.release("rollback", "--yes")
        assert studio.default() == "blue"
        studio.release("promote", "green", "--yes")
        assert "next: release finish" in studio.release("drain", "blue", "--yes")
        assert "blue is stopped; green serves alone" in studio.release("finish", "--yes")
        time.sleep(1)
    wait_done(studio)
    assert studio.processes.states(lane_units("blue")) == dict.fromkeys(lane_units("blue"), "inactive")
    assert {lane for lane, n in client.lanes.items() if n} == {"blue", "green"}
    check(client, services, media)
    drawn = studio.look("SELECT DISTINCT lane FROM generation_worker WHERE passes > 0 ORDER BY lane")
    assert drawn == [("blue",), ("green",)]


SMALL = {"SLEEPING_MEMORY_USED": str(6 * GIB), "SLEEPING_MEMORY_TOTAL": str(10 * GIB), "SLEEPING_LOAD_S": "2"}


@pytest.mark.parametrize("studio", [SMALL], indirect=True, ids=["room for one model"])
def test_a_release_by_hand_over_under_load(
    studio: Studio, person: Person, services: Services, media: Path, tmp_path: Path
) -> None:
    with Client(studio, person, tmp_path / "clients.jsonl", every_s=0.3) as client:
        said = studio.release("start", "green", "--release", "two", "--yes")
        assert "holds 6,144 MiB of 10,240 MiB (sleeping engine); a second one needs 6,144 MiB: it does not fit" in said
        assert "a pause of about" in said
        # Killed while green's workers load: nothing is drawn now, everything is accepted.
        promoting = studio.type("promote", "green", "--yes")
        gpu = "studio-gpu@green-0.service"
        wait_until(lambda: bool(studio.notes.read("running").get(gpu)), seconds=120, what="the hand-over")
        assert studio.processes.states(["studio-gpu@blue-0.service"]) == {"studio-gpu@blue-0.service": "inactive"}
        promoting.send_signal(signal.SIGKILL)
        promoting.communicate()
        assert studio.default() == "blue"
        assert "release promote green, which goes on" in studio.release("status")
        said = studio.release("promote", "green", "--yes")
        assert "green serves: the move took" in said
        assert "nothing was drawn for" in said
        time.sleep(1)
        said = studio.release("rollback", "--yes")
        assert said.index("pages and API were moved in") < said.index("have to load")
        assert studio.default() == "blue"
        assert "blue is stopped" not in said
        studio.release("drain", "green", "--yes")
        studio.release("finish", "--yes")

        # A release whose model cannot be loaded: found out in the hand-over, and taken back.
        studio.release("start", "green", "--release", "three", "--yes")
        said = studio.release("promote", "green", "--yes", fails=True)
        assert "is broken on purpose" in said
        assert "green was stopped; blue serves as before" in " ".join(said.split())
        assert studio.default() == "blue"
    wait_done(studio)
    check(client, services, media)
    assert studio.processes.states(lane_units("blue")) == dict.fromkeys(lane_units("blue"), "active")


def test_a_broken_release_is_refused_in_words(studio: Studio) -> None:
    said = " ".join(studio.release("start", "green", "--release", "three", "--yes", fails=True).split())
    assert "is broken on purpose" in said
    assert "green was stopped; blue serves as before" in said
    assert "studio-gpu@green-0.service.log" in said, "where to read more"
    assert studio.default() == "blue"
    assert studio.answers() == 200
    assert "add --yes" in studio.release("finish", fails=True), "nobody is there to answer"
    studio.release("finish", "--yes")
    assert "next: nothing is under way" in studio.release("status")
