"""Starting a release in the lane that does not serve: nobody but staff is led there before it is promoted."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from generation.enums import LaneState, ReleaseMode, ReleaseState
from generation.errors import ReleaseFailed, ReleaseRefused
from generation.models import Lane, Release
from generation.releases import plan
from generation.releases.lanes import (
    NAME_CHARS,
    adopt_default,
    default_lane,
    move_lane,
    move_release,
    note_step,
    read_lane,
    release_name,
    traffic,
)
from generation.releases.ready import READY_S, wait_ready
from generation.releases.tools import Migration, Tools

STARTABLE = (LaneState.STOPPED, LaneState.FAILED, LaneState.STARTING, LaneState.READY)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPlan:
    """What `start` is about to do."""

    lane: str
    release: str
    fit: plan.Fit
    unapplied: tuple[Migration, ...]
    goes_on: bool
    """A start of this release that died is carried on."""

    def lines(self) -> list[str]:
        """For whoever has to say yes."""
        words = {ReleaseMode.SIDE_BY_SIDE: "side by side", ReleaseMode.HAND_OVER: "by hand-over"}
        migrations = ", ".join(one.name for one in self.unapplied) or "none"
        return [
            f"{'go on with' if self.goes_on else 'start'} release {self.release} in {self.lane}",
            f"migrations to apply: {migrations}",
            f"GPU workers: {words[self.fit.mode]}",
            *(f"  {why}" for why in self.fit.why),
            f"at the promotion: {self.fit.say_pause()}",
        ]


def plan_start(lane: str, tools: Tools, *, release: str = "", mode: ReleaseMode | None = None) -> StartPlan:
    """Look at everything and change nothing. Raises `ReleaseRefused` with what to do instead, and `ReleaseFailed`."""
    adopt_default(tools)
    here, serving = read_lane(lane), default_lane()
    if lane == serving:
        raise ReleaseRefused(f"{lane} serves: a release is started in the other lane")
    if here.state not in STARTABLE:
        raise ReleaseRefused(f"{lane} is {here.state} with {release_name(here)}: end that first, release finish")
    goes_on = here.state == LaneState.STARTING and here.release is not None
    name = release or (here.release.name if goes_on and here.release else _newest(tools, beside=serving))
    if goes_on and here.release and here.release.name != name:
        known = f"{here.release.name} is being started in {lane}"
        raise ReleaseRefused(f"{known}: go on with it (release start {lane}) or end it (release finish)")
    _check_name(name, tools)
    unapplied = tools.code.unapplied(name)
    _refuse_contracting(name, unapplied, beside=serving)
    fit = plan.find_fit(beside=serving)
    chosen = ReleaseMode(here.release.mode) if goes_on and here.release else mode or fit.mode
    if chosen != fit.mode:
        fit = plan.Fit(mode=chosen, why=(*fit.why, "the way was chosen by hand"), load_s=fit.load_s)
    return StartPlan(lane=lane, release=name, fit=fit, unapplied=tuple(unapplied), goes_on=goes_on)


def start_lane(chosen: StartPlan, tools: Tools, *, timeout_s: float = READY_S) -> None:
    """Do it. Raises `ReleaseFailed`; then the lane is stopped again, and the one that serves has noticed nothing."""
    lane, by_hand_over = chosen.lane, chosen.fit.mode == ReleaseMode.HAND_OVER
    note_step(f"start {lane}", release=chosen.release, mode=chosen.fit.mode.value)
    if not chosen.goes_on:
        _enter(chosen)
        tools.units.stop(tools.lane_units(lane))  # of an earlier release that failed
    try:
        if chosen.unapplied:
            tools.say("applying migrations ...")
            tools.code.migrate(chosen.release)
        tools.say("collecting static files ...")
        tools.code.collect_static(chosen.release)
        tools.code.link(lane, chosen.release)
        tools.say(f"starting {lane} ...")
        tools.units.start(tools.web_units(lane) if by_hand_over else tools.lane_units(lane))
        wait_ready(lane, tools, workers=not by_hand_over, timeout_s=timeout_s)
    except ReleaseFailed as error:
        give_up(lane, tools, why=error.message)
        raise ReleaseFailed(
            f"{error.message}. {lane} was stopped; {default_lane()} serves as before. Logs: {_logs(lane, tools)}. "
            f"Then: release start {lane}, or release finish"
        ) from error
    move_lane(lane, LaneState.READY)
    tools.proxy.apply(traffic(default=default_lane()))


def give_up(lane: str, tools: Tools, *, why: str) -> None:
    """Stop a lane that cannot serve, and lead nobody there."""
    move_lane(lane, LaneState.FAILED, detail=why, release=ReleaseState.FAILED)
    try:
        tools.proxy.apply(traffic(default=default_lane()))
    except ReleaseFailed as error:  # it leads nobody there who has no cookie for it
        tools.say(error.message)
    tools.units.disable(tools.lane_units(lane))
    tools.units.stop(tools.lane_units(lane))


def _enter(chosen: StartPlan) -> None:
    serves = plan.required_models(lane=chosen.lane, beside=default_lane())
    with transaction.atomic():
        lane = Lane.objects.select_for_update().get(pk=chosen.lane)
        if lane.release is not None and lane.release.state in (ReleaseState.TRYING, ReleaseState.WITHDRAWN):
            move_release(lane.release, ReleaseState.ENDED)
        lane.release = Release.objects.create(name=chosen.release, lane=lane.name, mode=chosen.fit.mode)
        lane.serves = serves
        lane.save(update_fields=["release", "serves"])
        if lane.state == LaneState.STARTING:  # one that died before it was entered
            return
        move_lane(chosen.lane, LaneState.STARTING)


def _newest(tools: Tools, *, beside: str) -> str:
    serving = release_name(read_lane(beside))
    found = [name for name in tools.code.installed() if name != serving]
    if not found:
        raise ReleaseRefused(f"no release but {serving} is installed: install one, or name it with --release")
    return found[0]


def _check_name(name: str, tools: Tools) -> None:
    if name not in tools.code.installed():
        raise ReleaseRefused(f"release {name[:60]!r} is not installed; installed: {', '.join(tools.code.installed())}")
    if len(name) > NAME_CHARS:
        raise ReleaseRefused(f"release {name!r} has a name of more than {NAME_CHARS} characters")


def _refuse_contracting(name: str, unapplied: list[Migration], *, beside: str) -> None:
    reasons = [f"{one.name}: {'; '.join(one.contracting)}" for one in unapplied if one.contracting]
    if reasons:
        serving = release_name(read_lane(beside))
        raise ReleaseRefused(
            f"release {name} takes something away that {serving}, which serves, may still use: {' | '.join(reasons)}. "
            f"Where {serving} is known to do without, migrate now, while one lane runs (manage.py migrate of {name}), "
            "and start again; otherwise a release in between must stop using it first"
        )


def _logs(lane: str, tools: Tools) -> str:
    return "; ".join(tools.log_of(name) for name in tools.lane_units(lane))
