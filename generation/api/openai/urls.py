"""Routes under /v1/ that are about pictures."""

from __future__ import annotations

from django.urls import path

from generation.api.openai.images import EditsView, GenerationsView
from generation.api.openai.models import ModelsView, ModelView

urlpatterns = [
    path("images/generations", GenerationsView.as_view(), name="openai-image-generations"),
    path("images/edits", EditsView.as_view(), name="openai-image-edits"),
    path("models", ModelsView.as_view(), name="openai-models"),
    path("models/<path:model>", ModelView.as_view(), name="openai-model"),
]
