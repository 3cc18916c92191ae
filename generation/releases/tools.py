"""What a release needs of the machine, as small protocols: units, the proxy, releases on the disk.

The real ones are put together in `qwenstudio/releasing.py`; nothing in here knows systemd or nginx. Each call may be
made again: a release that died between two of them goes on by doing the last one once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

LANES = ("blue", "green")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Where the proxy sends people: newcomers to `default`, whoever has a lane's cookie there while it is `live`."""

    default: str
    live: frozenset[str]
    sticky: bool


class Units(Protocol):
    """The processes of the lanes, by the names of their units. Each raises `ReleaseFailed`."""

    def start(self, names: Sequence[str]) -> None:
        """Start those that do not run."""

    def stop(self, names: Sequence[str]) -> None:
        """Stop those that run, and return when they have ended."""

    def restart(self, names: Sequence[str]) -> None:
        """Stop and start."""

    def states(self, names: Sequence[str]) -> dict[str, str]:
        """In systemd's words: active, activating, inactive, failed."""

    def enable(self, names: Sequence[str]) -> None:
        """Start these whenever the machine starts."""

    def disable(self, names: Sequence[str]) -> None:
        """No longer."""


class Proxy(Protocol):
    """The web server in front."""

    def apply(self, traffic: Traffic) -> None:
        """Change over in one moment, and return when it has. Raises `ReleaseFailed`; then everything is as before."""

    def read(self) -> Traffic | None:
        """What was applied last; None where nobody can say."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One that the database lacks; `contracting` says what of it the release that runs could not bear."""

    name: str
    contracting: tuple[str, ...] = ()


class Code(Protocol):
    """The releases on the disk. Each raises `ReleaseFailed`."""

    def installed(self) -> list[str]:
        """Names of releases, the newest first."""

    def release_of(self, lane: str) -> str:
        """The release that a lane's folder is; nothing where it has none."""

    def tasks_of(self, lane: str) -> Path:
        """The file of what a lane's release asks of text models."""

    def link(self, lane: str, release: str) -> None:
        """Make a lane's folder that release."""

    def make_current(self, lane: str) -> None:
        """Ticker, timers and the `studio` command are this lane's from now on."""

    def unapplied(self, release: str) -> list[Migration]:
        """Migrations of a release that the database lacks, as the release's own code reads them."""

    def migrate(self, release: str) -> None:
        """Apply them."""

    def collect_static(self, release: str) -> None:
        """Put a release's static files beside those of the others, under names of their own."""

    def remove_old(self) -> list[str]:
        """Take away releases that no lane is and that are not among the newest; their names."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a lane's servers listen, beside the proxy."""

    web: int
    stream: int | None = None


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Everything together, and how to speak to whoever typed the command."""

    units: Units
    proxy: Proxy
    code: Code
    lane_units: Callable[[str], list[str]]
    address: Callable[[str], Address]
    log_of: Callable[[str], str]
    """How to read a unit's log, to be typed."""
    shared_units: Sequence[str] = ()
    """Those that belong to no lane and run the current one's code: the ticker."""
    host: str = "127.0.0.1"
    """What servers are asked for; they refuse names that are not theirs."""
    say: Callable[[str], None] = field(default=print)

    def web_units(self, lane: str) -> list[str]:
        """All but the GPU workers."""
        return [name for name in self.lane_units(lane) if not is_gpu(name)]

    def gpu_units(self, lane: str) -> list[str]:
        """The GPU workers."""
        return [name for name in self.lane_units(lane) if is_gpu(name)]

    def logs(self, states: Mapping[str, str]) -> str:
        """How to read the logs of these units that do not run, or of all of them."""
        broken = [name for name, state in states.items() if state != "active"]
        return "; ".join(self.log_of(name) for name in broken or states)


def is_gpu(unit: str) -> bool:
    """Whether a unit's name is that of a GPU worker."""
    return unit.startswith("studio-gpu@")


def other_lane(lane: str) -> str:
    """Green's is blue."""
    return LANES[1 - LANES.index(lane)]
