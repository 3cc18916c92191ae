"""`--uninstall`: takes away what runs and what is code; what holds data or secrets stays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from installer.machine import call
from installer.plan import Step
from installer.units import has_read, reload_nginx, show
from qwenstudio.units.layout import Layout


def steps(layout: Layout) -> list[Step]:
    """In order: stop, then units, the site, the command, the code."""
    found = []
    if layout.is_machine:
        found.append(Step("stop studio.target and all its units", lambda: not running(), stop))
    units = [path for path in sorted(layout.units.glob("studio*")) if layout.units.is_dir()]
    units += sorted(layout.units.glob("*.wants/studio*"))
    found += [gone(path) for path in [*units, layout.site_link, layout.site, layout.main_lines]]
    if layout.is_machine:
        folders = (layout.site_link.parent, layout.main_lines.parent)
        found.append(Step("systemd and nginx forget them", lambda: forgotten(folders), lambda: forget(folders)))
    return [*found, gone(layout.command), gone(layout.opt)]


def forgotten(folders: Sequence[Path]) -> bool:
    """Whether neither of them knows more than is there."""
    return not running() and (not is_active("nginx") or has_read([path for path in folders if path.exists()]))


def forget(folders: Sequence[Path]) -> None:
    """Let both read again; an nginx that does not run stays so."""
    call(["systemctl", "daemon-reload"])
    if is_active("nginx"):
        reload_nginx([path for path in folders if path.exists()])


def is_active(unit: str) -> bool:
    """Whether a unit runs."""
    return show(unit, "ActiveState") == "active"


def gone(path: Path) -> Step:
    """A file, link or folder that is not there any more."""

    def do() -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    return Step(f"remove {path}", lambda: not os.path.lexists(path), do)


def running() -> list[str]:
    """Our units that systemd has loaded."""
    lines = call(["systemctl", "list-units", "--plain", "--no-legend", "studio*"]).splitlines()
    return [line.split()[0] for line in lines if line.split()]


def stop() -> None:
    """All of them, and forget their failures."""
    call(["systemctl", "stop", *running()])
    call(["systemctl", "reset-failed", "studio*"])


def say_what_stays(layout: Layout, *, say: Callable[[str], None]) -> None:
    """Where the data is, and how it goes."""
    say("Kept, because nothing brings it back:")
    for path in (layout.etc, layout.var, layout.backups):
        if path.exists():
            say(f"  {path}")
    if layout.is_machine:
        say("  PostgreSQL's database qwenstudio; the account qwenstudio, to whom the files belong")
        if (layout.etc / "nftables.conf").exists():
            say("  the firewall: take its line out of /etc/nftables.conf, then nft delete table inet qwenstudio")
        say("Installed again, the studio goes on with them. To be rid of them: rm -r those folders,")
        say("  runuser -u postgres -- dropdb qwenstudio; userdel qwenstudio")
