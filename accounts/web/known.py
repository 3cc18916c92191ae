"""Browsers that a person has signed in with before: a cookie that opens nothing.

It only says that whoever types codes here is not one of the thousand strangers who hold the same person's password
(`accounts/web/throttle.py`).
"""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase

KNOWN_COOKIE = "studio_known"
KNOWN_SALT = "studio.known"
KNOWN_SECONDS = 31_536_000


def is_known(request: HttpRequest, user: UUID) -> bool:
    """Whether this person was the last who signed in with this browser."""
    try:
        found = signing.loads(request.COOKIES.get(KNOWN_COOKIE, ""), salt=KNOWN_SALT, max_age=KNOWN_SECONDS)
    except signing.BadSignature:
        return False
    return bool(found == str(user))


def make_known(response: HttpResponseBase, user: UUID) -> None:
    """Remember it."""
    response.set_cookie(
        KNOWN_COOKIE,
        signing.dumps(str(user), salt=KNOWN_SALT),
        max_age=KNOWN_SECONDS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
