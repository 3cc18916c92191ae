"""The studio's systemd units: those that failed, keep restarting, or should run and do not."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

from qwenstudio.doctor import places
from qwenstudio.doctor.finding import Finding

TARGET = "studio.target"
LANES = ("blue", "green")
# Timers start these; between their runs they are not active.
ONCE = ("studio-backup.service", "studio-doctor.service", "studio-certificate.service")
SYSTEMCTL_S = 10


def check_units() -> Iterator[Finding]:
    """Only where systemd manages the studio."""
    states = read_states()
    if states is None:
        return
    well = 0
    for name, (active, sub) in sorted(states.items()):
        remedy = f"journalctl -u {name} -n 50; then: systemctl restart {name}"
        if active == "failed":
            yield Finding("fail", name, "it has failed", remedy)
        elif sub == "auto-restart":
            yield Finding("fail", name, "it ends again and again", remedy)
        elif active == "inactive" and should_run(name):
            yield Finding("fail", name, "it does not run", f"systemctl start {name}")
        else:
            well += active == "active"
    yield Finding("ok", "units", f"{well} of {len(states)} are active")


def should_run(name: str) -> bool:
    """Whether a unit that is not active is missing: not what timers start, nor a lane that nobody is led to."""
    if name in ONCE:
        return False
    lane = next((lane for lane in LANES if f"@{lane}." in name or f"@{lane}-" in name), None)
    return lane is None or lane == default_lane()


def default_lane() -> str:
    """The lane that `current` leads to; blue where there is no such link."""
    current = places.root() / "opt" / "qwenstudio" / "current"
    try:
        lane = current.readlink().name
    except OSError:
        return LANES[0]
    return lane if lane in LANES else LANES[0]


def read_states() -> dict[str, tuple[str, str]] | None:
    """Each unit's ActiveState and SubState; None where systemd does not manage a studio."""
    if shutil.which("systemctl") is None:
        return None
    listed = _ask("list-dependencies", "--plain", "--no-pager", TARGET)
    failed = _ask("list-units", "--failed", "--plain", "--no-legend", "--no-pager", "studio-*")
    words = [line.split()[0] for line in [*listed[1:], *failed] if line.split()]
    names = sorted({word for word in words if word.startswith("studio-")})
    if not names:
        return None
    found: dict[str, tuple[str, str]] = {}
    for block in "\n".join(_ask("show", "--property=Id,ActiveState,SubState", *names)).split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in values:
            found[values["Id"]] = (values.get("ActiveState", ""), values.get("SubState", ""))
    return found


def _ask(*words: str) -> list[str]:
    try:
        done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=SYSTEMCTL_S)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines()
