"""Routes under /api/v1/."""

from __future__ import annotations

from django.urls import path

from accounts.api import converters  # noqa: F401  (registers <id:…>)
from generation.api.estimates import EstimatesView
from generation.api.events import CallerEventsView, GenerationEventsView
from generation.api.grids import GridsView
from generation.api.images import CancelView, ImagesView, ImageView, RetryView, VaryView
from generation.api.inputs import InputsView
from generation.api.loras import LorasView
from generation.api.me import MeView
from generation.api.models import ModelsView
from generation.api.rules import RulesView, RuleView
from generation.api.selections import DeletionsView, DeletionView, ZipsView, ZipView
from generation.api.styles import StylesView, StyleView

urlpatterns = [
    path("images", ImagesView.as_view(), name="api-images"),
    path("images/<id:generation>", ImageView.as_view(), name="api-image"),
    path("images/<id:generation>/cancel", CancelView.as_view(), name="api-image-cancel"),
    path("images/<id:generation>/retry", RetryView.as_view(), name="api-image-retry"),
    path("images/<id:generation>/vary", VaryView.as_view(), name="api-image-vary"),
    path("images/<id:generation>/events", GenerationEventsView.as_view(), name="api-image-events"),
    path("zips", ZipsView.as_view(), name="api-zips"),
    path("zips/<id:zip>", ZipView.as_view(), name="api-zip"),
    path("deletions", DeletionsView.as_view(), name="api-deletions"),
    path("deletions/<id:deletion>", DeletionView.as_view(), name="api-deletion"),
    path("events", CallerEventsView.as_view(), name="api-events"),
    path("me", MeView.as_view(), name="api-me"),
    path("grids", GridsView.as_view(), name="api-grids"),
    path("inputs", InputsView.as_view(), name="api-inputs"),
    path("loras", LorasView.as_view(), name="api-loras"),
    path("styles", StylesView.as_view(), name="api-styles"),
    path("styles/<id:style>", StyleView.as_view(), name="api-style"),
    path("rules", RulesView.as_view(), name="api-rules"),
    path("rules/<id:rule>", RuleView.as_view(), name="api-rule"),
    path("models", ModelsView.as_view(), name="api-models"),
    path("estimates", EstimatesView.as_view(), name="api-estimates"),
]
