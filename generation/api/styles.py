"""/api/v1/styles: the prompt templates of one's organisation."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.permissions import BY_RIGHT
from accounts.api.serializers import read_body
from accounts.api.views import CountedView, check_parameters
from accounts.enums import Scope
from generation.api import styleshapes as describe
from generation.domain.present import present_time
from generation.domain.styles import change_style, delete_style, get_style, list_styles, make_style
from generation.models import Style

READ = Scope.IMAGES_READ.value


class StylesView(CountedView):
    """List and make."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": READ, "POST": BY_RIGHT}

    @extend_schema(**describe.LIST)
    def get(self, request: Request) -> Response:
        """All of them: never enough for pages, in the shape of those that have some."""
        check_parameters(request)
        return Response({"results": [present_style(row) for row in list_styles()], "next": None, "previous": None})

    @extend_schema(**describe.MAKE)
    def post(self, request: Request) -> Response:
        """A further one."""
        made = make_style(by=self.caller, **read_body(describe.StyleForm, request))
        headers = {"Location": f"{settings.STUDIO_URL}/api/v1/styles/{made.pk}"}
        return Response(present_style(made), status=201, headers=headers)


class StyleView(CountedView):
    """One style."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": READ, "PATCH": BY_RIGHT, "DELETE": BY_RIGHT}

    @extend_schema(**describe.READ)
    def get(self, request: Request, style: UUID) -> Response:
        """As it is now."""
        check_parameters(request)
        return Response(present_style(get_style(style)))

    @extend_schema(**describe.CHANGE)
    def patch(self, request: Request, style: UUID) -> Response:
        """What the body names."""
        wanted = read_body(describe.StyleForm, request, partial=True)
        return Response(present_style(change_style(by=self.caller, style_id=style, **wanted)))

    @extend_schema(**describe.DELETE)
    def delete(self, request: Request, style: UUID) -> Response:
        """For good."""
        delete_style(by=self.caller, style_id=style)
        return Response(status=204)


def present_style(row: Style) -> dict[str, Any]:
    """A style's JSON."""
    return {
        "id": row.pk,
        "name": row.name,
        "prompt": row.prompt,
        "negative_prompt": row.negative_prompt,
        "position": row.position,
        "created_at": present_time(row.created_at),
        "updated_at": present_time(row.updated_at),
    }
