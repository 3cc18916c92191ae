"""Settings, the production guard, the clock."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Iterator

from django.conf import settings

from qwenstudio.doctor.finding import TIMEOUT_S, Finding
from qwenstudio.guard import find_faults
from qwenstudio.guard.facts import gather
from qwenstudio.guard.rules import RULES
from qwenstudio.settings import SECRET_KEY


def check_settings() -> Iterator[Finding]:
    """Where things are; what must not be so in production."""
    yield Finding(
        "ok", "settings", f"{settings.STUDIO_URL}, lane {settings.STUDIO_LANE}, release {settings.RELEASE or 'unknown'}"
    )
    if settings.DEBUG:
        yield Finding("warn", "settings", "DEBUG is on: error pages show code and values", "unset DEBUG")
    if not SECRET_KEY:  # Django's own settings raise where it is empty
        yield Finding("fail", "settings", "SECRET_KEY is not set", "set it to 50 random characters, or start make run")
    var = settings.STUDIO_VAR
    # On a server nginx passes through to static files and pictures: 0710 with its group, or 0711.
    closed, mode = (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP, "0710") if settings.PRODUCTION else (0o077, "go=")
    if var.exists() and var.stat().st_mode & closed:
        yield Finding("warn", "settings", f"{var} is open to other accounts", f"chmod {mode} {var}")


def check_guard() -> Iterator[Finding]:
    """In production, the whole table; elsewhere only that nobody asks."""
    if not settings.PRODUCTION:
        text = f"not in production: STUDIO_URL is not https ({len(RULES)} rules wait; see them: check --deploy)"
        yield Finding("ok", "guard", text)
        return
    well = True
    for rule, sentence in find_faults(gather(), asking=True):
        well = False
        yield Finding("fail" if rule.level == "error" else "warn", rule.id, sentence, rule.cure)
    if well:
        yield Finding("ok", "guard", f"all {len(RULES)} rules of production hold")


def check_clock() -> Iterator[Finding]:
    """Whether somebody keeps this machine's clock right, where the system says so."""
    if shutil.which("timedatectl") is None:
        return
    line = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    try:
        said = subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT_S).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return
    if said == "no":
        yield Finding("warn", "clock of this machine", "nobody keeps it right", "timedatectl set-ntp true")
    elif said == "yes":
        yield Finding("ok", "clock of this machine", "kept right by NTP")
