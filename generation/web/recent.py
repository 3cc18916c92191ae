"""What the studio page opens with: one's own last work, and what stands in its way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.domain.callers import Caller
from generation.domain.gallery import present_rows
from generation.domain.present import GENERATION_COLUMNS
from generation.enums import Status, WorkerState
from generation.models import Generation, Pool, Worker

FINISHED = 8  # shown beside everything that is under way
ACTIVE = 40
SEEN_WITHIN = timedelta(seconds=90)  # a worker reports itself more often than that
PRESENT = (WorkerState.LOADING, WorkerState.IDLE, WorkerState.BUSY)


def recent_work(caller: Caller) -> list[dict[str, Any]]:
    """The caller's generations that are under way, and the last few that have ended, newest first."""
    mine = Generation.objects.filter(user=caller.user).order_by("-created_at", "-id").values(*GENERATION_COLUMNS)
    active = mine.filter(status__in=(Status.QUEUED, Status.RUNNING))[:ACTIVE]
    ended = mine.filter(status__in=(Status.SUCCEEDED, Status.FAILED))[:FINISHED]
    rows = {row["id"]: row for row in (*active, *ended)}  # one that ended between the two counts once
    return present_rows(sorted(rows.values(), key=lambda row: (row["created_at"], row["id"]), reverse=True))


def queue_notices() -> list[str]:
    """What everybody should know who waits: a paused pool, no worker at all."""
    notices = [
        _("Staff have paused drawing: %(reason)s") % {"reason": pool.paused_reason}
        if pool.paused_reason
        else _("Staff have paused drawing. What you send is kept and drawn afterwards.")
        for pool in Pool.objects.filter(lane=settings.STUDIO_LANE, paused_at__isnull=False)
    ]
    alive = Worker.objects.filter(
        lane=settings.STUDIO_LANE, state__in=PRESENT, seen_at__gt=timezone.now() - SEEN_WITHIN
    )
    if not alive.exists():
        notices.append(_("No GPU worker is running. What you send is kept, and drawn as soon as one starts."))
    return notices
