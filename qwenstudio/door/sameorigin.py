"""Whether a page of ours sent a request that costs something: browsers add the session's cookie to anybody's."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from rest_framework.authentication import CSRFCheck

from accounts.errors import NotAllowed
from qwenstudio.door.http import Request


def check_same_origin(request: Request) -> None:
    """Django's own check, of the token and the origin. Raises `NotAllowed`."""
    asked = HttpRequest()
    asked.method = request.method
    asked.META = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()}
    asked.COOKIES = {settings.CSRF_COOKIE_NAME: request.cookie(settings.CSRF_COOKIE_NAME)}
    check = CSRFCheck(lambda _: None)  # type: ignore[arg-type]
    check.process_request(asked)
    if reason := check.process_view(asked, None, (), {}):  # type: ignore[arg-type]
        raise NotAllowed(f"CSRF failed: {reason}")
