"""Staff without a second factor, where `STUDIO_STAFF_2FA` asks for one: the admin leads them to the set-up."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from accounts.domain.factors import has_second_factor
from accounts.web.requests import StudioRequest

ADMIN = "/admin/"
ALLOWED = ("/admin/logout/",)


def must_set_up(request: StudioRequest) -> bool:
    """Whether the admin is closed to this person until they have a second factor."""
    person = request.person
    if not settings.STUDIO_STAFF_2FA or person is None or not person.is_staff:
        return False
    if not request.path.startswith(ADMIN) or request.path in ALLOWED:
        return False
    return not has_second_factor(person.pk)


def lead_to_set_up(request: HttpRequest) -> HttpResponseBase:
    """Pages lead to the set-up; everything else is refused."""
    if request.method in ("GET", "HEAD"):
        return redirect(f"{reverse('mfa_activate_totp')}?{urlencode({'staff': 1})}")
    return render(request, "403.html", status=403)
