"""/api/v1/loras: the style adapters that the caller's tenant may draw with."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import CountedView, check_parameters
from accounts.enums import Scope
from generation.api import descriptions as describe
from generation.domain.loras import visible_loras
from generation.models import Lora


class LorasView(CountedView):
    """The LoRAs on offer."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": Scope.IMAGES_READ.value}

    @extend_schema(**describe.LORAS)
    def get(self, request: Request) -> Response:
        """All of them: a list that is never long enough for pages, in the shape of those that are."""
        check_parameters(request)
        results = [present_lora(lora) for lora in visible_loras(self.caller)]
        return Response({"results": results, "next": None, "previous": None})


def present_lora(lora: Lora) -> dict[str, Any]:
    """A LoRA's JSON: what a request may ask of it."""
    return {
        "id": lora.slug,
        "title": lora.title,
        "description": lora.description,
        "trigger_words": lora.trigger_words,
        "models": list(lora.fits),
        "scale": {"default": lora.default_scale, "min": lora.min_scale, "max": lora.max_scale},
        "rank": lora.rank,
        "licence": lora.licence,
    }
