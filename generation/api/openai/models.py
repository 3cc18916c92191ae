"""/v1/models: what may be drawn with, in OpenAI's shape."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.openai.views import OpenAIView
from accounts.enums import Scope
from generation.api.openai import descriptions as describe
from generation.domain.catalog import find_model, visible_models
from generation.models import Model

OWNER = "qwenstudio"


class ModelsView(OpenAIView):
    """All of them."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": Scope.IMAGES_READ.value}

    @extend_schema(**describe.MODELS)
    def get(self, request: Request) -> Response:
        """In the order of the studio's own list."""
        return Response({"object": "list", "data": [present_model(model) for model in visible_models(self.caller)]})


class ModelView(OpenAIView):
    """One of them."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": Scope.IMAGES_READ.value}

    @extend_schema(**describe.MODEL)
    def get(self, request: Request, model: str) -> Response:
        """By its id."""
        return Response(present_model(find_model(model, self.caller)))


def present_model(model: Model) -> dict[str, Any]:
    """OpenAI's four fields; `GET /api/v1/models` tells the rest."""
    return {"id": model.slug, "object": "model", "created": int(model.created_at.timestamp()), "owned_by": OWNER}
