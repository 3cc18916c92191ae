"""From a proven identity to a session, through allauth's stages: verified address, second factor, then in."""

from __future__ import annotations

from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.internal.flows.signup import prevent_enumeration
from allauth.account.models import Login
from django.contrib.auth import logout
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.crypto import constant_time_compare

from accounts.models import User

ENTERING = "entering"  # in the session: which password the person had when the first stage let them in


def is_entering(request: HttpRequest, user: User) -> bool:
    """Whether somebody who now comes out of the last stage is still as they were at the first.

    A sign-in may wait for a code for days: it ends with the password, as a session does, and for who is disabled.
    """
    held = request.session.pop(ENTERING, "")
    return user.is_active and constant_time_compare(held, user.get_session_auth_hash())


def enter(request: HttpRequest, user: User, *, way: str, next_path: str = "", signup: bool = False) -> HttpResponseBase:
    """Go on with somebody who has shown a password, a one-time link or an invitation: to the next stage, or in."""
    if request.user.is_authenticated:
        logout(request)  # somebody else, or the same person anew
    # What was planted into this browser before is worthless from here on, also while a code is still asked for.
    request.session.cycle_key()
    request.session[ENTERING] = user.get_session_auth_hash()
    record_authentication(request, user, method=way)
    login = Login(user=user, email=user.email, redirect_url=next_path or None, signup=signup)
    response: HttpResponseBase = perform_login(request, login)
    return response


def pretend_sign_up(request: HttpRequest, email: str) -> HttpResponseBase:
    """The answer of a sign-up for an address that has an account already: the same page, another mail."""
    request.session.cycle_key()
    response: HttpResponseBase = prevent_enumeration(request, email=email)
    return response
