"""Credentials of the API. `TenantMiddleware` has found the caller already; here it is taken or refused."""

from __future__ import annotations

from typing import Any, cast

from django.contrib.auth.models import AnonymousUser
from rest_framework import authentication
from rest_framework.request import Request

from accounts.api.credentials import key_of
from accounts.domain.callers import Caller
from accounts.errors import InvalidKey, NotAllowed
from accounts.web.requests import StudioRequest


class KeyAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer qs_…` (or `Token`), or `X-Api-Key: qs_…`. `request.auth` is the `Caller`."""

    def authenticate(self, request: Request) -> tuple[Any, Caller] | None:
        if key_of(request.META) is None:
            return None
        return AnonymousUser(), _caller_or_refusal(request)

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="QwenStudio"'


class SessionAuthentication(authentication.SessionAuthentication):
    """The session cookie; whatever changes something needs the CSRF token too."""

    def authenticate(self, request: Request) -> tuple[Any, Caller] | None:
        user = request._request.user
        if not user.is_authenticated:
            return None
        self.enforce_csrf(request)
        found = cast(StudioRequest, request._request)
        if found.caller is None and found.caller_error is None:
            raise NotAllowed("you belong to no organisation yet; ask an owner to invite you")
        return user, _caller_or_refusal(request)


def _caller_or_refusal(request: Request) -> Caller:
    found = cast(StudioRequest, request._request)
    if found.caller is None:
        raise found.caller_error or InvalidKey
    return found.caller
