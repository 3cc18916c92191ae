"""What we decide for django-allauth: addresses, mails, messages, and what follows from a sign-in.

allauth has no type stubs: what comes out of it is `Any` here and in `accounts/web/account_forms.py`, and typed from
there on.
"""

from __future__ import annotations

from typing import Any, ClassVar

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.core import context as allauth_context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.contrib import messages
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.domain.audit import record
from accounts.domain.factors import recovery_codes_left
from accounts.domain.mail import queue_mail
from accounts.domain.people import drop_squatters, keep_address
from accounts.domain.sealed import seal, unseal
from accounts.domain.sessions import UNKNOWN_ADDRESS, describe_browser
from accounts.models import User
from accounts.web.entering import is_entering
from accounts.web.known import make_known
from accounts.web.language import speak
from accounts.web.paths import own_path, public_link
from accounts.web.throttle import may_mail

# allauth's name of a mail -> ours (`qwenstudio/templates/mail/<name>.txt`); it sends no others. Empty: none is needed.
MAILS = {
    "account/email/email_deleted": "",  # an address that was never the person's: they have just dropped the wish
    "account/email/account_already_exists": "account_exists",
    "account/email/unknown_account": "no_account",
    "account/email/password_reset_key": "reset_password",
    "account/email/password_changed": "password_changed",
    "account/email/password_set": "password_changed",
    "account/email/password_reset": "password_changed",
    "account/email/email_changed": "email_changed",
    "mfa/email/totp_activated": "factor_added",
    "mfa/email/totp_deactivated": "factor_removed",
    "mfa/email/recovery_codes_generated": "recovery_codes",
}
# Anybody can ask for these by typing an address.
ASKED_FOR = {"account_exists", "no_account", "reset_password", "verify_address", "verify_change"}


class AccountAdapter(DefaultAccountAdapter):
    """allauth's decisions about accounts."""

    # 1. Requests

    def get_client_ip(self, request: HttpRequest) -> str:
        """The address that our middleware has found, which believes trusted proxies only."""
        return getattr(request, "client_address", None) or UNKNOWN_ADDRESS

    def is_safe_url(self, url: str) -> bool:
        """Only paths of ours are worth a redirect."""
        return bool(own_path(url or ""))

    def is_ajax(self, request: HttpRequest) -> bool:
        """Pages only: the API is another door."""
        return False

    # 2. Signing in

    def pre_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponseBase | None:
        """Whoever is older here than allauth gets their address first."""
        keep_address(user)
        found: HttpResponseBase | None = super().pre_login(request, user, **kwargs)
        return found

    def login(self, request: HttpRequest, user: User) -> None:
        """The last step into a session; not for a sign-in that began before the password was changed."""
        if not is_entering(request, user):
            request.session.flush()
            messages.error(request, _("Something has changed since you began: sign in again."))
            raise ImmediateHttpResponse(redirect("sign-in"))
        super().login(request, user)

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponseBase:
        """In: write it down, and give the browser the person's language."""
        response: HttpResponseBase = super().post_login(request, user, **kwargs)
        ways = [entry["method"] for entry in get_authentication_records(request, user)]
        factors = [entry["type"] for entry in get_authentication_records(request, user) if entry["method"] == "mfa"]
        detail = {"way": ways[0] if ways else "verification"} | ({"factor": factors[-1]} if factors else {})
        record("sign_in", target=f"user:{user.pk}", detail=detail, personal=True)
        if "recovery_codes" in factors:
            _tell_codes_left(request, user)
        make_known(response, user.pk)
        if user.language:
            speak(response, user.language)
        return response

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        return reverse("home")

    def get_signup_redirect_url(self, request: HttpRequest) -> str:
        return reverse("studio")

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("account")

    def get_email_verification_redirect_url(self, email_address: Any) -> str:
        return reverse("account" if allauth_context.request.user.is_authenticated else "sign-in")

    # 3. Changes: each is one transaction, with what follows from it

    def set_password(self, user: User, password: str) -> None:
        with transaction.atomic():
            super().set_password(user, password)

    def confirm_email(self, request: HttpRequest, email_address: Any) -> bool:
        """A verified address is its person's, whatever unverified sign-ups say."""
        try:
            with transaction.atomic():
                drop_squatters(email_address.email, but=email_address.user_id)
                return bool(super().confirm_email(request, email_address))
        except IntegrityError:
            words = {"email": email_address.email}
            self.add_message(request, messages.ERROR, "account/messages/email_confirmation_failed.txt", words)
            return False

    # 4. Mails

    def get_reset_password_from_key_url(self, key: str) -> str:
        uid, _, token = key.partition("-")
        return public_link("account_reset_password_from_key", uidb36=uid, key=token)

    def send_confirmation_mail(self, request: HttpRequest, emailconfirmation: Any, signup: bool) -> None:
        """Of a sign-up (again at each sign-in until it is verified), or of an address that is to be the new one."""
        address = emailconfirmation.email_address
        name = "verify_address" if address.email == address.user.email else "verify_change"
        link = public_link("account_confirm_email", key=emailconfirmation.key)
        _send(
            name, to=address.email, person=address.user, link=link, days=settings.ACCOUNT_EMAIL_CONFIRMATION_EXPIRE_DAYS
        )

    def send_notification_mail(
        self, template_prefix: str, user: User, context: dict[str, Any] | None = None, email: str | None = None
    ) -> None:
        self.send_mail(template_prefix, email or user.email, {**(context or {}), "user": user})

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """All of allauth's mails come through here; none takes a link from it but the one that we made."""
        name = MAILS[template_prefix]
        if not name:
            return
        person = context.get("user") or User.objects.with_email(email).first()
        _send(
            name,
            to=email,
            person=person,
            link=context.get("password_reset_url", ""),
            hours=settings.PASSWORD_RESET_TIMEOUT // 3600,
            new_email=context.get("to_email", ""),
        )


class FactorAdapter(DefaultMFAAdapter):
    """allauth's decisions about second factors."""

    error_messages: ClassVar[dict[str, Any]] = DefaultMFAAdapter.error_messages | {
        "incorrect_code": _("This code is not right, or is used up. Those of the app change every 30 seconds.")
    }

    def encrypt(self, text: str) -> str:
        """As it lies in the database."""
        return seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        return str(unseal(encrypted_text))

    def get_totp_issuer(self) -> str:
        """What the person's app calls us."""
        return f"QwenStudio ({settings.EMAIL_DOMAIN})"


def _send(name: str, *, to: str, person: User | None, **words: Any) -> None:
    if name in ASKED_FOR and not may_mail(name, to):
        return
    request = allauth_context.request
    language = person.language if person is not None else ""
    queue_mail(
        name,
        to=to,
        language=language or get_language() or "",
        context={
            "when": f"{timezone.now():%Y-%m-%d %H:%M} UTC",
            "address": getattr(request, "client_address", None) or "",
            "browser": describe_browser(request.META.get("HTTP_USER_AGENT", "")),
            "sign_in_link": public_link("sign-in"),
            "sign_up_link": public_link("sign-up") if settings.STUDIO_SIGNUP == "open" else "",
            "reset_link": public_link("account_reset_password"),
            **words,
        },
    )


def _tell_codes_left(request: HttpRequest, user: User) -> None:
    left = recovery_codes_left(user.pk) or 0
    words = ngettext("You have %(n)d recovery code left.", "You have %(n)d recovery codes left.", left) % {"n": left}
    messages.warning(request, words)
