"""Sign in with e-mail and password or a one-time link, and sign out."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import authenticate, login, logout
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.domain.audit import record
from accounts.domain.signin import redeem
from accounts.errors import InvalidToken
from accounts.models import User
from accounts.web.forms import SignInForm
from accounts.web.throttle import count_failure, forget_failures, wait_before_sign_in

BACKEND = "django.contrib.auth.backends.ModelBackend"


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponseBase:
    """The form. Known and unknown addresses get one answer, in the same time."""
    next_path = _own_path(request.POST.get("next") or request.GET.get("next") or "")
    if getattr(request, "person", None) is not None and request.method != "POST":
        return redirect(next_path or "home")
    form = SignInForm(request.POST or None)
    status, wait_s = 200, 0
    if request.method == "POST":
        status = 400
        if form.is_valid():
            email, address = form.cleaned_data["email"], getattr(request, "client_address", None)
            wait_s = wait_before_sign_in(email=email, address=address)
            user = None if wait_s else authenticate(request, username=email, password=form.cleaned_data["password"])
            if isinstance(user, User):
                forget_failures(email=email, address=address)
                return _enter(request, user, next_path=next_path, way="password")
            status = _refuse(form, email=email, address=address, wait_s=wait_s)
    response = render(request, "accounts/sign_in.html", {"form": form, "next": next_path}, status=status)
    if wait_s:
        response.headers["Retry-After"] = str(wait_s)
    return response


def _refuse(form: SignInForm, *, email: str, address: str | None, wait_s: int) -> int:
    """Say why not, and which status that is."""
    if wait_s:
        minutes = max(1, round(wait_s / 60))
        form.add_error(
            None,
            ngettext(
                "Too many wrong tries from here. Please wait %(n)d minute.",
                "Too many wrong tries from here. Please wait %(n)d minutes.",
                minutes,
            )
            % {"n": minutes},
        )
        return 429
    count_failure(email=email, address=address)
    record("sign_in", result="refused")
    form.add_error(None, _("E-mail and password do not match."))
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
    return _enter(request, redeemed.user, next_path=_own_path(redeemed.next_path), way="link")


@never_cache
@require_safe
def admin_sign_in(request: HttpRequest) -> HttpResponseBase:
    """Where the admin leads whom it does not let in: to our form and back, or to a page that says no.

    Django's own form in its place would know neither the throttle nor the audit log.
    """
    next_path = _own_path(request.GET.get("next") or "") or reverse("admin:index")
    if next_path == reverse("admin:index"):
        next_path = reverse("now")  # what happens at this moment is what staff see first
    person = getattr(request, "person", None)
    if person is None:
        return redirect_to_login(next_path)
    # Only staff go back: anybody else would be led here again.
    return redirect(next_path) if person.is_staff else render(request, "403.html", {"staff_only": True}, status=403)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponseBase:
    """Ends the session."""
    logout(request)
    return redirect("sign-in")


def _enter(request: HttpRequest, user: User, *, next_path: str, way: str) -> HttpResponse:
    login(request, user, backend=BACKEND)  # a new session id: one that was planted before is worthless
    record("sign_in", target=f"user:{user.pk}", detail={"way": way})
    response = redirect(next_path or "home")
    if user.language:
        response.set_cookie(settings.LANGUAGE_COOKIE_NAME, user.language, max_age=31_536_000, samesite="Lax")
    return response


def _own_path(path: str) -> str:
    """The path if it leads nowhere but here."""
    return path if path.startswith("/") and url_has_allowed_host_and_scheme(path, allowed_hosts=None) else ""
