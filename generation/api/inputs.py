"""/api/v1/inputs: send a picture once, and draw from it as often as one likes."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import CountedView
from accounts.enums import Scope
from generation.api import inputdescriptions as describe
from generation.api.forms import PARSERS, read_request
from generation.domain.inputs import read_input, store_input


class InputsView(CountedView):
    """Store one."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": Scope.IMAGES_WRITE.value}
    parser_classes = PARSERS
    max_body_bytes = settings.PICTURE_BODY_BYTES

    @extend_schema(**describe.STORE)
    def post(self, request: Request) -> Response:
        """It is kept for a day, and then as long as a generation uses it."""
        source, kind = read_input(read_request(request))
        return Response(store_input(source, kind=kind, caller=self.caller), status=201)
