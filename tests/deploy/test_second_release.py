"""A second release on an installation that runs, as an operator does it: installed beside, started, promoted, finished;
behind the real nginx, by the installed units and the `studio` command.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from generation.models import Comparison, Lane, Release
from qwenstudio.embedded import Services
from qwenstudio.embedded.ports import free_port
from qwenstudio.proxy.site import LanePorts
from qwenstudio.units.catalog import TICKER, enabled_units, lane_units
from qwenstudio.units.unitfile import quote, read_environment
from tests.chaos.rig import offer_sleeping_model
from tests.deploy.installed import UNITS, Installed, install, running, wait_for
from tests.deploy.nginxes import RunningNginx, running_nginx
from tests.factories import Person

pytestmark = [pytest.mark.needs_nginx, pytest.mark.timeout(900)]
LONG_S = 200.0
"""No bound of the product's: a busy machine may take so long."""


@dataclass
class Server:
    """An installation, its nginx, and the command."""

    installed: Installed
    nginx: RunningNginx

    def studio(self, *words: str, code: int = 0) -> str:
        """`studio …`, as typed by root; what it printed."""
        clean = {"PATH": os.environ["PATH"]}
        line = [str(self.installed.layout.command), *words]
        done = subprocess.run(line, capture_output=True, text=True, env=clean, stdin=subprocess.DEVNULL, timeout=400)
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}\n{self.installed.said()[-4000:]}"
        return done.stdout

    def answers(self) -> tuple[int, str, str]:
        """What a newcomer gets: status, lane and release."""
        with self.nginx.client() as client:
            found = client.get("/healthz")
        body = found.json() if found.status_code == 200 else {}
        return found.status_code, body.get("lane", ""), body.get("release", "")


@pytest.fixture
def server(tmp_path: Path, services: Services, alice: Person) -> Iterator[Server]:
    offer_sleeping_model()
    with running(tmp_path / "server", services, sleeping=True) as found:
        layout = found.layout
        layout.lane_env("green").write_text(
            f"STUDIO_LANE=green\nSTUDIO_PORT={free_port()}\nSTUDIO_STREAM_PORT={free_port()}\n"
        )
        for kind in UNITS:
            wait_for(partial(found.serves, kind), seconds=LONG_S, what=kind)
        ports = {}
        for lane in ("blue", "green"):
            values = read_environment(layout.lane_env(lane))
            ports[lane] = LanePorts(int(values["STUDIO_PORT"]), int(values["STUDIO_STREAM_PORT"]))
        with running_nginx(layout.root, lanes=ports, static=layout.static, media=layout.media) as nginx:
            own = {**nginx.settings(), "STUDIO_LISTEN": "127.0.0.1"}
            with layout.settings.open("a") as settings:
                settings.writelines(f"{name}={quote(str(value))}\n" for name, value in own.items())
            server = Server(found, nginx)
            server.studio("proxy", "write")
            yield server


@pytest.fixture(autouse=True)
def _lanes_as_before(db: None) -> Iterator[None]:
    yield
    Lane.objects.update(release=None, serves=[], detail="")
    Comparison.objects.all().delete()
    Release.objects.all().delete()
    Lane.objects.filter(name="green").update(state="stopped")
    Lane.objects.filter(name="blue").update(state="serving")


def test_a_release_and_the_doctor_on_the_way(server: Server) -> None:
    layout = server.installed.layout
    old = os.readlink(layout.lane("blue")).rpartition("/")[2]
    pids = {kind: server.installed.main(kind) for kind in UNITS}
    assert server.answers() == (200, "blue", old)

    said = install(layout.root, release="1.1")
    assert f"lies beside {old}" in said and "`studio release start green --release 1.1`" in said
    assert {kind: server.installed.main(kind) for kind in UNITS} == pids, "nothing was started anew"
    collected = {path.name for path in layout.static.rglob("*")}

    said = server.studio("release", "start", "green", "--yes", "--mode", "side-by-side", "--timeout", "300")
    assert "collecting static files" in said and "green is ready with 1.1" in said
    assert server.answers() == (200, "blue", old)
    assert {path.name for path in layout.static.rglob("*")} >= collected
    assert set(lane_units("green", layout=layout)).isdisjoint(enabled_units(layout)), "until it is promoted"
    assert {name: level for name, level in look(server).items() if name.startswith(("lane ", "pages "))} == {
        "lane blue": "ok", "pages of blue": "ok", "lane green": "ok", "pages of green": "ok",
    }  # fmt: skip

    assert "green serves: the move took" in server.studio("release", "promote", "green", "--yes", "--timeout", "300")
    assert server.answers() == (200, "green", "1.1")
    assert os.readlink(layout.current) == "lanes/green"
    assert set(lane_units("green", layout=layout)) <= set(enabled_units(layout))

    said = server.studio("release", "finish", "--yes")
    assert "blue is stopped; green serves alone" in said
    assert layout.release(old).is_dir(), "what was there before can be started again"
    assert enabled_units(layout) == sorted([*lane_units("green", layout=layout), TICKER]), (
        "what a power cut brings back"
    )
    levels = look(server)
    assert levels["lane green"] == levels["pages of green"] == levels["units"] == levels["nginx, lanes"] == "ok"
    bad = {name for name, level in levels.items() if level == "fail" and ("studio-" in name or "nginx" in name)}
    assert bad == set()

    server.installed.units.stop(["studio-web@green.service"])
    levels = look(server)
    assert levels["studio-web@green.service"] == levels["pages of green"] == "fail"


def look(server: Server) -> dict[str, str]:
    """The doctor's lines with their levels; every bad one says what to do."""
    layout = server.installed.layout
    line = [str(layout.command), "doctor", "--json"]
    done = subprocess.run(line, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, timeout=300)
    found = json.loads(done.stdout)
    rows = found["findings"] if isinstance(found, dict) else found
    assert not [row for row in rows if row["level"] != "ok" and not row["remedy"]], done.stdout
    print("\n".join(f"{row['level']:5} {row['name']}: {row['text']}" for row in rows), file=sys.stderr)
    return {row["name"]: row["level"] for row in rows}
