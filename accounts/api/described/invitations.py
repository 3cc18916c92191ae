"""/api/v1/invitations."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers as s

from accounts.api.described.common import BODY, PAGE, RETRY_AFTER, Shape, answer_header, refusals
from accounts.api.serializers import StrictSerializer
from accounts.enums import Role


class InvitationForm(StrictSerializer):
    """An invitation: to whom and with which role can be written, once."""

    id = s.UUIDField(read_only=True)
    email = s.CharField(max_length=320, help_text="An e-mail address.")  # read by the domain, which says what is wrong
    role = s.ChoiceField(choices=Role.values, default=Role.MEMBER.value)
    state = s.ChoiceField(read_only=True, choices=["open", "accepted", "revoked", "expired"])
    invited_by = s.UUIDField(read_only=True, allow_null=True)
    created_at = s.DateTimeField(read_only=True)
    expires_at = s.DateTimeField(read_only=True)
    accepted_at = s.DateTimeField(read_only=True, allow_null=True)
    revoked_at = s.DateTimeField(read_only=True, allow_null=True)


class InvitationPage(Shape):
    """One page; follow `next` and `previous` as they stand."""

    results = InvitationForm(many=True)
    next = s.URLField(allow_null=True)
    previous = s.URLField(allow_null=True)


LIST: dict[str, Any] = {
    "operation_id": "list_invitations",
    "summary": "List invitations",
    "description": "For admins: all of them, newest first.",
    "parameters": [*PAGE, RETRY_AFTER],
    "responses": {200: InvitationPage, **refusals(400)},
}
INVITE: dict[str, Any] = {
    "operation_id": "create_invitation",
    "summary": "Invite somebody by e-mail",
    "description": (
        "For admins; owners are invited by owners. The link in the e-mail works once, for a week, for that address. An "
        "address has one open invitation: send it again instead (409 `already_invited`)."
    ),
    "parameters": [answer_header("Location", "The address of the invitation.", [201]), RETRY_AFTER],
    "request": InvitationForm,
    "examples": [OpenApiExample("A member", {"email": "carol@example.com", "role": "member"}, request_only=True)],
    "responses": {201: InvitationForm, **refusals(*BODY, 409)},
}
READ: dict[str, Any] = {
    "operation_id": "get_invitation",
    "summary": "Read an invitation",
    "parameters": [RETRY_AFTER],
    "responses": {200: InvitationForm, **refusals(400, 404)},
}
RENEW: dict[str, Any] = {
    "operation_id": "renew_invitation",
    "summary": "Send an invitation again",
    "description": "With a new link and another week; the old link is worth nothing any more.",
    "parameters": [RETRY_AFTER],
    "request": None,
    "responses": {200: InvitationForm, **refusals(400, 404, 409)},
}
REVOKE: dict[str, Any] = {
    "operation_id": "revoke_invitation",
    "summary": "Take an invitation back",
    "description": "Again changes nothing; an accepted one is 409 `invitation_used`: take the member out instead.",
    "parameters": [RETRY_AFTER],
    "responses": {204: OpenApiResponse(description="Taken back."), **refusals(404, 409)},
}
