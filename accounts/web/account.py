"""The account page: one's name and language, and the way to everything else that is one's own."""

from __future__ import annotations

from typing import cast

from allauth.account import views as account_views
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.domain.factors import has_second_factor, recovery_codes_left
from accounts.domain.people import change_profile, keep_address
from accounts.domain.sessions import list_sessions
from accounts.models import User
from accounts.web.account_forms import ProfileForm
from accounts.web.language import speak


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def account(request: HttpRequest) -> HttpResponseBase:
    """See and change."""
    person = signed_in_person(request)
    form = ProfileForm(request.POST or None, initial={"name": person.name, "language": person.language})
    status = 200
    if request.method == "POST":
        if form.is_valid():
            change_profile(person, **form.cleaned_data)
            response = redirect("account")
            if person.language:
                speak(response, person.language)
            messages.success(request, _("Saved."))
            return response
        status = 400
    words = {
        "form": form,
        "has_factor": has_second_factor(person.pk),
        "codes_left": recovery_codes_left(person.pk),
        "session_count": len(list_sessions(user=person.pk, session_key=request.session.session_key)),
    }
    return render(request, "accounts/account.html", words, status=status)


@login_required
def change_email(request: HttpRequest) -> HttpResponseBase:
    """allauth's page, for people who have their address in its table: it takes anybody else for unverified."""
    keep_address(signed_in_person(request))
    response: HttpResponseBase = account_views.email(request)
    return response


def signed_in_person(request: HttpRequest) -> User:
    """Behind `login_required` there is one."""
    return cast(User, request.user)
