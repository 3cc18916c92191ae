"""What the studio page opens with: one's own last work, and what stands in its way."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from accounts.domain.callers import Caller
from accounts.domain.sql import fetch_one
from generation.domain.gallery import present_rows
from generation.domain.notices import NOTICES_SQL, read_notices
from generation.domain.present import GENERATION_COLUMNS
from generation.enums import Status
from generation.models import Generation

FINISHED = 8  # shown beside everything that is under way
ACTIVE = 40


def recent_work(caller: Caller) -> list[dict[str, Any]]:
    """The caller's generations that are under way, and the last few that have ended, newest first."""
    mine = Generation.objects.filter(user=caller.user).order_by("-created_at", "-id").values(*GENERATION_COLUMNS)
    active = mine.filter(status__in=(Status.QUEUED, Status.RUNNING))[:ACTIVE]
    ended = mine.filter(status__in=(Status.SUCCEEDED, Status.FAILED))[:FINISHED]
    rows = {row["id"]: row for row in (*active, *ended)}  # one that ended between the two counts once
    return present_rows(sorted(rows.values(), key=lambda row: (row["created_at"], row["id"]), reverse=True))


def queue_notices() -> list[str]:
    """What everybody should know who waits: a paused pool, no worker at all."""
    row = fetch_one(NOTICES_SQL, lane=settings.STUDIO_LANE) or {}
    found = read_notices(row)
    notices = [
        _("Staff have paused drawing: %(reason)s") % {"reason": reason}
        if reason
        else _("Staff have paused drawing. What you send is kept and drawn afterwards.")
        for reason in found.paused
    ]
    if not found.drawn:
        notices.append(_("No GPU worker is running. What you send is kept, and drawn as soon as one starts."))
    return notices
