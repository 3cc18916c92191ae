"""/api/v1/keys."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema_field
from rest_framework import serializers as s

from accounts.api.described.common import BODY, PAGE, RETRY_AFTER, Shape, answer_header, refusals
from accounts.api.serializers import StrictSerializer
from accounts.domain.keybounds import NAME_CHARS
from accounts.domain.limits import KEY_LIMITS, MAX_LARGE_LIMIT, MAX_LIMIT
from accounts.domain.rotate import DEFAULT_OVERLAP_S, MAX_OVERLAP_S
from accounts.enums import Scope

ApiKeyLimits = type(
    "ApiKeyLimits",
    (Shape,),
    {
        "__doc__": "What the key may use, below what its member may; null and what is not named are no limit.",
        **{
            name: s.IntegerField(
                required=False,
                allow_null=True,
                min_value=1,
                max_value=MAX_LARGE_LIMIT if name.startswith(("gpu_ms", "tokens")) else MAX_LIMIT,
            )
            for name in KEY_LIMITS
        },
    },
)


@extend_schema_field(ApiKeyLimits)
class LimitsField(s.DictField):
    """Read by `accounts.domain.limits.check_limits`, which names what is wrong."""


@extend_schema_field({"type": "array", "items": {"type": "string", "enum": Scope.values}})
class ScopesField(s.ListField):
    """Read by `accounts.domain.keybounds.check_scopes`."""


class ApiKeyMember(Shape):
    id = s.UUIDField()
    name = s.CharField()


class ApiKeySecret(Shape):
    prefix = s.CharField(help_text="How it begins.")
    created_at = s.DateTimeField()
    expires_at = s.DateTimeField(allow_null=True, help_text="When the old one of a rotation ends.")


class ApiKeyForm(StrictSerializer):
    """A key: what can be written, and what is ours."""

    id = s.UUIDField(read_only=True)
    name = s.CharField(max_length=NAME_CHARS, help_text="Where it is used.")
    prefix = s.CharField(read_only=True, help_text="How its newest secret begins.")
    state = s.ChoiceField(read_only=True, choices=["live", "ended", "revoked"])
    member = ApiKeyMember(read_only=True, help_text="For whom it acts.")
    scopes = ScopesField(child=s.CharField(max_length=40))
    networks = s.ListField(
        child=s.CharField(max_length=60), required=False, help_text="Where it may be used; empty: anywhere."
    )
    limits = LimitsField(required=False)
    expires_at = s.DateTimeField(required=False, allow_null=True)
    secrets = ApiKeySecret(read_only=True, many=True)
    created_at = s.DateTimeField(read_only=True)
    revoked_at = s.DateTimeField(read_only=True, allow_null=True)
    last_used_at = s.DateTimeField(read_only=True, allow_null=True, help_text="To the minute.")
    last_used_ip = s.IPAddressField(read_only=True, allow_null=True)


class ApiKey(ApiKeyForm):
    """A key; its secret is never shown again."""

    limits = ApiKeyLimits()


class FreshApiKey(ApiKey):
    """A key with its new secret, this once."""

    secret = s.CharField(read_only=True)


class ApiKeyPage(Shape):
    """One page; follow `next` and `previous` as they stand."""

    results = ApiKey(many=True)
    next = s.URLField(allow_null=True)
    previous = s.URLField(allow_null=True)


class RotationForm(StrictSerializer):
    """How long the old secret still works."""

    overlap_s = s.IntegerField(
        required=False,
        min_value=0,
        max_value=MAX_OVERLAP_S,
        default=DEFAULT_OVERLAP_S,
        help_text="Seconds; 0: it ends at once.",
    )


class LeakedKeyForm(StrictSerializer):
    """The key that was found; it may also come as the credential."""

    key = s.CharField(required=False, max_length=200)


class Received(Shape):
    status = s.ChoiceField(choices=["received"])


ONCE = answer_header("Cache-Control", "`no-store`: nobody keeps the secret but you.", [200, 201])
NEW = OpenApiExample(
    "For a build server",
    {"name": "ci", "scopes": ["images:read", "images:write"], "limits": {"images_per_day": 50}},
    request_only=True,
)

LIST: dict[str, Any] = {
    "operation_id": "list_keys",
    "summary": "List API keys",
    "description": "One's own, newest first; everybody's for admins (a key needs the scope `admin` for that).",
    "parameters": [
        OpenApiParameter("revoked", OpenApiTypes.BOOL, description="Only those that were, or only the others."),
        *PAGE,
        RETRY_AFTER,
    ],
    "responses": {200: ApiKeyPage, **refusals(400)},
}
MAKE: dict[str, Any] = {
    "operation_id": "create_key",
    "summary": "Make an API key",
    "description": (
        "It acts for the caller and never has a scope that they have not. A key makes none that exceeds itself, and "
        "one with limits or networks of its own makes none at all. `secret` is in this answer and in no other."
    ),
    "parameters": [answer_header("Location", "The address of the key.", [201]), ONCE, RETRY_AFTER],
    "request": ApiKeyForm,
    "examples": [NEW],
    "responses": {201: FreshApiKey, **refusals(*BODY)},
}
READ: dict[str, Any] = {
    "operation_id": "get_key",
    "summary": "Read an API key",
    "parameters": [RETRY_AFTER],
    "responses": {200: ApiKey, **refusals(400, 404)},
}
CHANGE: dict[str, Any] = {
    "operation_id": "change_key",
    "summary": "Change an API key",
    "description": (
        "What is left out stays. `limits` changes those it names, null takes one off. Scopes can only be taken away. "
        "Its member, signed in, may widen the rest; an admin, another key and the key itself may only narrow it."
    ),
    "parameters": [RETRY_AFTER],
    "request": ApiKeyForm,
    "examples": [OpenApiExample("A smaller limit", {"limits": {"images_per_day": 10}}, request_only=True)],
    "responses": {200: ApiKey, **refusals(*BODY, 404, 409)},
}
REVOKE: dict[str, Any] = {
    "operation_id": "revoke_key",
    "summary": "Revoke an API key",
    "description": "From the next request on. Again changes nothing.",
    "parameters": [RETRY_AFTER],
    "responses": {204: OpenApiResponse(description="Revoked."), **refusals(404)},
}
ROTATE: dict[str, Any] = {
    "operation_id": "rotate_key",
    "summary": "Give an API key a new secret",
    "description": (
        "Both secrets work for `overlap_s` seconds, then the new one alone. There are two at most: while the last "
        "rotation's old one lives, this is 409 `rotation_overlaps`, unless `finish-rotation` ends it."
    ),
    "parameters": [ONCE, RETRY_AFTER],
    "request": RotationForm,
    "examples": [OpenApiExample("An hour", {"overlap_s": 3600}, request_only=True)],
    "responses": {200: FreshApiKey, **refusals(*BODY, 404, 409)},
}
FINISH: dict[str, Any] = {
    "operation_id": "finish_key_rotation",
    "summary": "End the old secret of a rotation now",
    "parameters": [RETRY_AFTER],
    "request": None,
    "responses": {200: ApiKey, **refusals(400, 404, 409)},
}
REVOKE_SELF: dict[str, Any] = {
    "operation_id": "revoke_own_key",
    "summary": "End the key that asks",
    "description": "Whatever its scopes. Its member is told by e-mail.",
    "parameters": [RETRY_AFTER],
    "request": None,
    "responses": {200: ApiKey, **refusals(400)},
}
LEAKED: dict[str, Any] = {
    "operation_id": "report_leaked_key",
    "summary": "Report a key that you have found",
    "description": (
        "For everybody. The key, in the body or as the credential, ends at once, and its member is told by e-mail. "
        "The answer is the same whether there was such a key or not."
    ),
    "parameters": [RETRY_AFTER],
    "auth": [{"apiKey": []}, {}],
    "request": LeakedKeyForm,
    "examples": [OpenApiExample("A key", {"key": "qs_live_…"}, request_only=True)],
    "responses": {202: Received, **refusals(*BODY)},
}
