"""GPU workers of two lanes, one after the other: drain, stop, load. For hand-overs; every step may be done again."""

from __future__ import annotations

import time
from contextlib import suppress

from accounts.domain.sql import execute, fetch_all, fetch_one
from accounts.errors import NotFound
from generation.domain.place import WORKER_SILENT_S
from generation.domain.workers import drain_worker, undo_drain
from generation.errors import ReleaseFailed
from generation.releases.ready import wait_ready
from generation.releases.tools import Tools

DRAIN_S = 300.0  # a pass of 20 s, its pictures, and time to spare
LOOK_EVERY_S = 0.25

_LIVE_SQL = f"""
SELECT id, name, state, drain_requested_at IS NOT NULL AS asked FROM generation_worker
 WHERE lane = %(lane)s AND state NOT IN ('stopped', 'failed')
   AND (seen_at > now() - interval '{WORKER_SILENT_S} seconds' OR state = 'loading')
"""  # noqa: S608  (a number of this package)
_RUNNING_SQL = """
SELECT EXISTS (SELECT FROM generation_generation WHERE status = 'running' AND lane = %(lane)s AND lease_until > now())
    AS held
"""
# A queue that staff have paused stays paused, whichever lane it is in.
_PAUSES_SQL = """
INSERT INTO generation_pool AS p (lane, name, paused_at, paused_reason, paused_by, vtime)
SELECT %(target)s, name, paused_at, paused_reason, paused_by, 0 FROM generation_pool
 WHERE lane = %(source)s AND paused_at IS NOT NULL
ON CONFLICT (lane, name) DO UPDATE
   SET paused_at = excluded.paused_at, paused_reason = excluded.paused_reason, paused_by = excluded.paused_by
"""


def drain_workers(lane: str) -> None:
    """Ask every worker of a lane to finish what it draws and to claim no more."""
    for worker in fetch_all(_LIVE_SQL, lane=lane):
        if not worker["asked"]:
            with suppress(NotFound):  # it has ended meanwhile
                drain_worker(worker["id"])


def undrain_workers(lane: str) -> None:
    """Let them draw again."""
    for worker in fetch_all(_LIVE_SQL, lane=lane):
        if worker["asked"]:
            with suppress(NotFound):
                undo_drain(worker["id"])


def wait_drained(lane: str, tools: Tools, *, timeout_s: float = DRAIN_S) -> None:
    """Return when no worker of a lane holds anything; raises `ReleaseFailed`.

    A worker that is gone without a word counts as drained once its unit does not run and its leases have run out.
    """
    until = time.monotonic() + timeout_s
    while busy := _still_busy(lane, tools):
        if time.monotonic() > until:
            raise ReleaseFailed(f"{', '.join(busy)} of {lane} did not drain within {timeout_s:.0f} s")
        time.sleep(LOOK_EVERY_S)


def _still_busy(lane: str, tools: Tools) -> list[str]:
    held = fetch_one(_RUNNING_SQL, lane=lane)
    if held and held["held"]:
        return ["a worker"]
    gpus = tools.gpu_units(lane)
    if gpus and all(state in ("inactive", "failed") for state in tools.units.states(gpus).values()):
        return []
    return [row["name"] for row in fetch_all(_LIVE_SQL, lane=lane) if row["state"] != "drained"]


def swap_workers(*, source: str, target: str, tools: Tools, timeout_s: float) -> int:
    """End one lane's GPU workers and load the other's; how many ms nothing was drawn. Raises `ReleaseFailed`.

    After a failure the caller decides; nothing is undone in here.
    """
    tools.say(f"{source}'s GPU workers finish what they draw ...")
    drain_workers(source)
    wait_drained(source, tools)
    began = time.monotonic()
    tools.units.stop(tools.gpu_units(source))
    tools.say(f"{target}'s GPU workers load ...")
    tools.units.start(tools.gpu_units(target))
    undrain_workers(target)
    wait_ready(target, tools, workers=True, timeout_s=timeout_s)
    # After a power cut those of one lane start: the GPUs hold no more.
    tools.units.disable(tools.gpu_units(source))
    tools.units.enable(tools.gpu_units(target))
    return round((time.monotonic() - began) * 1000)


def bring_back(lane: str, *, instead_of: str, tools: Tools, timeout_s: float) -> None:
    """Let a lane's GPU workers draw again, loading them anew where they were stopped. Raises `ReleaseFailed`."""
    gpus = tools.gpu_units(lane)
    if any(state != "active" for state in tools.units.states(gpus).values()):
        tools.units.disable(tools.gpu_units(instead_of))
        tools.units.stop(tools.gpu_units(instead_of))
        tools.units.enable(gpus)
        tools.say(f"{lane}'s GPU workers load again ...")
        tools.units.start(gpus)
    undrain_workers(lane)
    wait_ready(lane, tools, workers=True, timeout_s=timeout_s, patient=True)


def copy_pauses(*, source: str, target: str) -> None:
    """Pause in the target what is paused in the source, in the caller's transaction."""
    execute(_PAUSES_SQL, source=source, target=target)
