"""One-time sign-in links: printed by the demo, mailed later."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.domain.keys import hash_secret
from accounts.enums import TokenPurpose
from accounts.errors import InvalidField, InvalidToken
from accounts.models import TokenDirectory, User

# The page behind it asks for one click before it redeems, so that a mail scanner which follows links spends none.
LINK_PATH = "/sign-in/link/"
LIFETIME = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Redeemed:
    """Whom a link signs in, and where they go then."""

    user: User
    next_path: str


def make_sign_in_link(user: User, next_path: str, *, lifetime: timedelta = LIFETIME) -> str:
    """An absolute address (under `STUDIO_URL`) that signs the user in once; only the token's hash is stored.

    Raises `InvalidField` for a `next_path` that leads to another host.
    """
    if not next_path.startswith("/") or not url_has_allowed_host_and_scheme(next_path, allowed_hosts=None):
        raise InvalidField("next_path must be a path of this studio, such as /studio/", field="next_path")
    token = secrets.token_urlsafe(32)
    TokenDirectory.objects.create(
        sha256=hash_secret(token),
        purpose=TokenPurpose.SIGN_IN,
        user=user,
        next_path=next_path,
        expires_at=timezone.now() + lifetime,
    )
    return f"{settings.STUDIO_URL}{LINK_PATH}{token}/"


def redeem(token: str) -> Redeemed:
    """Spend a sign-in token. Raises `InvalidToken` when it is unknown, used, expired, or its user may not sign in."""
    rows = TokenDirectory.objects.filter(sha256=hash_secret(token), purpose=TokenPurpose.SIGN_IN)
    with transaction.atomic():
        now = timezone.now()
        # One conditional update decides between two who open the link at once. Its conditions are the row's own
        # columns: a join would put them into a sub-select, at which the loser of the race does not look again.
        if not rows.filter(used_at=None, expires_at__gt=now).update(used_at=now):
            raise InvalidToken
        found = rows.select_related("user").get()
        if found.user is None or not found.user.is_active:
            raise InvalidToken
    return Redeemed(user=found.user, next_path=found.next_path)


def drop_sign_in_links(user: User) -> None:
    """Nobody comes in any more by the links that were made for a person until now."""
    TokenDirectory.objects.filter(user_id=user.pk, purpose=TokenPurpose.SIGN_IN, used_at=None).delete()
