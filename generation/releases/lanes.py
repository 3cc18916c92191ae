"""The lanes' states: who is the default, which moves are allowed, and one release command at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import Error, transaction
from django.utils import timezone

from accounts.domain.audit import record
from accounts.domain.sql import fetch_one
from generation.enums import LANE_MOVES, RELEASE_MOVES, LaneState, ReleaseState
from generation.errors import ReleaseRefused
from generation.models import Lane, Release
from generation.releases.plan import required_models
from generation.releases.tools import LANES, Tools, Traffic, other_lane

LOCK = 0x71735F72656C6561  # "qs_relea": the advisory lock's key
# A browser that was led into such a lane may stay there.
REACHABLE = (
    LaneState.READY,
    LaneState.PROMOTING,
    LaneState.SERVING,
    LaneState.STANDBY,
    LaneState.RETURNING,
    LaneState.DRAINING,
    LaneState.DRAINED,
)
NAME_CHARS = 40  # of a release, in its column and in what workers say
_DETAIL_CHARS = 500


def read_lanes() -> dict[str, Lane]:
    """Both, by name."""
    return {lane.name: lane for lane in Lane.objects.select_related("release")}


def read_lane(name: str) -> Lane:
    """One of them; raises `ReleaseRefused` for any other name."""
    if name not in LANES:
        raise ReleaseRefused(f"there is no lane {name[:20]!r}: lanes are blue and green")
    return Lane.objects.select_related("release").get(pk=name)


def default_lane() -> str:
    """Where newcomers are sent."""
    return Lane.objects.get(state=LaneState.SERVING).name


def runs(lane: Lane) -> bool:
    """Whether processes of the lane run, or may."""
    return lane.state != LaneState.STOPPED


def release_name(lane: Lane) -> str:
    """The name of what is in it, for sentences."""
    return lane.release.name if lane.release else "no release"


def traffic(*, default: str) -> Traffic:
    """What the proxy should do as the lanes are now, with this one as the default."""
    live = frozenset(Lane.objects.filter(state__in=REACHABLE).values_list("name", flat=True)) | {default}
    return Traffic(default=default, live=live, sticky=len(live) > 1)


def move_lane(name: str, to: LaneState, *, detail: str = "", release: ReleaseState | None = None) -> Lane:
    """Write a lane's next state, and what that makes of its release; a move to where it is changes nothing.

    Raises `ReleaseRefused` where somebody else has moved it meanwhile.
    """
    with transaction.atomic():
        lane = Lane.objects.select_for_update().get(pk=name)
        if lane.state == to:
            return lane
        if to not in LANE_MOVES[lane.state]:
            raise ReleaseRefused(f"{name} is {lane.state}, which cannot become {to.value}; look: release status")
        before, lane.state, lane.detail, lane.changed_at = lane.state, to.value, _cut(detail), timezone.now()
        lane.save(update_fields=["state", "detail", "changed_at"])
        if release is not None and lane.release is not None:
            move_release(lane.release, release, detail=detail)
        record(
            "lane.moved",
            target=f"lane:{name}",
            detail={"from": before, "to": to.value, "release": release_name(lane)}
            | ({"why": detail} if detail else {}),
        )
    return lane


def move_release(release: Release, to: ReleaseState, *, detail: str = "") -> None:
    """Write what became of a release, in the caller's transaction; where it is that already, nothing."""
    if release.state == to:
        return
    if to not in RELEASE_MOVES[release.state]:
        raise ReleaseRefused(f"the release {release} is {release.state}, which cannot become {to.value}")
    release.state = to.value
    release.detail = _cut(detail) or release.detail
    if to == ReleaseState.CURRENT and release.promoted_at is None:
        release.promoted_at = timezone.now()
    if to in (ReleaseState.FAILED, ReleaseState.ENDED):
        release.ended_at = timezone.now()
    release.save(update_fields=["state", "detail", "promoted_at", "ended_at"])


def change_default(to: str, *, before: ReleaseState, left: LaneState) -> None:
    """In one transaction: `to` serves, and the lane that did becomes `left`, its release `before`."""
    with transaction.atomic():
        list(Lane.objects.select_for_update().order_by("name"))  # in one order, whoever promotes what
        move_lane(other_lane(to), left, release=before)
        move_lane(to, LaneState.SERVING, release=ReleaseState.CURRENT)


def adopt_default(tools: Tools) -> None:
    """Note which release the default lane is, where no release command has put it there: the first one, or another
    one after an uninstall that kept the data.
    """
    with transaction.atomic():
        # `release status` asks beside other commands: two of them note it once. The release is read after the lock.
        lane = Lane.objects.select_for_update().get(state=LaneState.SERVING)
        name = tools.code.release_of(lane.name)[:NAME_CHARS]
        if not name or release_name(lane) == name:
            return
        since = timezone.now() if lane.release else lane.changed_at
        if lane.release is not None:
            move_release(lane.release, ReleaseState.ENDED, detail=f"{name} was installed in its place")
        lane.release = Release.objects.create(
            name=name, lane=lane.name, state=ReleaseState.CURRENT, started_at=since, promoted_at=since
        )
        lane.serves = required_models(lane=lane.name, beside=lane.name)
        lane.save(update_fields=["release", "serves"])


def note_step(step: str, **detail: str) -> None:
    """One line of the audit log for a command that begins."""
    record("release.step", target=f"release:{step}", detail={"step": step} | detail)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the lock of all release commands, which ends with its session; raises `ReleaseRefused` while it is taken."""
    row = fetch_one("SELECT pg_try_advisory_lock(%(key)s) AS held", key=LOCK)
    if not row or not row["held"]:
        raise ReleaseRefused("another release command is at work: let it end, then look: release status")
    try:
        yield
    finally:
        with suppress(Error):  # the session may be gone, and with it the lock
            fetch_one("SELECT pg_advisory_unlock(%(key)s)", key=LOCK)


def _cut(text: str) -> str:
    return text.replace("\x00", "")[:_DETAIL_CHARS]
