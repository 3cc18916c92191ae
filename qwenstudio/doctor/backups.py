"""How old the newest backup is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from qwenstudio.doctor import places
from qwenstudio.doctor.finding import Finding

LATE_H = 26  # a night and what one takes
MISSED_H = 74  # three nights
REMEDY = "make one: systemctl start studio-backup; then look at its log (journalctl -u studio-backup)"


def check_backups() -> Iterator[Finding]:
    """The newest thing in the folder of backups."""
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
    """Hours since the newest backup was complete; None where there is none, or this account may not look."""
    try:
        times = [path.stat().st_mtime for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return None
    return max(0.0, time.time() - max(times)) / 3600 if times else None
