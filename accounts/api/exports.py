"""/api/v1/exports: everything that the tenant has, as one file."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.described import exports as describe
from accounts.api.pagination import page_body
from accounts.api.permissions import BY_RIGHT
from accounts.api.serializers import NoBody, read_body
from accounts.api.views import CountedView, check_parameters
from accounts.domain.exports import export_url, get_export, list_exports, request_export
from accounts.domain.pages import parse_limit
from accounts.models import Export


class ExportsView(CountedView):
    """List and ask."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT, "POST": BY_RIGHT}

    @extend_schema(**describe.LIST)
    def get(self, request: Request) -> Response:
        """All of them, newest first."""
        check_parameters(request, "cursor", "limit")
        query = request.query_params
        page = list_exports(by=self.caller, cursor=query.get("cursor"), limit=parse_limit(query.get("limit")))
        return Response(page_body(request, page, present_export))

    @extend_schema(**describe.ASK)
    def post(self, request: Request) -> Response:
        """It is made in the background."""
        read_body(NoBody, request)
        made = request_export(by=self.caller)
        headers = {"Location": f"{settings.STUDIO_URL}/api/v1/exports/{made.pk}"}
        return Response(present_export(made), status=202, headers=headers)


class ExportView(CountedView):
    """One export."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": BY_RIGHT}

    @extend_schema(**describe.READ)
    def get(self, request: Request, export: UUID) -> Response:
        """As it is now."""
        check_parameters(request)
        return Response(present_export(get_export(by=self.caller, export_id=export)))


def present_export(row: Export) -> dict[str, Any]:
    """An export's JSON."""
    return {
        "id": row.pk,
        "status": row.status,
        "done": row.done,
        "total": row.total,
        "bytes": row.bytes,
        "error": row.error or None,
        "url": export_url(row),
        "requested_by": row.requested_by,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
        "expires_at": row.expires_at,
    }
