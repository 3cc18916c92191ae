"""/api/v1/grids: the same pictures at several strengths of one LoRA."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import CountedView, read_object
from accounts.enums import Scope
from generation.api import descriptions as describe
from generation.api.base import read_idempotency_key
from generation.domain.gallery import get_generation
from generation.domain.grid import parse_grid, submit_grid


class GridsView(CountedView):
    """Submit."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": Scope.IMAGES_WRITE.value}

    max_body_bytes = settings.PICTURE_BODY_BYTES

    @extend_schema(**describe.GRID)
    def post(self, request: Request) -> Response:
        """All generations of the grid, or none: answered at once, drawn in turn."""
        submitted = submit_grid(
            caller=self.caller,
            grid=parse_grid(read_object(request)),
            idempotency_key=read_idempotency_key(request),
            body_sha256=getattr(request, "body_sha256", None),
        )
        headers = {"Idempotency-Replayed": "true"} if submitted.replayed else None
        body = {"results": [get_generation(generation) for generation in submitted.ids]}
        return Response(body, status=202, headers=headers)
