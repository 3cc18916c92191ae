"""/api/v1/invitations: invite by e-mail, send again, take back."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.described import invitations as describe
from accounts.api.pagination import page_body
from accounts.api.permissions import BY_RIGHT
from accounts.api.serializers import NoBody, read_body
from accounts.api.views import CountedView, check_parameters
from accounts.domain.invitations import (
    get_invitation,
    invite_person,
    list_invitations,
    renew_invitation,
    revoke_invitation,
    state_of,
)
from accounts.domain.pages import parse_limit
from accounts.models import Invitation


class InvitationsView(CountedView):
    """List and invite."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT, "POST": BY_RIGHT}

    @extend_schema(**describe.LIST)
    def get(self, request: Request) -> Response:
        """All of them, newest first."""
        check_parameters(request, "cursor", "limit")
        query = request.query_params
        page = list_invitations(by=self.caller, cursor=query.get("cursor"), limit=parse_limit(query.get("limit")))
        return Response(page_body(request, page, present_invitation))

    @extend_schema(**describe.INVITE)
    def post(self, request: Request) -> Response:
        """An e-mail with a link goes out."""
        wanted = read_body(describe.InvitationForm, request)
        made = invite_person(by=self.caller, email=wanted["email"], role=wanted["role"])
        headers = {"Location": f"{settings.STUDIO_URL}/api/v1/invitations/{made.pk}"}
        return Response(present_invitation(made), status=201, headers=headers)


class InvitationView(CountedView):
    """One invitation."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT, "DELETE": BY_RIGHT}

    @extend_schema(**describe.READ)
    def get(self, request: Request, invitation: UUID) -> Response:
        """As it is now."""
        check_parameters(request)
        return Response(present_invitation(get_invitation(by=self.caller, invitation_id=invitation)))

    @extend_schema(**describe.REVOKE)
    def delete(self, request: Request, invitation: UUID) -> Response:
        """Take it back; it stays in the list as revoked."""
        revoke_invitation(by=self.caller, invitation_id=invitation)
        return Response(status=204)


class RenewView(CountedView):
    """Send it again."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": BY_RIGHT}

    @extend_schema(**describe.RENEW)
    def post(self, request: Request, invitation: UUID) -> Response:
        """With a new link and another week."""
        read_body(NoBody, request)
        return Response(present_invitation(renew_invitation(by=self.caller, invitation_id=invitation)))


def present_invitation(row: Invitation) -> dict[str, Any]:
    """An invitation's JSON; its link is in the e-mail only."""
    return {
        "id": row.pk,
        "email": row.email,
        "role": row.role,
        "state": state_of(row),
        "invited_by": row.invited_by,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "accepted_at": row.accepted_at,
        "revoked_at": row.revoked_at,
    }
