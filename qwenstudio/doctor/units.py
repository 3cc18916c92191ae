"""The studio's units, whoever manages them: those that failed, should run and do not, or run and should not."""

from __future__ import annotations

from collections.abc import Iterator

from generation.enums import LaneState
from qwenstudio.doctor.finding import Finding, Level
from qwenstudio.doctor.lanes import Seen, read_lanes, should_run
from qwenstudio.units.catalog import all_units, enabled_units, lane_of
from qwenstudio.units.control import UnitsError, pick_units
from qwenstudio.units.layout import LANES, Layout
from qwenstudio.units.unitfile import UnitError


def check_units() -> Iterator[Finding]:
    """Only where units of the studio are installed."""
    layout = Layout.here()
    names = all_units(layout)
    if not names:
        return
    try:
        states = pick_units(layout).states(names)
        enabled = enabled_units(layout)
    except (UnitsError, UnitError) as error:
        yield Finding("fail", "units", str(error), "deploy/install again, then: systemctl start studio.target")
        return
    lanes, current = read_lanes(), current_lane(layout)
    for name in names:
        lane = lane_of(name)
        gpu = name.startswith("studio-gpu@")
        # What neither starts with the machine nor belongs to a lane is a timer's, or was left out on purpose.
        wanted = should_run(lanes, lane, gpu=gpu, current=current) if lane else (name in enabled or None)
        yield from _check_unit(name, states.get(name, "inactive"), wanted=wanted, gpu=gpu)
    yield from _check_enabled(names, enabled, lanes)
    well = sum(state == "active" for state in states.values())
    yield Finding("ok", "units", f"{well} of {len(states)} are active")


def current_lane(layout: Layout) -> str:
    """The lane that `current` leads to; blue where there is no such link."""
    try:
        lane = layout.current.readlink().name
    except OSError:
        return LANES[0]
    return lane if lane in LANES else LANES[0]


def _check_unit(name: str, state: str, *, wanted: bool | None, gpu: bool) -> Iterator[Finding]:
    look = f"journalctl -u {name} -n 50"
    if state == "failed":
        level: Level = "warn" if wanted is False else "fail"
        yield Finding(level, name, "it has failed", f"{look}; then: systemctl restart {name}")
    elif state in ("inactive", "deactivating") and wanted:
        yield Finding("fail", name, "it should run and does not", f"{look}; then: systemctl start {name}")
    elif state == "activating" and wanted and not gpu:  # a GPU worker loads for minutes, and says itself if it cannot
        yield Finding("warn", name, "it is starting, or ends again and again", look)
    elif state == "active" and wanted is False:
        yield Finding("warn", name, "it runs although its lane is stopped", "studio release finish")


def _check_enabled(names: list[str], enabled: list[str], lanes: dict[str, Seen] | None) -> Iterator[Finding]:
    """What serves must be there again after a power cut."""
    if lanes is None:
        return
    for name in names:
        lane = lane_of(name)
        if not lane or name in enabled or lanes[lane].state != LaneState.SERVING:
            continue
        if should_run(lanes, lane, gpu=name.startswith("studio-gpu@"), current=lane):
            text = "it would not come back after a power cut: it is not enabled"
            yield Finding("warn", name, text, f"systemctl enable {name}")
