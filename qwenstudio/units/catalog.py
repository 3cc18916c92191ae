"""Which units an installation has."""

from __future__ import annotations

from qwenstudio.units.layout import Layout
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
