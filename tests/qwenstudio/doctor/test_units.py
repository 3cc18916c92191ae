"""What the doctor says of units: by whoever manages them, and by the state of each lane."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from generation.enums import LaneState, ReleaseMode
from generation.models import Lane
from qwenstudio.doctor import units
from qwenstudio.units.catalog import TICKER, all_units, lane_of, lane_units
from qwenstudio.units.control import UnitsError
from qwenstudio.units.layout import Layout
from tests.qwenstudio.doctor.looking import line, look, put

pytestmark = pytest.mark.django_db
BLUE, GREEN = lane_units("blue", layout=Layout(Path("/x"))), lane_units("green", layout=Layout(Path("/x")))


class Manager:
    """Units that are as a test wants them; the rest is active."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def states(self, names: list[str]) -> dict[str, str]:
        return {name: self.known.get(name, "active") for name in names}


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Manager:
    found = Manager()
    monkeypatch.setattr(units, "pick_units", lambda layout: found)
    return found


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """An installation with one GPU whose blue lane is enabled."""
    monkeypatch.setenv("STUDIO_ROOT", str(tmp_path))
    layout = Layout(tmp_path)
    wants = layout.units / "studio.target.wants"
    wants.mkdir(parents=True)
    layout.gpu_settings.mkdir(parents=True)
    layout.gpu_env(0).touch()
    kinds = ("web@", "stream@", "worker@", "gpu@", "ticker", "backup", "metrics")
    for kind in kinds:
        (layout.units / f"studio-{kind}.service").touch()
    for name in [*lane_units("blue", layout=layout), TICKER]:
        (wants / name).symlink_to(f"../{name}")
    layout.current.parent.mkdir(parents=True)
    layout.current.symlink_to("lanes/blue")
    return layout


def names_of(level: str) -> set[str]:
    return {finding.name for finding in look("units") if finding.level == level}


def test_names_of_units(layout: Layout) -> None:
    names = all_units(layout)
    assert len(names) == 11 and {"studio-backup.service", "studio-gpu@green-0.service", TICKER} <= set(names)
    assert [lane_of(name) for name in ("studio-gpu@green-0.service", TICKER)] == ["green", ""]


def test_a_machine_without_units_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_ROOT", str(tmp_path))
    assert look("units") == []


def test_units_that_do_not_run(layout: Layout, manager: Manager, lanes: None) -> None:
    manager.known = {
        **dict.fromkeys(lane_units("green", layout=layout), "inactive"),
        "studio-backup.service": "inactive",  # a timer's
        "studio-metrics.service": "inactive",  # not enabled
    }
    assert [(finding.level, finding.name) for finding in look("units")] == [("ok", "units")]
    manager.known |= {
        "studio-backup.service": "failed",
        "studio-web@blue.service": "inactive",
        "studio-stream@blue.service": "activating",
        "studio-gpu@blue-0.service": "activating",  # it loads
        TICKER: "inactive",
    }
    assert names_of("fail") == {"studio-backup.service", "studio-web@blue.service", TICKER}
    assert names_of("warn") == {"studio-stream@blue.service"}
    assert all(finding.remedy for finding in look("units") if finding.level != "ok")


def test_a_lane_that_is_stopped_should_not_run(layout: Layout, manager: Manager, lanes: None) -> None:
    found = [finding for finding in look("units") if finding.level == "warn"]
    assert {finding.name for finding in found} == set(lane_units("green", layout=layout))
    assert all(finding.remedy == "studio release finish" for finding in found)
    put("green", LaneState.READY)
    assert names_of("warn") == set()


@pytest.mark.parametrize(
    ("blue", "green", "missing"),
    [
        (LaneState.SERVING, LaneState.READY, {"studio-web@green.service", "studio-gpu@blue-0.service"}),
        (LaneState.SERVING, LaneState.STARTING, set()),
        (LaneState.SERVING, LaneState.PROMOTING, set()),  # by hand-over blue's worker has ended
        (LaneState.SERVING, LaneState.STOPPED, {"studio-gpu@blue-0.service"}),
        (LaneState.STANDBY, LaneState.SERVING, {"studio-web@green.service", "studio-gpu@green-0.service"}),
    ],
)
def test_what_should_run_follows_the_release(
    layout: Layout, manager: Manager, lanes: None, blue: LaneState, green: LaneState, missing: set[str]
) -> None:
    Lane.objects.filter(name="blue").update(state=LaneState.STANDBY)
    for lane, state in (("green", green), ("blue", blue)):
        put(lane, state, mode=ReleaseMode.HAND_OVER)
    manager.known = dict.fromkeys(
        ["studio-web@green.service", "studio-gpu@blue-0.service", "studio-gpu@green-0.service"], "inactive"
    )
    assert names_of("fail") == missing


def test_what_serves_must_be_enabled(layout: Layout, manager: Manager, lanes: None) -> None:
    manager.known = dict.fromkeys(lane_units("green", layout=layout), "inactive")
    (layout.units / "studio.target.wants" / "studio-web@blue.service").unlink()
    found = line("studio-web@blue.service", "units")
    assert (found.level, found.remedy) == ("warn", "systemctl enable studio-web@blue.service")


def test_without_the_database_current_says_which_lane(
    layout: Layout, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "read_lanes", lambda: None)
    manager.known = dict.fromkeys(["studio-web@blue.service", "studio-web@green.service"], "inactive")
    assert names_of("fail") == {"studio-web@blue.service"}
    layout.current.unlink()
    layout.current.symlink_to("lanes/green")
    assert names_of("fail") == {"studio-web@green.service"}


def test_nobody_manages_them(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = look("units")
    assert (found.level, "nobody manages the studio's units" in found.text) == ("fail", True)
    monkeypatch.setattr(units, "pick_units", lambda layout: (_ for _ in ()).throw(UnitsError("it hangs")))
    assert os.fspath(layout.root) and "it hangs" in line("units", "units").text
