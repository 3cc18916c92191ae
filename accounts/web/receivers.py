"""What allauth and Django tell about people, written into the audit log and followed up."""

from __future__ import annotations

from typing import Any

from allauth.account.signals import email_changed, email_confirmed, password_reset
from allauth.mfa.signals import authenticator_added
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import transaction

from accounts.domain import factors, people
from accounts.domain.audit import record
from accounts.domain.people import prove_address
from accounts.domain.sessions import forget_session, note_session
from accounts.domain.signup import give_own_tenant
from accounts.models import User


def on_signed_in(*, request: Any, user: User, **_: Any) -> None:
    """However it came about: the session is in the person's list from its first moment."""
    if request is not None and request.session.session_key is not None:
        address, agent = getattr(request, "client_address", None), request.META.get("HTTP_USER_AGENT", "")
        note_session(user=user.pk, session_key=request.session.session_key, address=address, agent=agent)


def on_signed_out(*, request: Any, user: User | None, **_: Any) -> None:
    """Before the session is emptied."""
    if user is not None:
        forget_session(request.session.session_key)
        record("sign_out", target=f"user:{user.pk}", personal=True)


def on_reset(*, user: User, **_: Any) -> None:
    """The link was mailed: whoever used it has shown that the address is theirs."""
    with transaction.atomic():
        record("password.reset", target=f"user:{user.pk}", personal=True)
        if prove_address(user):
            give_own_tenant(user)


def on_verified(*, email_address: Any, **_: Any) -> None:
    """Of a sign-up, or of an address that is the new one from now on."""
    record("email.verified", target=f"user:{email_address.user_id}", personal=True)
    give_own_tenant(email_address.user)


def on_email_changed(*, user: User, from_email_address: Any = None, **_: Any) -> None:
    """The addresses themselves stand in no log."""
    if from_email_address is not None:
        record("email.changed", target=f"user:{user.pk}", personal=True)


def on_factor_added(*, request: Any, authenticator: Any, **_: Any) -> None:
    """The code with which it was set up is no code to sign in with."""
    step = getattr(request, "totp_step", None)
    if step is not None and authenticator.type == authenticator.Type.TOTP:
        factors.remember_step(authenticator, step)


def connect() -> None:
    """Called once, when the app is ready."""
    people.connect()
    factors.connect()
    user_logged_in.connect(on_signed_in, dispatch_uid="accounts.signed_in")
    user_logged_out.connect(on_signed_out, dispatch_uid="accounts.signed_out")
    password_reset.connect(on_reset, dispatch_uid="accounts.reset")
    email_confirmed.connect(on_verified, dispatch_uid="accounts.verified")
    authenticator_added.connect(on_factor_added, dispatch_uid="accounts.factor_added")
    email_changed.connect(on_email_changed, dispatch_uid="accounts.email_changed")
