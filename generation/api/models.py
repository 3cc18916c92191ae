"""/api/v1/models: what the caller's tenant may draw with."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import CountedView, check_parameters
from accounts.enums import Scope
from generation.api import descriptions as describe
from generation.domain.catalog import spec_of, visible_models
from generation.models import Model


class ModelsView(CountedView):
    """The models on offer."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": Scope.IMAGES_READ.value}

    @extend_schema(**describe.MODELS)
    def get(self, request: Request) -> Response:
        """All of them: a list that is never long enough for pages, in the shape of those that are."""
        check_parameters(request)
        results = [present_model(model) for model in visible_models(self.caller)]
        return Response({"results": results, "next": None, "previous": None})


def present_model(model: Model) -> dict[str, Any]:
    """A model's JSON: what a request may ask of it. Where its files lie is the operators' business."""
    spec = spec_of(model)
    return {
        "id": model.slug,
        "title": model.title,
        "description": spec.description,
        "licence": spec.licence,
        "family": spec.family,
        "tasks": list(spec.tasks),
        "defaults": {
            "width": spec.default_width,
            "height": spec.default_height,
            "num_inference_steps": spec.default_steps,
            "true_cfg_scale": spec.true_cfg_scale,
            "negative_prompt": spec.default_negative_prompt,
        },
        "limits": {
            "min_steps": spec.min_steps,
            "max_steps": spec.max_steps,
            "max_width": spec.max_width,
            "max_height": spec.max_height,
            "size_multiple": spec.size_multiple,
            "max_prompt_tokens": spec.max_prompt_tokens,
        },
        "sizes": [{"width": width, "height": height} for width, height in spec.sizes],
    }
