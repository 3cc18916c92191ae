"""/api/v1/members."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers as s

from accounts.api.described.common import BODY, PAGE, RETRY_AFTER, Shape, refusals
from accounts.api.serializers import StrictSerializer
from accounts.enums import Role


class MemberForm(StrictSerializer):
    """A member: the role can be written."""

    id = s.UUIDField(read_only=True, help_text="The person's.")
    email = s.EmailField(read_only=True)
    name = s.CharField(read_only=True)
    role = s.ChoiceField(choices=Role.values)
    joined_at = s.DateTimeField(read_only=True)


class MemberPage(Shape):
    """One page; follow `next` and `previous` as they stand."""

    results = MemberForm(many=True)
    next = s.URLField(allow_null=True)
    previous = s.URLField(allow_null=True)


LIST: dict[str, Any] = {
    "operation_id": "list_members",
    "summary": "List members",
    "description": "For admins. Who joined last comes first.",
    "parameters": [*PAGE, RETRY_AFTER],
    "responses": {200: MemberPage, **refusals(400)},
}
READ: dict[str, Any] = {
    "operation_id": "get_member",
    "summary": "Read a member",
    "parameters": [RETRY_AFTER],
    "responses": {200: MemberForm, **refusals(400, 404)},
}
CHANGE: dict[str, Any] = {
    "operation_id": "change_member",
    "summary": "Give a member another role",
    "description": (
        "For admins; owners are made and unmade by owners. Nobody changes their own role (403 `own_role`), and the "
        "last owner keeps it (409 `last_owner`). Keys end where their member's role ends, with the next request."
    ),
    "parameters": [RETRY_AFTER],
    "request": MemberForm,
    "examples": [OpenApiExample("An admin", {"role": "admin"}, request_only=True)],
    "responses": {200: MemberForm, **refusals(*BODY, 404, 409)},
}
REMOVE: dict[str, Any] = {
    "operation_id": "remove_member",
    "summary": "Take a member out, or leave",
    "description": (
        "For admins; everybody may take out themselves, signed in. Their keys are revoked, their pictures stay. The "
        "last owner cannot leave."
    ),
    "parameters": [RETRY_AFTER],
    "responses": {204: OpenApiResponse(description="No longer a member."), **refusals(404, 409)},
}
