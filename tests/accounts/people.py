"""People at the account pages: passwords, links in their mails, codes of their apps, and what the audit log says."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.core.cache import cache
from django.test import Client

from accounts.domain.sealed import unseal
from accounts.models import User
from accounts.valkey import redis_client
from tests.mails import waiting_mails

PASSWORD = "correct horse battery staple"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
SQL = psycopg.Connection[tuple[object, ...]]


class QuickHasher(PBKDF2PasswordHasher):
    """One round."""

    iterations = 1


def make_person(name: str = "carol", password: str = PASSWORD, **fields: Any) -> User:
    """Somebody whom staff have made, with a password."""
    return User.objects.create_user(f"{name}@example.com", password, name=name.title(), **fields)


def sign_in(user: User, password: str = PASSWORD, client: Client | None = None, **fields: str) -> tuple[Client, Any]:
    """A browser at the sign-in form, and its answer."""
    client = client or Client()
    return client, client.post("/sign-in/", {"email": user.email, "password": password, **fields})


def confirm(client: Client, password: str = PASSWORD) -> None:
    """Show the password once more."""
    assert client.post("/account/confirm/", {"password": password}).status_code == 302


def add_factor(user: User, secret: str = SECRET) -> None:
    """A second factor, without its recovery codes."""
    TOTP.activate(user, secret)


@pytest.fixture
def half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not end in the middle of a test: codes are told by half minutes."""
    step = list(yield_hotp_counters_from_time())
    for module in ("accounts.domain.factors", "allauth.mfa.totp.internal.auth", __name__):
        monkeypatch.setattr(f"{module}.yield_hotp_counters_from_time", lambda: iter(step))


def code_now(secret: str = SECRET, *, step: int = 0) -> str:
    """What the person's app shows now, or `step` half minutes later; the studio takes one before and one after."""
    counters = list(yield_hotp_counters_from_time())
    return str(format_hotp_value(hotp_value(secret, counters[len(counters) // 2] + step)))


def secret_of(user: User) -> str:
    """The secret of the person's app, as only we can read it."""
    return str(unseal(Authenticator.objects.get(user=user, type="totp").data["secret"]))


def forget_tries() -> None:
    """As after five minutes."""
    cache.clear()
    names = list(redis_client().scan_iter("qs:tries:*"))
    if names:
        redis_client().delete(*names)


def link_in(mail: str, to: str) -> str:
    """The path behind the link of the newest mail of this kind to an address."""
    body = [found for found in waiting_mails(mail) if found["to"] == to][-1]["body"]
    found = re.search(r"http://127\.0\.0\.1:8000(/account/\S+)", body)
    assert found is not None, body
    return found[1]


def events(sql: SQL, *actions: str) -> list[tuple[object, ...]]:
    """(action, result, tenant) of the events with these names, the oldest first."""
    rows = sql.execute(
        "SELECT action, result, tenant_id FROM accounts_auditevent WHERE action = ANY(%s) ORDER BY created_at, id",
        [list(actions)],
    )
    return rows.fetchall()
