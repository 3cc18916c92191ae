"""/api/v1/estimates: what a request would cost and how long it would wait, before it is sent."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import CountedView
from accounts.enums import Scope
from generation.api import descriptions as describe
from generation.api.forms import PARSERS, read_request
from generation.domain.estimate import estimate
from generation.domain.request import parse_request


class EstimatesView(CountedView):
    """Estimates."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": Scope.IMAGES_READ.value}

    parser_classes = PARSERS
    max_body_bytes = settings.PICTURE_BODY_BYTES

    @extend_schema(**describe.ESTIMATE)
    def post(self, request: Request) -> Response:
        """Nothing is stored, reserved or charged."""
        return Response(estimate(parse_request(read_request(request)), caller=self.caller))
