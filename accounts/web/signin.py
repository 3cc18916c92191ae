"""Sign in with e-mail and password or a one-time link, and sign out."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import authenticate, logout
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.domain.audit import record
from accounts.domain.people import address_to_prove
from accounts.domain.signin import redeem
from accounts.errors import InvalidToken
from accounts.models import User
from accounts.tenancy import give_back_connection
from accounts.web.entering import enter
from accounts.web.forms import SignInForm
from accounts.web.paths import own_path
from accounts.web.throttle import count_failure, forget_failures, wait_before_sign_in, words_of_waiting
from accounts.web.turnstile import COME_BACK_S, Crowded, turnstile


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponseBase:
    """The form. Known and unknown addresses get one answer, in the same time."""
    next_path = own_path(request.POST.get("next") or request.GET.get("next") or "")
    if getattr(request, "person", None) is not None and request.method != "POST":
        return redirect(next_path or "home")
    form = SignInForm(request.POST or None)
    status, wait_s = 200, 0
    if request.method == "POST":
        status = 400
        if form.is_valid():
            email, address = form.cleaned_data["email"], getattr(request, "client_address", None)
            wait_s = wait_before_sign_in(email=email, address=address)
            try:
                user = None if wait_s else _check(request, email=email, password=form.cleaned_data["password"])
            except Crowded:
                return _ask_to_come_back(request, form, next_path=next_path)
            unproven = address_to_prove(user) if isinstance(user, User) else None
            if isinstance(user, User) and unproven is None:
                forget_failures(email=email, address=address)
                return enter(request, user, way="password", next_path=next_path)
            if unproven is not None:
                # Only the mail tells. Anybody can sign up with anybody's address and then try the password of their
                # own choice: another answer would say that the address had no account before.
                unproven.send_confirmation(request)
            status = _refuse(form, email=email, address=address, wait_s=wait_s)
    response = render(request, "accounts/sign_in.html", {"form": form, "next": next_path}, status=status)
    if wait_s:
        response.headers["Retry-After"] = str(wait_s)
    return response


def _check(request: HttpRequest, *, email: str, password: str) -> object:
    """Whose password it is. Raises `Crowded`."""
    give_back_connection()  # the turn may be long in coming
    with turnstile.turn():
        return authenticate(request, username=email, password=password)


def _ask_to_come_back(request: HttpRequest, form: SignInForm, *, next_path: str) -> HttpResponseBase:
    """Too many people at the door of this process; nothing was looked at, and nothing is counted."""
    form.add_error(None, _("Many people are signing in at this moment. Please try again in a few seconds."))
    response = render(request, "accounts/sign_in.html", {"form": form, "next": next_path}, status=503)
    response.headers["Retry-After"] = str(COME_BACK_S)
    return response


def _refuse(form: SignInForm, *, email: str, address: str | None, wait_s: int) -> int:
    """Say why not, and which status that is."""
    if wait_s:
        form.add_error(None, words_of_waiting(wait_s))
        return 429
    count_failure(email=email, address=address)
    record("sign_in", result="refused", personal=True)
    form.add_error(None, _("E-mail and password do not match."))
    if settings.STUDIO_SIGNUP == "open":
        form.add_error(
            None, _("If you have only just signed up, open the link in our mail first. We have sent it again.")
        )
    return 400


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in_by_link(request: HttpRequest, token: str) -> HttpResponseBase:
    """A one-time link: the page asks for one click, so that a mail scanner that follows links spends none."""
    if request.method != "POST":
        return render(request, "accounts/sign_in_link.html")
    try:
        redeemed = redeem(token)
    except InvalidToken:
        return render(request, "accounts/link_spent.html", status=410)
    return enter(request, redeemed.user, way="link", next_path=own_path(redeemed.next_path))


@never_cache
@require_safe
def admin_sign_in(request: HttpRequest) -> HttpResponseBase:
    """Where the admin leads whom it does not let in: to our form and back, or to a page that says no.

    Django's own form in its place would know neither the throttle nor the audit log.
    """
    next_path = own_path(request.GET.get("next") or "") or reverse("admin:index")
    if next_path == reverse("admin:index"):
        next_path = reverse("now")  # what happens at this moment is what staff see first
    person = getattr(request, "person", None)
    if person is None:
        return redirect_to_login(next_path)
    # Only staff go back: anybody else would be led here again.
    return redirect(next_path) if person.is_staff else render(request, "403.html", status=403)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponseBase:
    """Ends the session."""
    logout(request)
    return redirect("sign-in")
