"""The page that staff see first: what happens now, and what can be done about it. No prompts stand on it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.domain.errands import drop_errand, retry_errand
from accounts.staff.deeds import reason_of, try_to
from generation.domain.now import read_now
from generation.domain.pools import pause_pool, resume_pool
from generation.domain.workers import drain_worker, undo_drain
from generation.staff.search import search
from generation.staff.words import describe_now

SEE = "generation.view_generation"
LANES = "generation.view_lane"
COMPARISONS = "generation.view_comparison"
WORKERS, POOLS, ERRANDS = "generation.change_worker", "generation.change_pool", "accounts.change_errand"


@never_cache
@require_safe
def now(request: HttpRequest) -> HttpResponse:
    """GET /admin/now/: the page; with `part` only what its script puts in place of the old."""
    if not request.user.has_perm(SEE):
        return redirect("admin:index")
    context: dict[str, Any] = {
        "now": describe_now(read_now()),
        "may": {
            "workers": request.user.has_perm(WORKERS),
            "pools": request.user.has_perm(POOLS),
            "errands": request.user.has_perm(ERRANDS),
            "lanes": request.user.has_perm(LANES),
            "comparisons": request.user.has_perm(COMPARISONS),
        },
    }
    if "part" in request.GET:
        return TemplateResponse(request, "admin/now_parts.html", context)
    context |= {**admin.site.each_context(request), "title": _("Now")}
    return TemplateResponse(request, "admin/now.html", context)


@require_POST
def drain(request: HttpRequest, worker: UUID) -> HttpResponse:
    """POST: let a worker finish and claim no more."""
    _need(request, WORKERS)
    try_to(request, lambda: drain_worker(worker), _("The worker finishes what it draws and claims no more."))
    return _back()


@require_POST
def undrain(request: HttpRequest, worker: UUID) -> HttpResponse:
    """POST: let it draw again."""
    _need(request, WORKERS)
    try_to(request, lambda: undo_drain(worker), _("The worker draws again."))
    return _back()


@require_POST
def pause(request: HttpRequest, lane: str, pool: str) -> HttpResponse:
    """POST: draw nothing more from a pool; the reason's field is named after it, because all pools share one form."""
    _need(request, POOLS)
    reason = reason_of(request, f"reason-{lane}-{pool}")
    said = _("The pool is paused; people read the reason within seconds.")
    try_to(request, lambda: pause_pool(lane=lane, name=pool, reason=reason, by=request.user.pk), said)
    return _back()


@require_POST
def resume(request: HttpRequest, lane: str, pool: str) -> HttpResponse:
    """POST: draw again."""
    _need(request, POOLS)
    try_to(request, lambda: resume_pool(lane=lane, name=pool), _("The pool draws again."))
    return _back()


@require_POST
def try_again(request: HttpRequest, errand: UUID) -> HttpResponse:
    """POST: a failed errand, with all its tries."""
    _need(request, ERRANDS)
    try_to(request, lambda: retry_errand(errand), _("It is tried again."))
    return _back()


@require_POST
def drop(request: HttpRequest, errand: UUID) -> HttpResponse:
    """POST: give a failed errand up."""
    _need(request, ERRANDS)
    try_to(request, lambda: drop_errand(errand), _("It is dropped."))
    return _back()


def _need(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise PermissionDenied


def _back() -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse("now"))


def _staff(route: str, view: Any, name: str) -> URLPattern:
    found: URLPattern = path(route, admin.site.admin_view(view), name=name)
    return found


urlpatterns = [
    _staff("now/", now, "now"),
    _staff("now/workers/<uuid:worker>/drain/", drain, "now-drain"),
    _staff("now/workers/<uuid:worker>/undrain/", undrain, "now-undrain"),
    _staff("now/pools/<slug:lane>/<path:pool>/pause/", pause, "now-pause"),
    _staff("now/pools/<slug:lane>/<path:pool>/resume/", resume, "now-resume"),
    _staff("now/errands/<uuid:errand>/retry/", try_again, "now-retry"),
    _staff("now/errands/<uuid:errand>/drop/", drop, "now-drop"),
    _staff("search/", search, "admin-search"),
]
