"""/api/v1/zips and /api/v1/deletions: many generations at once, as one file or gone."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.pagination import page_body
from accounts.api.views import CountedView, check_parameters, read_object
from accounts.domain.pages import parse_limit
from accounts.enums import Scope
from generation.api import selectionshapes as describe
from generation.domain.present import present_time
from generation.domain.selections import (
    get_selection,
    list_selections,
    read_ids,
    request_deletion,
    request_zip,
    zip_url,
)
from generation.enums import Act
from generation.models import Selection

READ, WRITE = Scope.IMAGES_READ.value, Scope.IMAGES_WRITE.value


class ZipsView(CountedView):
    """List and ask."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": READ, "POST": READ}

    @extend_schema(**describe.LIST_ZIPS)
    def get(self, request: Request) -> Response:
        """The caller's own, newest first."""
        check_parameters(request, "cursor", "limit")
        query = request.query_params
        page = list_selections(
            by=self.caller, act=Act.ZIP, cursor=query.get("cursor"), limit=parse_limit(query.get("limit"))
        )
        return Response(page_body(request, page, present_zip))

    @extend_schema(**describe.MAKE_ZIP)
    def post(self, request: Request) -> Response:
        """It is made in the background."""
        made = request_zip(by=self.caller, ids=read_ids(read_object(request)))
        return Response(present_zip(made), status=202, headers=_location("zips", made))


class ZipView(CountedView):
    """One zip."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": READ}

    @extend_schema(**describe.READ_ZIP)
    def get(self, request: Request, zip: UUID) -> Response:
        """As it is now."""
        check_parameters(request)
        return Response(present_zip(get_selection(by=self.caller, act=Act.ZIP, selection_id=zip)))


class DeletionsView(CountedView):
    """List and ask."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": WRITE, "POST": WRITE}

    @extend_schema(**describe.LIST_DELETIONS)
    def get(self, request: Request) -> Response:
        """The caller's own, newest first."""
        check_parameters(request, "cursor", "limit")
        query = request.query_params
        page = list_selections(
            by=self.caller, act=Act.DELETE, cursor=query.get("cursor"), limit=parse_limit(query.get("limit"))
        )
        return Response(page_body(request, page, present_deletion))

    @extend_schema(**describe.DELETE_MANY)
    def post(self, request: Request) -> Response:
        """A hundred are gone with the answer, more of them soon after."""
        asked = request_deletion(by=self.caller, ids=read_ids(read_object(request)))
        return Response(present_deletion(asked), status=202, headers=_location("deletions", asked))


class DeletionView(CountedView):
    """One deletion."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": WRITE}

    @extend_schema(**describe.READ_DELETION)
    def get(self, request: Request, deletion: UUID) -> Response:
        """As it is now."""
        check_parameters(request)
        return Response(present_deletion(get_selection(by=self.caller, act=Act.DELETE, selection_id=deletion)))


def present_zip(row: Selection) -> dict[str, Any]:
    """A zip's JSON."""
    return {
        **_common(row),
        "bytes": row.bytes,
        "url": zip_url(row),
        "expires_at": present_time(row.expires_at),
    }


def present_deletion(row: Selection) -> dict[str, Any]:
    """A deletion's JSON."""
    return {**_common(row), "left": row.left}


def _common(row: Selection) -> dict[str, Any]:
    return {
        "id": row.pk,
        "status": row.status,
        "done": row.done,
        "total": row.total,
        "error": row.error or None,
        "created_at": present_time(row.created_at),
        "finished_at": present_time(row.finished_at),
    }


def _location(name: str, row: Selection) -> dict[str, str]:
    return {"Location": f"{settings.STUDIO_URL}/api/v1/{name}/{row.pk}"}
