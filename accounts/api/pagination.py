"""`{results, next, previous}` with addresses that a client can follow as they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.conf import settings
from rest_framework.request import Request

from accounts.domain.pages import Page

T = TypeVar("T")


def page_body(request: Request, page: Page[T], present: Callable[[T], Any] | None = None) -> dict[str, Any]:
    """The JSON of one page; other query parameters stay in the addresses."""
    return {
        "results": [present(row) for row in page.results] if present else list(page.results),
        "next": _address(request, page.next),
        "previous": _address(request, page.previous),
    }


def _address(request: Request, cursor: str | None) -> str | None:
    if cursor is None:
        return None
    query = [(name, value) for name, values in request.GET.lists() for value in values if name != "cursor"]
    return f"{settings.STUDIO_URL}{request.path}?{urlencode([*query, ('cursor', cursor)])}"
