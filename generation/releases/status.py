"""Where a release stands, in words, and what to type next."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils import timezone

from generation.enums import LaneState, ReleaseMode, ReleaseState
from generation.models import Lane
from generation.releases.compare.gate import last_comparison, say_comparison
from generation.releases.handover import count_left
from generation.releases.lanes import adopt_default, default_lane, read_lanes, release_name, runs
from generation.releases.ready import Missing, look
from generation.releases.tools import Tools, other_lane

WORDS = {
    LaneState.STOPPED: "is stopped",
    LaneState.STARTING: "is being started",
    LaneState.READY: "is ready; nobody but staff is led there",
    LaneState.PROMOTING: "was being promoted",
    LaneState.SERVING: "serves",
    LaneState.STANDBY: "stands by: it served before",
    LaneState.RETURNING: "was being rolled back to",
    LaneState.DRAINING: "is being drained",
    LaneState.DRAINED: "is drained",
    LaneState.STOPPING: "was being stopped",
    LaneState.FAILED: "has failed",
}


def say_status(tools: Tools) -> list[str]:
    """The lines of `release status`."""
    adopt_default(tools)
    lanes, serving = read_lanes(), default_lane()
    other = lanes[other_lane(serving)]
    missing = {lane.name: _look(lane, tools) for lane in (lanes[serving], other)}
    found = [line for lane in (lanes[serving], other) for line in _say_lane(lane, missing[lane.name])]
    found.append(_say_proxy(serving, tools))
    return [*found, f"next: {say_next(other, serving=serving, unwell=bool(missing[serving]))}"]


def say_next(other: Lane, *, serving: str, unwell: bool = False) -> str:
    """What to type, by the state of the lane that does not serve; `unwell`: the one that serves lacks something."""
    name = other.name
    withdrawn = other.release is not None and other.release.state == ReleaseState.WITHDRAWN
    if other.state == LaneState.READY and withdrawn and unwell:
        return "release rollback, which goes on: the workers are not back yet"
    return {
        LaneState.STOPPED: f"nothing is under way. For a new release: release start {name}",
        LaneState.STARTING: f"if no other command is at work on it: release start {name}, which goes on",
        LaneState.READY: _say_promote(other),
        LaneState.PROMOTING: f"if no other command is at work on it: release promote {name}, which goes on; "
        f"or release rollback, which keeps {serving}",
        LaneState.STANDBY: f"release rollback, if {serving} is not well; else release drain {name}",
        LaneState.RETURNING: "release rollback, which goes on",
        LaneState.DRAINING: f"if no other command is at work on it: release drain {name}, which goes on; "
        "or release rollback",
        LaneState.DRAINED: f"release finish; or release rollback, which goes back to {name}",
        LaneState.STOPPING: "release finish, which goes on",
        LaneState.FAILED: f"release start {name}, when it is mended; or release finish",
        LaneState.SERVING: "",
    }[LaneState(other.state)]


def _say_promote(lane: Lane) -> str:
    """A lane by hand-over draws nothing before its promotion, which compares."""
    by_hand_over = lane.release is not None and lane.release.mode == ReleaseMode.HAND_OVER
    first = "" if by_hand_over or last_comparison(lane.release) else f"release compare {lane.name}, then "
    return f"{first}release promote {lane.name}; or release finish, which stops it"


def _look(lane: Lane, tools: Tools) -> list[Missing] | None:
    """What a lane lacks; None where nothing is to be expected of it."""
    if not runs(lane) or lane.state == LaneState.FAILED:
        return None
    return look(lane.name, tools, workers=_has_workers(lane))


def _say_lane(lane: Lane, missing: list[Missing] | None) -> Iterator[str]:
    since = max(0.0, (timezone.now() - lane.changed_at).total_seconds())
    where = f"since {lane.changed_at:%Y-%m-%d %H:%M:%S} UTC ({_say_age(since)})"
    yield f"{lane.name} {WORDS[LaneState(lane.state)]}, with {release_name(lane)}, {where}"
    if lane.detail:
        yield f"  {lane.detail}"
    left = count_left(lane.name)
    if runs(lane) or not left.is_nothing:
        yield f"  {left.queued} waiting, {left.running} being drawn"
    if runs(lane) and (compared := last_comparison(lane.release)) is not None:
        yield f"  compared on {compared.started_at:%Y-%m-%d %H:%M} UTC: {say_comparison(compared)}"
    if missing is not None:
        yield f"  {'; '.join(one.text for one in missing) or 'pages, streams and workers answer'}"


def _has_workers(lane: Lane) -> bool:
    """Whether its GPU workers should draw now: not beside the other's by hand-over, nor drained."""
    by_hand_over = lane.release is not None and lane.release.mode == ReleaseMode.HAND_OVER
    if lane.state == LaneState.SERVING:
        return not _is_handed_over(lane)
    return lane.state in (LaneState.READY, LaneState.STARTING) and not by_hand_over


def _is_handed_over(lane: Lane) -> bool:
    other = read_lanes()[other_lane(lane.name)]
    return (
        other.state == LaneState.PROMOTING and other.release is not None and other.release.mode == ReleaseMode.HAND_OVER
    )


def _say_proxy(serving: str, tools: Tools) -> str:
    found = tools.proxy.read()
    if found is None:
        return "the proxy does not say where it leads people"
    live = ", ".join(sorted(found.live))
    kept = "browsers are kept in their lane" if found.sticky else "nobody is kept in a lane"
    wrong = "" if found.default == serving else f" — but {serving} should serve"
    return f"the proxy leads newcomers to {found.default}{wrong}; reachable: {live}; {kept}"


def _say_age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
