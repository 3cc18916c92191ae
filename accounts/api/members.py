"""/api/v1/members: who belongs to the tenant, in which role."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.described import members as describe
from accounts.api.pagination import page_body
from accounts.api.permissions import BY_RIGHT
from accounts.api.serializers import read_body
from accounts.api.views import CountedView, check_parameters
from accounts.domain.members import change_role, get_member, list_members, remove_member
from accounts.domain.pages import parse_limit
from accounts.models import Membership


class MembersView(CountedView):
    """List."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT}

    @extend_schema(**describe.LIST)
    def get(self, request: Request) -> Response:
        """Everybody, who joined last first."""
        check_parameters(request, "cursor", "limit")
        query = request.query_params
        page = list_members(by=self.caller, cursor=query.get("cursor"), limit=parse_limit(query.get("limit")))
        return Response(page_body(request, page, present_member))


class MemberView(CountedView):
    """One member."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT, "PATCH": BY_RIGHT, "DELETE": BY_RIGHT}

    @extend_schema(**describe.READ)
    def get(self, request: Request, member: UUID) -> Response:
        """As they are now."""
        check_parameters(request)
        return Response(present_member(get_member(by=self.caller, user_id=member)))

    @extend_schema(**describe.CHANGE)
    def patch(self, request: Request, member: UUID) -> Response:
        """Another role."""
        wanted = read_body(describe.MemberForm, request)
        return Response(present_member(change_role(by=self.caller, user_id=member, role=wanted["role"])))

    @extend_schema(**describe.REMOVE)
    def delete(self, request: Request, member: UUID) -> Response:
        """Take them out, or leave."""
        remove_member(by=self.caller, user_id=member)
        return Response(status=204)


def present_member(row: Membership) -> dict[str, Any]:
    """A member's JSON; the id is the person's."""
    return {
        "id": row.user_id,
        "email": row.user.email,
        "name": row.user.name,
        "role": row.role,
        "joined_at": row.created_at,
    }
