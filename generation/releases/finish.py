"""The end of a release: the lane that does not serve is stopped, and nobody is kept in a lane any more."""

from __future__ import annotations

from generation.enums import LaneState, ReleaseState
from generation.errors import ReleaseRefused
from generation.releases.handover import count_left, hand_over_queue
from generation.releases.lanes import (
    default_lane,
    move_lane,
    note_step,
    read_lane,
    release_name,
    traffic,
)
from generation.releases.tools import Tools, other_lane

UNFINISHED = {
    LaneState.PROMOTING: "go on with release promote {lane}, or take it back with release rollback",
    LaneState.RETURNING: "go on with release rollback",
    LaneState.DRAINING: "go on with release drain {lane}",
}


def finish_release(tools: Tools) -> str:
    """Stop the lane that does not serve; its name. Raises `ReleaseRefused` while it has work, or is in between.

    Its release stays on the disk, and so do the newest: an earlier one can be started again.
    """
    serving = default_lane()
    here = read_lane(other_lane(serving))
    lane = here.name
    if here.state in UNFINISHED:
        raise ReleaseRefused(f"{lane} is {here.state}: {UNFINISHED[LaneState(here.state)].format(lane=lane)}")
    if here.state != LaneState.STOPPED:
        note_step(f"finish {lane}", release=release_name(here))
        hand_over_queue(source=lane, target=serving)
        left = count_left(lane)
        if not left.is_nothing:
            raise ReleaseRefused(f"{lane} has {left.queued} waiting and {left.running} running: release drain {lane}")
        move_lane(lane, LaneState.STOPPING)
    # In this order: nobody is led to a server that ends.
    wanted = traffic(default=serving)
    if tools.proxy.read() != wanted:
        tools.proxy.apply(wanted)
    tools.units.disable(tools.lane_units(lane))
    tools.units.stop(tools.lane_units(lane))
    hand_over_queue(source=lane, target=serving)  # what came between
    if here.state != LaneState.STOPPED:
        move_lane(lane, LaneState.STOPPED, release=ReleaseState.ENDED)
    if removed := tools.code.remove_old():
        tools.say(f"removed from the disk, because no lane is one of these: {', '.join(removed)}")
    return lane
