"""Routes under /api/v1/ of accounts."""

from __future__ import annotations

from django.urls import URLPattern, path

from accounts.api.keys import FinishRotationView, KeysView, KeyView, LeakedKeyView, RevokeSelfView, RotateView
from accounts.api.usage import BudgetView, UsageView

urlpatterns: list[URLPattern] = [
    path("keys", KeysView.as_view(), name="api-keys"),
    path("keys/leaked", LeakedKeyView.as_view(), name="api-keys-leaked"),
    path("keys/self/revoke", RevokeSelfView.as_view(), name="api-keys-self-revoke"),
    path("keys/<uuid:key>", KeyView.as_view(), name="api-key"),
    path("keys/<uuid:key>/rotate", RotateView.as_view(), name="api-key-rotate"),
    path("keys/<uuid:key>/finish-rotation", FinishRotationView.as_view(), name="api-key-finish-rotation"),
    path("usage", UsageView.as_view(), name="api-usage"),
    path("members/<uuid:member>/budget", BudgetView.as_view(), name="api-budget"),
]
