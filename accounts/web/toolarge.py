"""Bodies over the cap: nobody reads them, so a form in one would look like a form without its token."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render


def is_too_large(request: HttpRequest) -> bool:
    """Whether a form's body is longer than what the server in front reads. The API says so by itself."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    cap = settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0
    return length.isdigit() and int(length) > cap and not request.path.startswith(("/api/", "/v1/"))


def too_large_page(request: HttpRequest) -> HttpResponseBase:
    """413, for people."""
    return render(request, "413.html", status=413)
