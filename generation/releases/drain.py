"""Emptying the lane that no longer serves: what the other one can draw goes there, the rest is drawn here."""

from __future__ import annotations

import time

from generation.enums import LaneState
from generation.errors import ReleaseFailed, ReleaseRefused
from generation.releases.handover import count_left, hand_over_queue, say_rest
from generation.releases.lanes import default_lane, move_lane, note_step, read_lane, release_name
from generation.releases.tools import Tools
from generation.releases.workers import drain_workers, wait_drained

DRAINABLE = (LaneState.READY, LaneState.STANDBY, LaneState.FAILED, LaneState.DRAINING)
EMPTY_S = 1800.0
LOOK_EVERY_S = 0.5


def drain_lane(lane: str, tools: Tools, *, timeout_s: float = EMPTY_S) -> int:
    """Empty a lane, then let its workers claim no more; how many rows were handed over.

    Raises `ReleaseRefused`, and `ReleaseFailed` while something is left that only this lane could draw.
    """
    here, serving = read_lane(lane), default_lane()
    if lane == serving:
        raise ReleaseRefused(f"{lane} serves: promote the other lane first")
    if here.state in (LaneState.DRAINED, LaneState.STOPPED):
        return 0
    if here.state not in DRAINABLE:
        raise ReleaseRefused(f"{lane} is {here.state}, which cannot be drained; look: release status")
    note_step(f"drain {lane}", release=release_name(here))
    move_lane(lane, LaneState.DRAINING)
    moved = _empty(lane, into=serving, timeout_s=timeout_s, tools=tools)
    drain_workers(lane)
    wait_drained(lane, tools)
    # A browser that was kept in this lane may have asked meanwhile; later ones the ticker hands over.
    moved += hand_over_queue(source=lane, target=serving)
    move_lane(lane, LaneState.DRAINED)
    return moved


def _empty(lane: str, *, into: str, timeout_s: float, tools: Tools) -> int:
    until, moved, said = time.monotonic() + timeout_s, 0, ""
    while True:
        moved += hand_over_queue(source=lane, target=into)
        left = count_left(lane)
        if left.is_nothing:
            return moved
        words = f"{left.running} being drawn, {left.queued} waiting" + (f": {say_rest(lane)}" if left.queued else "")
        if time.monotonic() > until:
            raise ReleaseFailed(
                f"{lane} still has {words}; {into} does not serve these. Its workers go on with them: run release "
                f"drain {lane} again later, or cancel them in the admin"
            )
        if words != said:
            tools.say(f"  {lane}: {words}")
            said = words
        time.sleep(LOOK_EVERY_S)
