"""What the doctor says of queues, lanes, the ticker and errands."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.utils import timezone

from accounts.enums import ErrandKind
from accounts.models import Errand
from accounts.tenancy import across_tenants
from generation.enums import LaneState
from generation.models import Generation, Lane, Worker
from generation.worker.ticker import LOCK
from qwenstudio.embedded import Services
from qwenstudio.embedded.ports import free_port
from qwenstudio.units.layout import Layout
from tests.chaos.rig import offer_sleeping_model
from tests.factories import Person
from tests.generation.api.calls import submitted
from tests.generation.releases.machine import Server
from tests.qwenstudio.doctor.looking import line, look, put

pytestmark = pytest.mark.django_db


def make_worker(name: str, *, lane: str = "blue", release: str = "1.0") -> Worker:
    return Worker.objects.create(
        name=name, pid=1, lane=lane, pool="demo", serves=["demo"], state="idle", release=release
    )


def test_a_queue_that_is_old_although_somebody_serves_it(alice: Person) -> None:
    offer_sleeping_model()
    submitted(alice)
    make_worker("gpu-0")
    assert line("queue of demo", "workers").level == "ok"
    with across_tenants():
        Generation.objects.update(created_at=timezone.now() - timedelta(minutes=31))
    found = line("queue of demo", "workers")
    assert (found.level, "more GPUs" in found.remedy) == ("warn", True)


def test_lanes(alice: Person, lanes: None) -> None:
    (only,) = look("lanes")
    assert (only.level, only.text) == ("ok", "serves, release unknown; 0 GPU workers, 0 wait"), "the other one rests"
    offer_sleeping_model()
    submitted(alice)
    stranded = line("lane blue", "lanes")
    assert (stranded.level, "STUDIO_LANE=blue" in stranded.remedy) == ("fail", True)
    make_worker("gpu-0")
    put("green", LaneState.READY)
    make_worker("gpu-1", lane="green", release="2.0")
    blue, green = look("lanes")
    assert (blue.level, blue.text) == ("ok", "serves, release 1.0; 1 GPU workers, 1 wait")
    assert (green.level, green.text) == (
        "ok", "is ready; nobody but staff is led there, release 2.0; 1 GPU workers, 0 wait",
    )  # fmt: skip
    make_worker("gpu-2", lane="green", release="1.0")
    mixed = line("lane green", "lanes")
    assert (mixed.level, "1.0, 2.0" in mixed.text) == ("warn", True)
    Worker.objects.filter(name="gpu-1").delete()
    foreign = line("lane green", "lanes")
    assert (foreign.level, "GPU workers are of release 1.0" in foreign.text) == ("warn", True)
    Lane.objects.filter(name="green").update(state=LaneState.STOPPED)
    assert line("lane green", "lanes").remedy == "studio release finish"


@pytest.mark.parametrize(
    ("state", "minutes", "level", "remedy"),
    [
        (LaneState.STARTING, 5, "ok", ""),
        (LaneState.STARTING, 31, "warn", "release start green, which goes on"),
        (LaneState.PROMOTING, 31, "warn", "or release rollback, which keeps blue"),
        (LaneState.DRAINING, 31, "warn", "release drain green, which goes on"),
        (LaneState.STOPPING, 31, "warn", "release finish, which goes on"),
        (LaneState.READY, 31, "ok", ""),
        (LaneState.READY, 1500, "warn", "release promote green"),
        (LaneState.STANDBY, 1500, "warn", "release drain green"),
        (LaneState.FAILED, 1, "warn", "release start green, when it is mended"),
    ],
)
def test_a_release_that_is_half_done(lanes: None, state: LaneState, minutes: float, level: str, remedy: str) -> None:
    put("green", state, minutes=minutes)
    found = line("lane green", "lanes")
    assert (found.level, remedy in found.remedy) == (level, True), found
    assert line("lane blue", "lanes").level == "ok"


def test_pages_of_a_lane_are_asked_where_they_are_installed(
    lanes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_ROOT", str(tmp_path))
    layout, port = Layout(tmp_path), free_port()
    assert "pages of blue" not in {found.name for found in look("lanes")}
    layout.lanes.mkdir(parents=True)
    layout.lane("blue").symlink_to("../releases/2.0")
    layout.lane_settings.mkdir(parents=True)
    layout.lane_env("blue").write_text(f"STUDIO_PORT={port}\n")
    gone = line("pages of blue", "lanes")
    assert (gone.level, gone.text) == ("fail", f"nobody answers on port {port}")
    assert "systemctl restart studio-web@blue" in gone.remedy
    put("blue", LaneState.SERVING)
    for status, body, level, word in (
        (200, {"lane": "blue", "release": "2.0"}, "ok", "ready on port"),
        (200, {"lane": "blue", "release": "1.0"}, "fail", "is release 1.0 of blue, not 2.0"),
        (200, {"lane": "green", "release": "2.0"}, "fail", "of green"),
        (503, {"failed": {"storage": "full"}}, "fail", "says 503 storage: full"),
    ):
        server = Server(port, status=status, body=body)
        try:
            found = line("pages of blue", "lanes")
        finally:
            server.end()
        assert (found.level, word in found.text) == (level, True), found


def test_ticker(services: Services) -> None:
    assert line("ticker", "errands").level == "warn"
    with psycopg.connect(services.urls["worker"], autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        assert line("ticker", "errands").level == "ok"


def test_errands() -> None:
    assert [found.name for found in look("errands")] == ["ticker", "errands"]
    with across_tenants():
        Errand.objects.create(kind=ErrandKind.SEND_MAIL, data={})
        assert line("errands", "errands").text == "1 are due"
        Errand.objects.update(due_at=timezone.now() - timedelta(minutes=11))
        late = line("errands", "errands")
        assert (late.level, "errandworker" in late.remedy) == ("fail", True)
        Errand.objects.update(lease_until=timezone.now() + timedelta(minutes=1))
        assert line("errands", "errands").level == "ok", "somebody is at it"
        Errand.objects.update(failed_at=timezone.now())
        assert line("errands failed", "errands").level == "warn"
