"""GPU workers and pools in the admin: drain and undo, pause with a reason and resume."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.staff.deeds import ReasonForm, reason_of, try_to
from accounts.staff.lists import ReadOnlyAdmin
from generation.domain.pools import pause_pool, resume_pool
from generation.domain.workers import drain_worker, undo_drain
from generation.models import Pool, Worker

GIB = 1024**3


def say_memory(used: int, total: int) -> str:
    """Bytes as people count them."""
    return f"{used / GIB:.1f} / {total / GIB:.1f} GiB" if total else "–"


class WorkerAdmin(ReadOnlyAdmin):
    """The GPU workers as they last reported themselves."""

    list_display = (
        "name",
        "lane",
        "pool",
        "state",
        "drain_requested_at",
        "device",
        "dtype",
        "memory",
        "passes",
        "seen_at",
        "release",
    )
    list_filter = ("state", "lane", "pool")
    search_fields = ("name",)
    ordering = ("-seen_at",)
    actions = ("drain", "undrain")

    @admin.display(description=_("memory"))
    def memory(self, worker: Worker) -> str:
        return say_memory(worker.memory_used, worker.memory_total)

    @admin.action(description=_("Drain the chosen workers: finish, claim no more"), permissions=["act"])
    def drain(self, request: HttpRequest, workers: QuerySet[Worker]) -> None:
        """They stay, idle."""
        for worker in list(workers):
            said = _("%(name)s finishes what it draws and claims no more.") % {"name": worker.name}
            try_to(request, lambda worker=worker: drain_worker(worker.pk), said)  # type: ignore[misc]

    @admin.action(description=_("Let the chosen workers draw again"), permissions=["act"])
    def undrain(self, request: HttpRequest, workers: QuerySet[Worker]) -> None:
        """Within a second or two."""
        for worker in list(workers):
            said = _("%(name)s draws again.") % {"name": worker.name}
            try_to(request, lambda worker=worker: undo_drain(worker.pk), said)  # type: ignore[misc]


class PoolAdmin(ReadOnlyAdmin):
    """The pools of workers; a paused one accepts work and draws none."""

    list_display = ("name", "lane", "is_drawing", "paused_at", "paused_reason")
    list_filter = ("lane",)
    fields = ("name", "lane", "paused_at", "paused_reason")
    ordering = ("lane", "name")
    action_form = ReasonForm
    actions = ("pause", "resume")

    @admin.display(description=_("drawing"), boolean=True, ordering="paused_at")
    def is_drawing(self, pool: Pool) -> bool:
        return pool.paused_at is None

    @admin.action(description=_("Pause the chosen pools (with a reason, which everybody reads)"), permissions=["act"])
    def pause(self, request: HttpRequest, pools: QuerySet[Pool]) -> None:
        """What runs is finished."""
        reason = reason_of(request)

        def act(pool: Pool) -> None:
            pause_pool(lane=pool.lane, name=pool.name, reason=reason, by=request.user.pk)

        self._each(request, pools, act, _("Paused: %(name)s"))

    @admin.action(description=_("Let the chosen pools draw again"), permissions=["act"])
    def resume(self, request: HttpRequest, pools: QuerySet[Pool]) -> None:
        """Undo it."""
        self._each(
            request, pools, lambda pool: resume_pool(lane=pool.lane, name=pool.name), _("Drawing again: %(name)s")
        )

    def _each(self, request: HttpRequest, pools: QuerySet[Pool], act: Any, words: Any) -> None:
        for pool in list(pools):
            if not try_to(request, lambda pool=pool: act(pool), words % {"name": pool}):  # type: ignore[misc]
                return
