"""Whether a lane could serve: its units run, its servers answer as what they should be, its workers have loaded."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accounts.domain.sql import fetch_all
from generation.enums import ReleaseState
from generation.errors import ReleaseFailed
from generation.models import Lane
from generation.releases.lanes import read_lane
from generation.releases.tools import Tools

ASK_S = 10.0  # for one answer; a server's first takes longest
SLOW_S = 5.0  # what takes longer for nobody would take longer for a crowd
# What visitors ask for, and how somebody without an account is answered: /readyz says what a process could do, and a
# release may be well and still answer every page with an error.
PAGES = (("/sign-in/", 200), ("/api/v1/models", 401))
STREAMS = (("/healthz", 200), ("/api/v1/events", 401))
LOOK_EVERY_S = 0.25
READY_S = 900.0  # how long a lane may take: loading 58 GB from a slow disk takes minutes

_WORKERS_SQL = """
SELECT name, state, detail, serves FROM generation_worker
 WHERE lane = %(lane)s AND release = %(release)s AND (%(since)s::timestamptz IS NULL OR started_at >= %(since)s)
   AND seen_at > now() - interval '60 seconds' AND drain_requested_at IS NULL
 ORDER BY started_at
"""


@dataclass(frozen=True, slots=True)
class Missing:
    """One thing that is not as it should be; `final`: waiting would not change it."""

    text: str
    final: bool = False


def look(lane_name: str, tools: Tools, *, workers: bool, visits: bool = True) -> list[Missing]:
    """What a lane still lacks; empty: it is ready. Without `workers` its GPU workers are not asked for.

    Without `visits` its servers are asked only whether they could serve: who has served before may be in a hurry.
    """
    lane = read_lane(lane_name)
    units = tools.lane_units(lane_name) if workers else tools.web_units(lane_name)
    states = tools.units.states(units)
    found = [
        Missing(f"{name} is {state} ({tools.log_of(name)})", final=state == "failed")
        for name, state in states.items()
        if state != "active"
    ]
    found += _look_at_servers(lane, tools, visits=visits)
    return found + (_look_at_workers(lane) if workers else [])


def wait_ready(
    lane: str,
    tools: Tools,
    *,
    workers: bool,
    visits: bool = True,
    timeout_s: float = READY_S,
    patient: bool = False,
) -> None:
    """Return as soon as a lane is ready; raises `ReleaseFailed` with what it lacks.

    `patient` waits even for what has failed: a unit that is started again by itself.
    """
    until, said = time.monotonic() + timeout_s, ""
    while missing := look(lane, tools, workers=workers, visits=visits):
        reasons = "; ".join(one.text for one in missing)
        if any(one.final for one in missing) and not patient:
            raise ReleaseFailed(f"{lane} cannot become ready: {reasons}")
        if time.monotonic() > until:
            raise ReleaseFailed(f"{lane} did not become ready within {timeout_s:.0f} s: {reasons}")
        if reasons != said:
            tools.say(f"  waiting: {reasons}")
            said = reasons
        time.sleep(LOOK_EVERY_S)


def _look_at_servers(lane: Lane, tools: Tools, *, visits: bool) -> list[Missing]:
    address = tools.address(lane.name)
    found = _look_at_pages(lane, port=address.web, host=tools.host)
    if visits:
        found = found or _visit("pages", address.web, PAGES, host=tools.host)
    if address.stream is not None:
        found += _visit("streams", address.stream, STREAMS if visits else STREAMS[:1], host=tools.host)
    return found


def _visit(what: str, port: int, wanted: Sequence[tuple[str, int]], *, host: str) -> list[Missing]:
    """Ask as a visitor does; the first answer that is wrong or late."""
    for path, right in wanted:
        began = time.monotonic()
        status, _ = ask(port, path, host=host)
        took = time.monotonic() - began
        if status is None:
            return [Missing(f"{what} on port {port}: no answer")]
        if status != right:
            return [Missing(f"{what} on port {port}: {path} says {status} instead of {right}")]
        if took > SLOW_S:
            return [Missing(f"{what} on port {port}: {path} took {took:.1f} s, at most {SLOW_S:.0f} s")]
    return []


def _look_at_pages(lane: Lane, *, port: int, host: str) -> list[Missing]:
    status, body = ask(port, "/readyz", host=host)
    where = f"pages on port {port}"
    if status is None:
        return [Missing(f"{where}: no answer")]
    if status != 200:
        return [Missing(f"{where}: /readyz says {status} {_say_failed(body)}".rstrip())]
    who, wanted = (body.get("lane"), body.get("release")), (lane.name, lane.release.name if lane.release else "")
    if who[0] != wanted[0] or (wanted[1] and who[1] != wanted[1]):
        return [Missing(f"{where}: this is release {who[1]} of {who[0]}, not {wanted[1]} of {wanted[0]}")]
    return []


def _say_failed(body: Mapping[str, Any]) -> str:
    failed = body.get("failed")
    return ", ".join(f"{name}: {why}" for name, why in failed.items()) if isinstance(failed, dict) else ""


def ask(port: int, path: str, *, host: str) -> tuple[int | None, dict[str, Any]]:
    """The status and JSON of a GET on this machine; None where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_S)
    try:
        connection.request("GET", path, headers={"Host": host, "Connection": "close"})
        answer = connection.getresponse()
        text = answer.read(100_000)
    except (OSError, http.client.HTTPException):
        return None, {}
    finally:
        connection.close()
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    return answer.status, body if isinstance(body, dict) else {}


def _look_at_workers(lane: Lane) -> list[Missing]:
    """Every model that the lane must serve needs a worker that has loaded it; the newest word of a worker counts."""
    if lane.release is None:
        return []
    # What a worker of an earlier try said last is not this one's; a lane that has served has no earlier try.
    since = lane.release.started_at if lane.release.state == ReleaseState.TRYING else None
    rows = fetch_all(_WORKERS_SQL, lane=lane.name, release=lane.release.name, since=since)
    served: set[str] = set()
    for row in rows:
        if row["state"] in ("idle", "busy"):
            served.update(json.loads(row["serves"]) if isinstance(row["serves"], str) else row["serves"])
    missing = [slug for slug in lane.serves if slug not in served]
    if not missing:
        return []
    newest = rows[-1] if rows else None
    if newest is None:
        return [Missing(f"no worker of {lane.name} has said anything yet, {', '.join(missing)} is not served")]
    said = f"{newest['name']} is {newest['state']}{': ' + newest['detail'] if newest['detail'] else ''}"
    return [Missing(f"{', '.join(missing)} is not served yet ({said})", final=newest["state"] == "failed")]
