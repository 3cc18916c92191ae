"""Starting what runs anew after a change of settings, and waiting until it serves again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from django.conf import settings

from generation.releases.ready import READY_S, ask
from qwenstudio.units.catalog import TICKER, lane_of, lane_units
from qwenstudio.units.control import Units
from qwenstudio.units.layout import LANES, Layout
from qwenstudio.units.unitfile import read_environment

LOOK_EVERY_S = 0.25
KINDS = ("web", "stream", "worker", "gpu", "ticker", "metrics")
Say = Callable[[str], None]


class NotServing(Exception):
    """Something did not come back; the text names it, and where to read why."""


def running_units(units: Units, layout: Layout, *, kinds: Sequence[str] = KINDS) -> list[str]:
    """The units that run or should, of both lanes, in the order of `KINDS`."""
    names = [name for lane in LANES for name in [*lane_units(lane, layout=layout), f"studio-metrics@{lane}.service"]]
    names.append(TICKER)
    states = units.states(names)
    return [name for kind in kinds for name in names if kind_of(name) == kind and states[name] != "inactive"]


def kind_of(name: str) -> str:
    """`studio-gpu@blue-0.service` → `gpu`."""
    return name.removeprefix("studio-").partition("@")[0].removesuffix(".service")


def lanes_of(names: Sequence[str]) -> list[str]:
    """The lanes that these units belong to."""
    return [lane for lane in LANES if any(lane_of(name) == lane for name in names)]


def restart_units(units: Units, layout: Layout, names: Sequence[str], *, say: Say, timeout_s: float = READY_S) -> None:
    """Stop and start, all at once, and return when each serves. Raises `NotServing`, `UnitsError`."""
    before = {name: units.main_pid(name) for name in names}
    if names:
        units.restart(names)
    wait_until_served(units, layout, names, before=before, say=say, timeout_s=timeout_s)


def start_units(units: Units, layout: Layout, names: Sequence[str], *, say: Say, timeout_s: float = READY_S) -> None:
    """The same for units that were stopped."""
    if names:
        units.start(names)
    wait_until_served(units, layout, names, before={}, say=say, timeout_s=timeout_s)


def wait_until_served(
    units: Units, layout: Layout, names: Sequence[str], *, before: dict[str, int | None], say: Say, timeout_s: float
) -> None:
    """Until each unit has a new process and says that it is ready, and each server answers."""
    until, said = time.monotonic() + timeout_s, ""
    while missing := _find_missing(units, layout, names, before):
        if time.monotonic() > until:
            text = ", ".join(f"{name} ({why})" for name, why in missing.items())
            raise NotServing(f"not serving after {timeout_s:.0f} s: {text}. Look: journalctl -u {next(iter(missing))}")
        text = ", ".join(name.removeprefix("studio-").removesuffix(".service") for name in missing)
        if text != said:
            say(f"  waiting for {text}")
            said = text
        time.sleep(LOOK_EVERY_S)


def _find_missing(units: Units, layout: Layout, names: Sequence[str], before: dict[str, int | None]) -> dict[str, str]:
    """What does not serve yet, and why."""
    states = units.states(names) if names else {}
    found = {
        name: "not ended yet" if states[name] == "active" else states[name]
        for name in names
        if states[name] != "active" or units.main_pid(name) in (before.get(name), None)
    }
    return found or {name: why for name in names if (why := _ask_server(layout, name))}


def _ask_server(layout: Layout, name: str) -> str:
    """What is wrong with the server of a unit; empty for a good one, and for units that are no servers."""
    variable, path = {"web": ("STUDIO_PORT", "/readyz"), "stream": ("STUDIO_STREAM_PORT", "/healthz")}.get(
        kind_of(name), ("", "")
    )
    if not variable:
        return ""
    port = int(read_environment(layout.lane_env(lanes_of([name])[0]))[variable])
    status, body = ask(port, path, host=urlsplit(settings.STUDIO_URL).hostname or "localhost")
    return "" if status == 200 else f"{path} on port {port}: {body.get('failed') or status or 'no answer'}"
