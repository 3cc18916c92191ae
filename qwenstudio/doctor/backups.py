"""How old the newest backup is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings

from qwenstudio.doctor import places
from qwenstudio.doctor.finding import Finding

LATE_H = 26  # a night and what one takes
MISSED_H = 74  # three nights
NAME = re.compile(r"(\d{8}T\d{6}Z)(?:-\d+)?")  # of a snapshot; one that is not whole yet has an ending
REMEDY = "make one: systemctl start studio-backup; then look at its log (journalctl -u studio-backup)"


def check_backups() -> Iterator[Finding]:
    """The newest whole snapshot in the folder of backups."""
    folder = places.backups()
    hours = newest_age_h(folder)
    if hours is None:
        if settings.PRODUCTION:
            yield Finding("fail", "backup", f"there is none in {folder}", REMEDY)
        return
    text = f"the newest in {folder} is {hours:.0f} hours old"
    if hours > MISSED_H:
        yield Finding("fail", "backup", text, REMEDY)
    elif hours > LATE_H:
        yield Finding("warn", "backup", text, REMEDY)
    else:
        yield Finding("ok", "backup", text)


def newest_age_h(folder: Path) -> float | None:
    """Hours since the newest whole snapshot was begun; None where there is none, or this account may not look."""
    try:
        names = [path.name for path in (folder / "snapshots").iterdir() if (path / "manifest.json").is_file()]
    except OSError:
        return None
    times = [datetime.strptime(f"{found[1]}+0000", "%Y%m%dT%H%M%SZ%z") for found in map(NAME.fullmatch, names) if found]
    return max(0.0, (datetime.now(UTC) - max(times)).total_seconds()) / 3600 if times else None
