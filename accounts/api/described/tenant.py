"""/api/v1/tenant."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers as s

from accounts.api.described.common import BODY, RETRY_AFTER, refusals
from accounts.api.serializers import StrictSerializer
from accounts.domain.addresses import MAX_NETWORKS
from accounts.domain.tenants import NAME_CHARS


class TenantShape(StrictSerializer):
    """An organisation."""

    id = s.UUIDField(read_only=True)
    name = s.CharField(max_length=NAME_CHARS)
    logo_url = s.URLField(read_only=True, allow_null=True, help_text="For its members only, like pictures.")
    plan = s.CharField(read_only=True)
    networks = s.ListField(
        child=s.CharField(max_length=60),
        max_length=MAX_NETWORKS,
        allow_null=True,
        help_text="Where members and keys may come from; empty: anywhere; null: not yours to see.",
    )
    keeps_chats = s.BooleanField(
        help_text="Whether what is sent to chat models over the API, and what they answer, is kept."
    )
    created_at = s.DateTimeField(read_only=True)


class TenantForm(TenantShape):
    """What can be written of it. The logo comes in as a data URL."""

    networks = s.ListField(child=s.CharField(max_length=60), help_text="Empty: anywhere.")
    logo = s.CharField(
        allow_null=True,
        write_only=True,
        max_length=1_000_000,
        help_text="`data:image/png;base64,…` (or jpeg, webp), at most 700,000 bytes; null takes it away.",
    )


READ: dict[str, Any] = {
    "operation_id": "get_tenant",
    "summary": "Read your organisation",
    "parameters": [RETRY_AFTER],
    "responses": {200: TenantShape, **refusals(400)},
}
CHANGE: dict[str, Any] = {
    "operation_id": "change_tenant",
    "summary": "Change your organisation",
    "description": (
        "For admins. What is left out stays; all of it is changed or nothing. Networks that would shut out the caller "
        "are 409 `own_address_shut_out`. Deleting an organisation is for its owners, signed in."
    ),
    "parameters": [RETRY_AFTER],
    "request": TenantForm,
    "examples": [OpenApiExample("A name and networks", {"name": "Lab", "networks": []}, request_only=True)],
    "responses": {200: TenantShape, **refusals(*BODY, 409)},
}
