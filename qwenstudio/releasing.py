"""What `manage.py release` moves the machine with: the studio's units, nginx, and the releases on the disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast
from urllib.parse import urlsplit

from django.conf import settings

from generation.errors import ReleaseFailed
from generation.releases.tools import Address, Migration, Tools, Traffic
from qwenstudio.proxy import LanesState, ProxyError, apply, read_state
from qwenstudio.proxy.places import places_of
from qwenstudio.proxy.site import read_ports
from qwenstudio.units.catalog import TICKER, lane_units
from qwenstudio.units.control import Units as AnyUnits
from qwenstudio.units.control import UnitsError, pick_units
from qwenstudio.units.layout import LANES, Layout

MIGRATE_S = 3600.0
"""A migration of a large table takes its time."""
LOOK_S = 120.0
COLLECT_S = 600.0
GOING = ".going"
KEPT = 3
"""Releases that stay on the disk, besides those that a lane is."""

P = ParamSpec("P")
T = TypeVar("T")


def make_tools() -> Tools:
    """Everything for the installation at STUDIO_ROOT. Raises `ReleaseFailed` where none runs."""
    layout = Layout.here()
    try:
        units = pick_units(layout)
    except UnitsError as error:
        raise ReleaseFailed(str(error)) from error
    return Tools(
        units=Units(units),
        proxy=Nginx(layout),
        code=Folders(layout),
        lane_units=lambda lane: lane_units(lane, layout=layout),
        address=partial(address_of, layout),
        log_of=lambda unit: f"journalctl -u {unit}",
        shared_units=(TICKER,),
        host=urlsplit(settings.STUDIO_URL).hostname or "localhost",
    )


def address_of(layout: Layout, lane: str) -> Address:
    """The ports of a lane, as its units and nginx have them. Raises `ReleaseFailed`."""
    ports = failing(ProxyError, read_ports)(places_of(layout), lane)
    return Address(web=ports.web, stream=ports.stream)


def failing(error: type[Exception], call: Callable[P, T]) -> Callable[P, T]:
    """The call, but what it raises is `ReleaseFailed`."""

    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except error as found:
            raise ReleaseFailed(str(found)) from found

    return wrapped


class Units:
    """The studio's units, whoever manages them; a call without names asks nobody."""

    def __init__(self, units: AnyUnits) -> None:
        self._units = units

    def start(self, names: Sequence[str]) -> None:
        if names:
            failing(UnitsError, self._units.start)(names)

    def stop(self, names: Sequence[str]) -> None:
        if names:
            failing(UnitsError, self._units.stop)(names)

    def restart(self, names: Sequence[str]) -> None:
        if names:
            failing(UnitsError, self._units.restart)(names)

    def states(self, names: Sequence[str]) -> dict[str, str]:
        return failing(UnitsError, self._units.states)(names) if names else {}

    def enable(self, names: Sequence[str]) -> None:
        if names:
            failing(UnitsError, self._units.enable)(names)

    def disable(self, names: Sequence[str]) -> None:
        if names:
            failing(UnitsError, self._units.disable)(names)


class Nginx:
    """nginx, by its `lanes.conf`."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def apply(self, traffic: Traffic) -> None:
        default = cast("Any", traffic.default)
        state = LanesState(default=default, live=traffic.live, sticky=traffic.sticky)
        failing(ProxyError, apply)(state, layout=self._layout)

    def read(self) -> Traffic | None:
        try:
            state = read_state(self._layout)
        except ProxyError:
            return None
        return Traffic(default=state.default, live=state.live, sticky=state.sticky)


class Folders:
    """Releases under /opt/qwenstudio, and the links to them. A link is changed by a rename: there is always one."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def installed(self) -> list[str]:
        found = [path.parent for path in self._layout.releases.glob("*/manage.py")]
        whole = [path for path in found if is_whole(path)]
        return [path.name for path in sorted(whole, key=installed_at, reverse=True)]

    def release_of(self, lane: str) -> str:
        link = self._layout.lane(lane)
        return Path(os.readlink(link)).name if link.is_symlink() else ""

    def tasks_of(self, lane: str) -> Path:
        return self._layout.lane(lane) / "deploy" / "tasks.toml"

    def link(self, lane: str, release: str) -> None:
        point(self._layout.lane(lane), to=self._layout.release(release))

    def make_current(self, lane: str) -> None:
        point(self._layout.current, to=self._layout.lane(lane))

    def unapplied(self, release: str) -> list[Migration]:
        said = self._manage(release, "release", "migrations", seconds=LOOK_S)
        try:
            found = json.loads(said.strip().rpartition("\n")[2])
            return [Migration(name=one["name"], contracting=tuple(one["contracting"])) for one in found]
        except (ValueError, KeyError, TypeError):
            raise ReleaseFailed(f"release {release} does not tell its migrations: {said[-300:]}") from None

    def migrate(self, release: str) -> None:
        self._manage(release, "migrate", "--no-input", "--verbosity", "0", seconds=MIGRATE_S)

    def collect_static(self, release: str) -> None:
        self._manage(release, "collectstatic", "--no-input", "--verbosity", "0", seconds=COLLECT_S)

    def remove_old(self) -> list[str]:
        names = self.installed()
        linked = {self.release_of(lane) for lane in LANES}
        old = [name for name in names[KEPT:] if name not in linked]
        try:
            for name in old:  # in one moment: a half removed one could be started
                self._layout.release(name).rename(self._layout.releases / f".{name}{GOING}")
            for going in self._layout.releases.glob(f".*{GOING}"):
                shutil.rmtree(going)
        except OSError as error:
            raise ReleaseFailed(f"an old release cannot be removed from the disk: {error}") from error
        return old

    def _manage(self, release: str, *words: str, seconds: float) -> str:
        """What a release's own `manage.py` says, run by its own Python as the tables' owner."""
        folder = self._layout.release(release)
        python = folder / ".venv" / "bin" / "python"
        line = [str(python) if python.exists() else sys.executable, str(folder / "manage.py"), *words]
        environment = {**os.environ, "STUDIO_PROCESS": "owner"}
        environment.pop("STUDIO_RELEASE", None)
        try:
            done = subprocess.run(
                line, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=seconds, umask=0o022,  # what is written into a release is read by all of its processes
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ReleaseFailed(f"manage.py {' '.join(words)} of {release}: {error}") from error
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip())[-600:]
            raise ReleaseFailed(f"manage.py {' '.join(words)} of {release} ended with {done.returncode}: {said}")
        return done.stdout


def is_whole(release: Path) -> bool:
    """Whether an installation of it came to its end: folders under way begin with a dot, and RELEASE needs packages."""
    if release.name.startswith("."):
        return False
    if not (release / "RELEASE").is_file():  # put there by hand
        return True
    venv = release / ".venv"
    return venv.is_symlink() or (venv / ".installed").is_file()


def installed_at(release: Path) -> float:
    """When it was put there; the folder itself changes later, with its list of static files."""
    mark = release / "RELEASE"
    return (mark if mark.is_file() else release).stat().st_mtime


def point(link: Path, *, to: Path) -> None:
    """Make a link, or let an old one point elsewhere, in one moment. Raises `ReleaseFailed`."""
    beside = link.with_name(f".{link.name}-{os.getpid()}")
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        beside.symlink_to(os.path.relpath(to, link.parent), target_is_directory=True)
        os.replace(beside, link)
    except OSError as error:
        raise ReleaseFailed(f"{link} cannot be made to point to {to}: {error.strerror}") from error
