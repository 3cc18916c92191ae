"""/api/v1/keys: list, make, change, rotate, revoke; and the ends of keys that leaked."""

from __future__ import annotations

from typing import Any, ClassVar, cast
from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.credentials import key_of
from accounts.api.described import keys as describe
from accounts.api.pagination import page_body
from accounts.api.permissions import ANYBODY_KNOWN
from accounts.api.serializers import NoBody, read_body
from accounts.api.views import CountedView, StudioView, check_parameters
from accounts.domain.keychange import KeyChanges, change_key
from accounts.domain.keys import find_key, list_keys, make_key, revoke_key
from accounts.domain.leaked import report_leaked_key, revoke_own_key
from accounts.domain.pages import parse_flag, parse_limit
from accounts.domain.rotate import finish_rotation, rotate_key
from accounts.errors import InvalidField
from accounts.models import ApiKey

# Whose keys one sees hangs on two rights, which the domain weighs.
BY_RIGHT = ANYBODY_KNOWN


class KeysView(CountedView):
    """List and make."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT, "POST": BY_RIGHT}

    @extend_schema(**describe.LIST)
    def get(self, request: Request) -> Response:
        """One's own keys; everybody's for admins."""
        check_parameters(request, "revoked", "cursor", "limit")
        query = request.query_params
        page = list_keys(
            by=self.caller,
            revoked=parse_flag("revoked", query.get("revoked")),
            cursor=query.get("cursor"),
            limit=parse_limit(query.get("limit")),
        )
        return Response(page_body(request, page, present_key))

    @extend_schema(**describe.MAKE)
    def post(self, request: Request) -> Response:
        """A key for the caller, with its secret."""
        key, secret = make_key(by=self.caller, **read_body(describe.ApiKeyForm, request))
        headers = {"Location": f"{settings.STUDIO_URL}/api/v1/keys/{key.pk}"}
        return Response({**present_key(key), "secret": secret}, status=201, headers=headers)


class KeyView(CountedView):
    """One key."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT, "PATCH": BY_RIGHT, "DELETE": BY_RIGHT}

    @extend_schema(**describe.READ)
    def get(self, request: Request, key: UUID) -> Response:
        """As it is now."""
        check_parameters(request)
        return Response(present_key(find_key(by=self.caller, key_id=key)))

    @extend_schema(**describe.CHANGE)
    def patch(self, request: Request, key: UUID) -> Response:
        """Change what the body names."""
        changes = cast(KeyChanges, read_body(describe.ApiKeyForm, request, partial=True))
        return Response(present_key(change_key(by=self.caller, key_id=key, changes=changes)))

    @extend_schema(**describe.REVOKE)
    def delete(self, request: Request, key: UUID) -> Response:
        """End it; it stays in the list as revoked."""
        revoke_key(by=self.caller, key_id=key)
        return Response(status=204)


class RotateView(CountedView):
    """A new secret."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": BY_RIGHT}

    @extend_schema(**describe.ROTATE)
    def post(self, request: Request, key: UUID) -> Response:
        """Beside the old one for a while, or in its place."""
        found, secret = rotate_key(by=self.caller, key_id=key, **read_body(describe.RotationForm, request))
        return Response({**present_key(found), "secret": secret})


class FinishRotationView(CountedView):
    """The old secret's end."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": BY_RIGHT}

    @extend_schema(**describe.FINISH)
    def post(self, request: Request, key: UUID) -> Response:
        """Now instead of later."""
        read_body(NoBody, request)
        return Response(present_key(finish_rotation(by=self.caller, key_id=key)))


class RevokeSelfView(StudioView):
    """The key's own end. Not counted: whoever wants to end a key must never be told to wait."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": ANYBODY_KNOWN}

    @extend_schema(**describe.REVOKE_SELF)
    def post(self, request: Request) -> Response:
        """The key in the header ends."""
        read_body(NoBody, request)
        return Response(present_key(revoke_own_key(by=self.caller)), headers={"Cache-Control": "no-store"})


class LeakedKeyView(StudioView):
    """For whoever found one; `TenantMiddleware` does not take the key here for who asks."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(**describe.LEAKED)
    def post(self, request: Request) -> Response:
        """The key in the body, or in the header, ends."""
        secret = read_body(describe.LeakedKeyForm, request).get("key") or key_of(request.META)
        if not secret:
            raise InvalidField("send the key that you have found, in the body or as the credential", field="key")
        report_leaked_key(secret=secret)
        return Response({"status": "received"}, status=202, headers={"Cache-Control": "no-store"})


def present_key(key: ApiKey) -> dict[str, Any]:
    """A key's JSON."""
    return {
        "id": key.pk,
        "name": key.name,
        "prefix": key.prefix,
        "state": key.state,
        "member": {"id": key.user_id, "name": key.user.get_short_name()},
        "scopes": key.scopes,
        "networks": key.networks,
        "limits": key.limits,
        "expires_at": key.expires_at,
        "secrets": [
            {
                "prefix": secret.prefix or key.prefix,
                "created_at": secret.created_at,
                "expires_at": secret.expires_at,
            }
            for secret in key.live_secrets()
        ],
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "last_used_ip": key.last_used_ip,
    }
