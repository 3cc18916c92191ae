"""Making a lane the default, and going back.

The move itself is one reload of the proxy; what is slow (workers that load) happens before it, in the lane that nobody
is led to yet, and can be taken back. After a rollback it happens behind the move: pages first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction

from generation.enums import LaneState, ReleaseMode, ReleaseState
from generation.errors import ReleaseFailed, ReleaseRefused
from generation.models import Lane, Release
from generation.releases.handover import hand_over_queue
from generation.releases.lanes import (
    change_default,
    default_lane,
    move_lane,
    note_step,
    read_lane,
    read_lanes,
    release_name,
    traffic,
)
from generation.releases.ready import READY_S, wait_ready
from generation.releases.start import give_up
from generation.releases.tools import Tools, other_lane
from generation.releases.workers import bring_back, copy_pauses, swap_workers, undrain_workers

STILL_READY_S = 10.0  # a lane that was ready is so now, or within a moment
WEB_BACK_S = 60.0  # servers of a lane that stands by, should somebody have stopped them


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison of the lanes found. Red is refused unless somebody says why it may be; other words are said."""

    red: bool
    words: str


# Asked in turn for a lane that is about to be promoted and whose workers have loaded.
verdicts: list[Callable[[str], Verdict | None]] = []
# Told in the transaction in which a lane becomes the default.
promoted: list[Callable[[str], None]] = []


@dataclass(frozen=True, slots=True)
class Moved:
    """How long the move of the default took, and how long nothing was drawn; `already`: there was nothing to move."""

    move_ms: int = 0
    pause_ms: int | None = None
    handed_over: int = 0
    already: bool = False


def promote_lane(lane: str, tools: Tools, *, force: str = "", timeout_s: float = READY_S) -> Moved:
    """Lead newcomers to a lane. Raises `ReleaseRefused`, and `ReleaseFailed` after everything is as it was."""
    here = read_lane(lane)
    if here.state == LaneState.SERVING:
        return _see_to_proxy(lane, tools)
    if here.state not in (LaneState.READY, LaneState.PROMOTING):
        raise ReleaseRefused(_say_unready(here))
    source = default_lane()
    note_step(f"promote {lane}", release=release_name(here), **({"force": force} if force else {}))
    by_hand_over = here.release is not None and here.release.mode == ReleaseMode.HAND_OVER
    if here.state == LaneState.READY:
        _check_still_ready(lane, tools, workers=not by_hand_over)
        move_lane(lane, LaneState.PROMOTING)
    try:
        pause_ms = swap_workers(source=source, target=lane, tools=tools, timeout_s=timeout_s) if by_hand_over else None
        wait_ready(lane, tools, workers=True, timeout_s=STILL_READY_S)
        began = time.monotonic()
        _ask_verdicts(lane, tools, force=force)
        if pause_ms is not None:  # a comparison draws while nobody else is drawn for
            pause_ms += round((time.monotonic() - began) * 1000)
        tools.units.enable(tools.lane_units(lane))  # should the power go in this very moment
        started = time.monotonic()
        tools.proxy.apply(traffic(default=lane))
    except (ReleaseFailed, ReleaseRefused) as error:
        raise _take_back(lane, source, tools, error=error, timeout_s=timeout_s) from error
    move_ms = round((time.monotonic() - started) * 1000)
    _become_default(lane, source, pause_ms=pause_ms)
    moved = hand_over_queue(source=source, target=lane, idle_only=True)  # first: by hand-over they wait for it
    _follow(lane, tools)
    moved += hand_over_queue(source=source, target=lane, idle_only=True)  # what has come into the old lane meanwhile
    return Moved(move_ms=move_ms, pause_ms=pause_ms, handed_over=moved)


def roll_back(tools: Tools, *, timeout_s: float = READY_S) -> Moved:
    """Lead newcomers to the lane that served before, or end a promotion that died. Raises `ReleaseRefused`, and
    `ReleaseFailed`: run it again.
    """
    lanes = read_lanes()
    serving = default_lane()
    other = lanes[other_lane(serving)]
    if other.state == LaneState.PROMOTING:
        note_step(f"rollback to {serving}", release=release_name(lanes[serving]))
        _undo(other.name, serving, tools, timeout_s=timeout_s)
        move_lane(other.name, LaneState.READY, detail="the promotion was taken back")
        return Moved()
    back = (LaneState.STANDBY, LaneState.DRAINING, LaneState.DRAINED, LaneState.RETURNING)
    if other.state not in back:
        return _finish_roll_back(serving, other, tools, timeout_s=timeout_s)
    target = other.name
    note_step(f"rollback to {target}", release=release_name(other))
    tools.units.start(tools.web_units(target))  # they run, unless somebody has stopped them
    wait_ready(target, tools, workers=False, visits=False, timeout_s=WEB_BACK_S, patient=True)
    move_lane(target, LaneState.RETURNING)
    started = time.monotonic()
    tools.proxy.apply(traffic(default=target))
    move_ms = round((time.monotonic() - started) * 1000)
    with transaction.atomic():
        change_default(target, before=ReleaseState.WITHDRAWN, left=LaneState.READY)
        copy_pauses(source=serving, target=target)
    tools.say(f"{target} serves again: pages and API were moved in {move_ms} ms")
    _follow(target, tools)
    return _return_workers(target, instead_of=serving, tools=tools, move_ms=move_ms, timeout_s=timeout_s)


def _finish_roll_back(serving: str, other: Lane, tools: Tools, *, timeout_s: float) -> Moved:
    """The pages were rolled back and the command died before the workers were; or there is nothing to go back to."""
    died = other.release is not None and other.release.state == ReleaseState.WITHDRAWN
    if died and other.state == LaneState.READY:
        note_step(f"rollback to {serving}", release=release_name(read_lane(serving)))
        tools.proxy.apply(traffic(default=serving))
        _follow(serving, tools)
        return _return_workers(serving, instead_of=other.name, tools=tools, move_ms=0, timeout_s=timeout_s)
    raise ReleaseRefused(
        f"there is nothing to roll back to: {other.name} is {other.state}. To serve an earlier release, start it "
        f"there: release start {other.name} --release NAME, then release promote {other.name}"
    )


def _return_workers(target: str, *, instead_of: str, tools: Tools, move_ms: int, timeout_s: float) -> Moved:
    left = read_lane(instead_of).release
    pause_ms = None
    if left is not None and left.mode == ReleaseMode.HAND_OVER:
        tools.say(f"{target}'s GPU workers were stopped and have to load; requests are accepted meanwhile and wait")
        pause_ms = swap_workers(source=instead_of, target=target, tools=tools, timeout_s=timeout_s)
    else:
        undrain_workers(target)
    moved = hand_over_queue(source=instead_of, target=target, idle_only=True)
    return Moved(move_ms=move_ms, pause_ms=pause_ms, handed_over=moved)


def _see_to_proxy(lane: str, tools: Tools) -> Moved:
    """Promoted already. Should the proxy not know it, or the ticker, they are told again."""
    wanted = traffic(default=lane)
    if tools.proxy.read() != wanted:
        tools.proxy.apply(wanted)
    _follow(lane, tools)
    return Moved(already=True)


def _say_unready(lane: Lane) -> str:
    if lane.state == LaneState.STANDBY or lane.state in (LaneState.DRAINING, LaneState.DRAINED):
        return f"{lane.name} served before: release rollback goes back to it"
    return f"{lane.name} is {lane.state}, not ready: release start {lane.name} first"


def _check_still_ready(lane: str, tools: Tools, *, workers: bool) -> None:
    try:
        wait_ready(lane, tools, workers=workers, timeout_s=STILL_READY_S, patient=True)
    except ReleaseFailed as error:
        give_up(lane, tools, why=error.message)
        raise ReleaseFailed(
            f"{lane} was ready and is so no more: {error.message}. It was stopped; {default_lane()} serves as before. "
            f"Then: release start {lane}, or release finish"
        ) from error


def _ask_verdicts(lane: str, tools: Tools, *, force: str) -> None:
    for ask in verdicts:
        verdict = ask(lane)
        if verdict is not None and not verdict.red:
            tools.say(verdict.words)
        if verdict is not None and verdict.red:
            if not force:
                raise ReleaseRefused(
                    f"the comparison says no: {verdict.words}. With a reason it can be forced: --force"
                )
            note_step(f"promote {lane} against the comparison", why=force, verdict=verdict.words[:300])


def _become_default(lane: str, source: str, *, pause_ms: int | None) -> None:
    with transaction.atomic():
        change_default(lane, before=ReleaseState.PREVIOUS, left=LaneState.STANDBY)
        copy_pauses(source=source, target=lane)
        for keep in promoted:
            keep(lane)
        if pause_ms is not None:
            Release.objects.filter(state=ReleaseState.CURRENT, lane=lane).update(pause_ms=pause_ms)


def _follow(lane: str, tools: Tools) -> None:
    """Ticker, timers and the `studio` command go with the default lane."""
    tools.code.make_current(lane)
    if tools.shared_units:
        tools.units.restart(list(tools.shared_units))


def _take_back(
    lane: str, source: str, tools: Tools, *, error: ReleaseFailed | ReleaseRefused, timeout_s: float
) -> ReleaseFailed | ReleaseRefused:
    """Everything as it was before the promotion; the error to raise."""
    try:
        _undo(lane, source, tools, timeout_s=timeout_s)
    except ReleaseFailed as worse:
        return ReleaseFailed(
            f"{error.message}. {source}'s pages serve, but its workers do not draw yet: {worse.message}. "
            "Then: release rollback"
        )
    if isinstance(error, ReleaseRefused):
        move_lane(lane, LaneState.READY, detail=error.message)
        return ReleaseRefused(f"{error.message} ({source} serves as before, {lane} is still ready)")
    give_up(lane, tools, why=error.message)
    return ReleaseFailed(
        f"{error.message}. {lane} was stopped; {source} serves as before. "
        f"Logs: {tools.logs(tools.units.states(tools.lane_units(lane)))}. Then: release start {lane}, or release finish"
    )


def _undo(lane: str, source: str, tools: Tools, *, timeout_s: float) -> None:
    wanted = traffic(default=source)
    if tools.proxy.read() != wanted:
        tools.proxy.apply(wanted)
    here = read_lane(lane)
    if here.release is not None and here.release.mode == ReleaseMode.HAND_OVER:
        bring_back(source, instead_of=lane, tools=tools, timeout_s=timeout_s)
