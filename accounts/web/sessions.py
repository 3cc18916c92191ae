"""Where one is signed in, and how to end it there."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.domain.sessions import end_other_sessions, end_session, list_sessions
from accounts.errors import NotFound
from accounts.web.account import signed_in_person


@never_cache
@require_safe
@login_required
def sessions(request: HttpRequest) -> HttpResponseBase:
    """The list."""
    person = signed_in_person(request)
    rows = list_sessions(user=person.pk, session_key=request.session.session_key)
    return render(request, "accounts/sessions.html", {"sessions": rows})


@require_POST
@login_required
def end_one(request: HttpRequest, session: int) -> HttpResponseBase:
    """Sign out in one browser; in this one it is an ordinary sign-out."""
    person = signed_in_person(request)
    here = [row.id for row in list_sessions(user=person.pk, session_key=request.session.session_key) if row.is_here]
    if session in here:
        logout(request)
        return redirect("sign-in")
    try:
        end_session(user=person.pk, id=session)
    except NotFound:
        raise Http404 from None
    messages.success(request, _("Signed out there."))
    return redirect("sessions")


@require_POST
@login_required
def end_others(request: HttpRequest) -> HttpResponseBase:
    """Sign out in every other browser."""
    ended = end_other_sessions(user=signed_in_person(request).pk, session_key=request.session.session_key)
    words = ngettext("Signed out in %(n)d other browser.", "Signed out in %(n)d other browsers.", ended) % {"n": ended}
    messages.success(request, words)
    return redirect("sessions")
