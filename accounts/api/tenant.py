"""/api/v1/tenant: the caller's organisation itself."""

from __future__ import annotations

import base64
import re
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.described import tenant as describe
from accounts.api.permissions import ANYBODY_KNOWN, BY_RIGHT
from accounts.api.serializers import read_body
from accounts.api.views import CountedView, check_parameters
from accounts.domain.callers import Caller
from accounts.domain.logos import logo_url
from accounts.domain.roles import Right
from accounts.domain.tenants import change_tenant, get_tenant
from accounts.errors import InvalidField
from accounts.models import Tenant

_DATA_URL = re.compile(r"data:image/(?:png|jpeg|webp);base64,(.+)", re.DOTALL)


class TenantView(CountedView):
    """Read and change."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": ANYBODY_KNOWN, "PATCH": BY_RIGHT}

    @extend_schema(**describe.READ)
    def get(self, request: Request) -> Response:
        """As it is now."""
        check_parameters(request)
        return Response(present_tenant(get_tenant(by=self.caller), self.caller))

    @extend_schema(**describe.CHANGE)
    def patch(self, request: Request) -> Response:
        """What the body names."""
        wanted = read_body(describe.TenantForm, request, partial=True)
        if "logo" in wanted:
            wanted["logo"] = read_data_url(wanted["logo"])
        address = getattr(request, "client_address", None)
        return Response(present_tenant(change_tenant(by=self.caller, address=address, **wanted), self.caller))


def read_data_url(text: str | None) -> bytes:
    """The picture in a data URL; nothing for null, which takes the logo away. Raises `InvalidField`."""
    if text is None:
        return b""
    found = _DATA_URL.fullmatch(text)
    try:
        data = base64.b64decode(found[1], validate=True) if found else b""
    except ValueError:  # no base64, or no ASCII even
        data = b""
    if not data:
        raise InvalidField(
            "logo must be a data URL of a PNG, JPEG or WebP, such as data:image/png;base64,…, or null", field="logo"
        )
    return data


def present_tenant(row: Tenant, caller: Caller) -> dict[str, Any]:
    """The tenant's JSON. Its networks are for those who may change them."""
    return {
        "id": row.pk,
        "name": row.name,
        "logo_url": logo_url(row),
        "plan": caller.plan.slug,
        "networks": row.networks if caller.has(Right.CHANGE_TENANT) else None,
        "keeps_chats": row.keeps_chats,
        "created_at": row.created_at,
    }
