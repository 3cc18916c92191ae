"""`/metrics` behind WSGI: before the check of host names (Prometheus asks 127.0.0.1) and before any limit."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from qwenstudio.metrics.access import may_read
from qwenstudio.metrics.show import CONTENT_TYPE, show_metrics


class MetricsMiddleware:
    """Answers those who may read; for everybody else there is no such page, as for any other that is not there."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info != "/metrics" or request.method not in ("GET", "HEAD"):
            return self.get_response(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        if not may_read(remote=request.META.get("REMOTE_ADDR", ""), headers=headers):
            return self.get_response(request)
        return HttpResponse(show_metrics(), content_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})
