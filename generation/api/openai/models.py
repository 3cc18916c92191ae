"""/v1/models: what may be drawn and chatted with, in OpenAI's shape; a key sees those that its scopes are for."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.openai.views import OpenAIView
from accounts.api.permissions import ANYBODY_KNOWN
from accounts.domain.callers import Caller
from accounts.enums import Scope
from generation.api.openai import descriptions as describe
from generation.books.offers import visible_chat_models
from generation.chat.books import Listed
from generation.domain.catalog import visible_models
from generation.errors import ModelNotFound
from generation.models import Model

OWNER = "qwenstudio"


class ModelsView(OpenAIView):
    """All of them."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": ANYBODY_KNOWN}

    @extend_schema(**describe.MODELS)
    def get(self, request: Request) -> Response:
        """In the order of the studio's own lists: pictures, then chat."""
        return Response({"object": "list", "data": [present_model(model) for model in list_models(self.caller)]})


class ModelView(OpenAIView):
    """One of them."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": ANYBODY_KNOWN}

    @extend_schema(**describe.MODEL)
    def get(self, request: Request, model: str) -> Response:
        """By its id."""
        found = next((one for one in list_models(self.caller) if one.slug == model), None)
        if found is None:
            raise ModelNotFound(f"no model named {model[:60]!r}; GET /api/v1/models lists yours", field="model")
        return Response(present_model(found))


def list_models(caller: Caller) -> list[Model | Listed]:
    """What the caller's tenant may use, as far as the key's scopes go. Raises `NotAllowed` for one with neither."""
    if not caller.may(Scope.CHAT.value):
        caller.require_scope(Scope.IMAGES_READ.value)
    found: list[Model | Listed] = []
    if caller.may(Scope.IMAGES_READ.value):
        found += visible_models(caller)
    if caller.may(Scope.CHAT.value):
        found += visible_chat_models(caller)
    return found


def present_model(model: Model | Listed) -> dict[str, Any]:
    """OpenAI's four fields; `GET /api/v1/models` tells the rest."""
    return {"id": model.slug, "object": "model", "created": int(model.created_at.timestamp()), "owned_by": OWNER}
