"""Which units an installation has."""

from __future__ import annotations

from qwenstudio.units.layout import LANES, Layout
from qwenstudio.units.unitfile import UnitError

TARGET = "studio.target"
TICKER = "studio-ticker.service"


def lane_units(lane: str, *, layout: Layout | None = None) -> list[str]:
    """A lane's units: pages, streams, errands, and a worker for each GPU that has a file in `etc/qwenstudio/gpu`."""
    gpus = (layout or Layout.here()).gpus
    return [
        f"studio-web@{lane}.service",
        f"studio-stream@{lane}.service",
        f"studio-worker@{lane}.service",
        *(f"studio-gpu@{lane}-{number}.service" for number in gpus),
    ]


def enabled_units(layout: Layout) -> list[str]:
    """The services that `studio.target` wants: the links in `studio.target.wants`. Timers are systemd's alone."""
    wants = layout.units / f"{TARGET}.wants"
    found = sorted(path.name for path in wants.glob("*.service"))
    if not found:
        raise UnitError(f"nothing is enabled in {wants}: install with deploy/install first")
    return found


def lane_of(name: str) -> str:
    """The lane of a unit; empty for one that belongs to none."""
    instance = name.removesuffix(".service").partition("@")[2]
    lane = instance.partition("-")[0]
    return lane if lane in LANES else ""


def all_units(layout: Layout) -> list[str]:
    """The services that are installed: both lanes', the ticker, what timers start."""
    if not layout.units.is_dir():
        return []
    files = {path.name for path in layout.units.glob("studio-*.service")}
    lanes = [name for lane in LANES for name in lane_units(lane, layout=layout)]
    instances = [name for name in lanes if f"{name.partition('@')[0]}@.service" in files]
    return sorted([*instances, *(name for name in files if "@." not in name)])
