"""Routes under /api/v1/ of accounts."""

from __future__ import annotations

from django.urls import URLPattern, path

from accounts.api import converters  # noqa: F401  (registers <id:…>)
from accounts.api.keys import FinishRotationView, KeysView, KeyView, LeakedKeyView, RevokeSelfView, RotateView

urlpatterns: list[URLPattern] = [
    path("keys", KeysView.as_view(), name="api-keys"),
    path("keys/leaked", LeakedKeyView.as_view(), name="api-keys-leaked"),
    path("keys/self/revoke", RevokeSelfView.as_view(), name="api-keys-self-revoke"),
    path("keys/<id:key>", KeyView.as_view(), name="api-key"),
    path("keys/<id:key>/rotate", RotateView.as_view(), name="api-key-rotate"),
    path("keys/<id:key>/finish-rotation", FinishRotationView.as_view(), name="api-key-finish-rotation"),
]
