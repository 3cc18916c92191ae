"""Looking at the other lane: a cookie of one browser, which the proxy obeys while both run (`docs/releases.md`)."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts.domain.audit import record
from generation.enums import LaneState
from generation.models import Lane

COOKIE = "studio_lane"
COOKIE_S = 3600
SEE = "generation.view_lane"


def switch(request: HttpRequest, lane: str) -> HttpResponse:
    """POST: lead this browser to a lane for an hour. GET, where the address was typed: to the page with the button."""
    if not request.user.has_perm(SEE):
        raise PermissionDenied
    here = Lane.objects.filter(pk=lane).first()
    if here is None:
        raise Http404
    back = redirect("now")
    if request.method != "POST":
        return back
    if here.state in (LaneState.STOPPED, LaneState.FAILED):
        messages.error(request, _("%(lane)s does not run.") % {"lane": lane})
        return back
    record("lane.switched", target=f"lane:{lane}", personal=True)
    back.set_cookie(
        COOKIE, lane, max_age=COOKIE_S, secure=settings.SESSION_COOKIE_SECURE, httponly=True, samesite="Lax"
    )
    messages.success(request, _("This browser is led to %(lane)s for an hour.") % {"lane": lane})
    return back


urlpatterns = [
    path(
        "switch/<str:lane>",
        require_http_methods(["GET", "POST"])(admin.site.admin_view(switch)),
        name="switch-lane",
    )
]
