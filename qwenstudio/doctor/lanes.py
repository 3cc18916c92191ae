"""The lanes as the release commands left them: which one serves, a release that is half done, a lane that should answer
and does not. Read over the worker's role, like everything in `work.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from generation.domain.place import WORKER_SILENT_S
from generation.enums import LaneState
from generation.models import Lane, Release
from generation.releases.ready import ask
from generation.releases.status import WORDS, say_next
from generation.releases.tools import other_lane
from qwenstudio.doctor.asking import ask_database
from qwenstudio.doctor.finding import Finding, Level
from qwenstudio.proxy import ProxyError
from qwenstudio.proxy.places import places_of
from qwenstudio.proxy.site import read_ports
from qwenstudio.units.layout import Layout

STUCK_S = 1800.0
"""A state between two others takes no longer, unless its command has died: loading 58 GB takes minutes."""
LEFT_S = 86_400.0
"""A second lane that runs for longer has been forgotten: it costs memory, and browsers are kept in it."""
BETWEEN = (
    LaneState.STARTING, LaneState.PROMOTING, LaneState.RETURNING, LaneState.DRAINING, LaneState.STOPPING,
)  # fmt: skip
WAITING = (LaneState.READY, LaneState.STANDBY, LaneState.DRAINED)
ANSWERING = (LaneState.SERVING, LaneState.READY, LaneState.STANDBY, LaneState.DRAINING, LaneState.DRAINED)

STATES_SQL = """
SELECT l.name, l.state, l.detail, extract(epoch FROM now() - l.changed_at)::float8,
       coalesce(r.name, ''), coalesce(r.mode, ''), coalesce(r.state, '')
  FROM generation_lane l LEFT JOIN generation_release r ON r.id = l.release_id
"""
# Each lane's workers and what waits in it.
WORK_SQL = """
SELECT lane, coalesce(w.workers, 0), coalesce(w.releases, ARRAY[]::text[]), coalesce(q.waiting, 0)
  FROM (SELECT lane, count(*) AS workers, array_agg(DISTINCT release::text ORDER BY release::text) AS releases
          FROM generation_worker
         WHERE state NOT IN ('stopped', 'failed') AND seen_at > now() - %s * interval '1 second' GROUP BY lane) w
  FULL JOIN (SELECT lane, count(*) AS waiting FROM generation_generation WHERE status = 'queued' GROUP BY lane) q
       USING (lane)
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """One lane."""

    name: str
    state: LaneState
    detail: str
    since_s: float
    release: str
    mode: str
    release_state: str

    @property
    def row(self) -> Lane:
        """As the release commands know it; not from the database."""
        release = Release(name=self.release, lane=self.name, mode=self.mode, state=self.release_state)
        return Lane(name=self.name, state=self.state, detail=self.detail, release=release if self.release else None)


def read_lanes() -> dict[str, Seen] | None:
    """Both lanes; None where the database does not answer, of which its own check has said so."""
    found = ask_database((STATES_SQL, []))
    return {row[0]: Seen(row[0], LaneState(row[1]), *row[2:]) for row in found[0]} if found and found[0] else None


def check_lanes() -> Iterator[Finding]:
    """The lane that serves first."""
    lanes, found = read_lanes(), ask_database((WORK_SQL, [WORKER_SILENT_S]))
    if lanes is None or found is None:
        return
    work = {row[0]: row[1:] for row in found[0]}
    serving = next((name for name, lane in lanes.items() if lane.state == LaneState.SERVING), None)
    if serving is None:
        yield Finding("fail", "lanes", "none of them serves", "studio release status")
        return
    for name in (serving, other_lane(serving)):
        workers, releases, waiting = work.get(name, (0, [], 0))
        if lanes[name].state == LaneState.STOPPED and not (workers or waiting):
            continue
        yield _check_lane(lanes[name], workers=workers, releases=releases, waiting=waiting, serving=serving)
        yield from _check_pages(lanes[name])


def _check_lane(lane: Seen, *, workers: int, releases: Sequence[str], waiting: int, serving: str) -> Finding:
    name, next_step = f"lane {lane.name}", f"studio {say_next(lane.row, serving=serving)}"
    names = ", ".join(release or "unknown" for release in releases)
    text = f"{WORDS[lane.state]}, release {lane.release or names or 'unknown'}; {workers} GPU workers, {waiting} wait"
    if lane.state in BETWEEN and lane.since_s > STUCK_S:
        return Finding("warn", name, f"{text}; a release is half done, for {lane.since_s / 60:.0f} min", next_step)
    if lane.state == LaneState.FAILED:
        return Finding("warn", name, f"{text}: {lane.detail}", next_step)
    if waiting and not workers:
        remedy = f"start the lane's workers (STUDIO_LANE={lane.name}), or hand its work over: studio release status"
        return Finding("fail", name, f"{text}: nobody draws them", remedy)
    if lane.state == LaneState.STOPPED:
        return Finding("warn", name, f"{text}: they should have ended", "studio release finish")
    if len(releases) > 1:
        remedy = "drain and restart those of the older one: a lane is one release"
        return Finding("warn", name, f"{text}; its GPU workers are of several releases: {names}", remedy)
    if lane.release and releases and list(releases) != [lane.release]:
        remedy = f"systemctl restart 'studio-gpu@{lane.name}-*'; if that is no help: studio release status"
        return Finding("warn", name, f"{text}; its GPU workers are of release {names}", remedy)
    if lane.state in WAITING and lane.since_s > LEFT_S:
        return Finding("warn", name, f"{text}; a release is half done, for {lane.since_s / 3600:.0f} h", next_step)
    return Finding("ok", name, text)


def _check_pages(lane: Seen) -> Iterator[Finding]:
    """Whether the pages of a lane that runs answer as that lane; only where this machine has its units."""
    layout = Layout.here()
    if lane.state not in ANSWERING or not layout.lane(lane.name).is_symlink():
        return
    name, unit = f"pages of {lane.name}", f"studio-web@{lane.name}"
    remedy = f"journalctl -u {unit} -n 50; then: systemctl restart {unit}"
    try:
        port = read_ports(places_of(layout), lane.name).web
    except ProxyError as error:
        yield Finding("fail", name, str(error), f"correct {layout.lane_env(lane.name)}")
        return
    status, body = ask(port, "/readyz", host=urlsplit(settings.STUDIO_URL).hostname or "localhost")
    who = f"release {body.get('release', 'unknown')} of {body.get('lane', 'an unknown lane')}"
    level: Level = "fail" if lane.state == LaneState.SERVING else "warn"
    if status is None:
        yield Finding(level, name, f"nobody answers on port {port}", remedy)
    elif status != 200:
        failed: Any = body.get("failed") or {}
        words = ", ".join(f"{part}: {why}" for part, why in failed.items()) if isinstance(failed, Mapping) else ""
        yield Finding(level, name, f"/readyz on port {port} says {status} {words}".rstrip(), remedy)
    elif body.get("lane") != lane.name or (lane.release and body.get("release") != lane.release):
        yield Finding(level, name, f"port {port} is {who}, not {lane.release or 'its own'} of {lane.name}", remedy)
    else:
        yield Finding("ok", name, f"ready on port {port}, {who}")


def should_run(lanes: Mapping[str, Seen] | None, lane: str, *, gpu: bool, current: str) -> bool | None:
    """Whether a lane's unit should run, by its state; None where either is right. Without the database only the units
    of the lane that `current` leads to are known to.
    """
    if lanes is None:
        return True if lane == current else None
    here, other = lanes[lane], lanes[other_lane(lane)]
    if here.state in (LaneState.STOPPED, LaneState.FAILED):
        return False
    if here.state in BETWEEN:
        return None
    # In a hand-over only one lane's workers run; of a lane that stands by they may have been drained.
    return True if not gpu or (here.state == LaneState.SERVING and other.state not in BETWEEN) else None
