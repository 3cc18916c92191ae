"""Sign up: by oneself where the studio is open, or by an invitation's link; and the link that verifies an address."""

from __future__ import annotations

from allauth.account.internal.flows.email_verification import verify_email_and_resume
from allauth.account.models import EmailConfirmationHMAC
from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts.domain.codes import say_error
from accounts.domain.invitations import LINK_PATH, Offer, find_invitation
from accounts.domain.signup import sign_up_person
from accounts.errors import StudioError
from accounts.models import User
from accounts.web.account_forms import SignUpForm
from accounts.web.entering import enter, pretend_sign_up
from accounts.web.pages import wait_page
from accounts.web.throttle import SIGN_UP


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_up(request: HttpRequest) -> HttpResponseBase:
    """For everybody, where `STUDIO_SIGNUP` is `open`."""
    if getattr(request, "person", None) is not None:
        return redirect("home")
    if settings.STUDIO_SIGNUP != "open":
        return closed_page(request)
    return _serve_form(request)


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_up_invited(request: HttpRequest, token: str) -> HttpResponseBase:
    """For whoever holds an invitation: it fixes the address, and counts as its proof, since it was mailed there."""
    if getattr(request, "person", None) is not None:
        return redirect(f"{LINK_PATH}{token}/")  # they have an account: there they accept with it
    if settings.STUDIO_SIGNUP == "closed":
        return closed_page(request)
    try:
        offer = find_invitation(token)
    except StudioError as error:
        return closed_page(request, reason=say_error(error), status=410)
    return _serve_form(request, token=token, offer=offer)


def closed_page(request: HttpRequest, *, reason: str = "", status: int = 403) -> HttpResponseBase:
    """Nobody signs up here, or not by this link: whom to ask."""
    contact = settings.STUDIO_CONTACT
    try:
        validate_email(contact)
        is_address = True
    except ValidationError:
        is_address = False
    words = {"reason": reason, "contact": contact, "is_address": is_address, "mode": settings.STUDIO_SIGNUP}
    return render(request, "accounts/sign_up_closed.html", words, status=status)


def _serve_form(request: HttpRequest, *, token: str = "", offer: Offer | None = None) -> HttpResponseBase:
    form = SignUpForm(request.POST or None, initial={"email": offer.email} if offer else None)
    if offer is not None:
        form.fields["email"].widget.attrs["readonly"] = True
    status = 200
    if request.method == "POST":
        status = 400
        address = getattr(request, "client_address", None)
        person = request.POST.get("email", "")
        if wait_s := SIGN_UP.wait(person=person, address=address):
            return wait_page(request, wait_s)
        if form.is_valid() and _fits(form, offer):
            SIGN_UP.count(person=person, address=address)
            response = _sign_up(request, form, token=token)
            if response is not None:
                return response
    return render(request, "accounts/sign_up.html", {"form": form, "offer": offer, "token": token}, status=status)


def _fits(form: forms.Form, offer: Offer | None) -> bool:
    if offer is None or form.cleaned_data["email"] == offer.email:
        return True
    form.add_error("email", _("This invitation is for %(email)s.") % {"email": offer.email})
    return False


def _sign_up(request: HttpRequest, form: SignUpForm, *, token: str) -> HttpResponseBase | None:
    """The answer, or `None` with the reason in the form."""
    data = form.cleaned_data
    try:
        user: User | None = sign_up_person(
            email=data["email"],
            name=data["name"],
            password=data["password"],
            language=get_language() or "",
            invitation=token,
        )
    except StudioError as error:  # the invitation was taken back, used, or has run out meanwhile
        form.add_error(None, say_error(error))
        return None
    if user is not None:
        return enter(request, user, way="invitation" if token else "sign_up", signup=True)
    if token:
        # Who holds the invitation was told the address: there is nothing to hide, and a way to go on.
        form.add_error("email", _("There is an account with this address. Sign in, then open the invitation again."))
        return None
    return pretend_sign_up(request, data["email"])


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def verify_email(request: HttpRequest, key: str) -> HttpResponseBase:
    """The link in a mail: the page asks for one click, so that a mail scanner that follows links proves nothing."""
    confirmation = EmailConfirmationHMAC.from_key(key)
    if confirmation is None:
        return render(request, "accounts/link_spent.html", status=410)
    if request.method != "POST":
        return render(request, "accounts/verify.html", {"email": confirmation.email_address.email})
    _address, response = verify_email_and_resume(request, confirmation)
    if response is not None:
        found: HttpResponseBase = response
        return found
    return redirect("account" if request.user.is_authenticated else "sign-in")
