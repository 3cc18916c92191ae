"""How requests to pages and API are counted: by the route's name, never by the path."""

from __future__ import annotations

from django.conf import settings
from django.db import connection
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts.meters import count_request, show_pool
from accounts.meters.share import share

UNCOUNTED = ("/healthz", "/readyz", "/metrics")  # asked by machines all day long
UNKNOWN = "unknown"


def share_web_numbers() -> None:
    """At a server's start: count beside this machine's other processes, and show the pool of database connections."""
    if "pool" in settings.DATABASES["default"].get("OPTIONS", {}):
        show_pool("pages", lambda: getattr(connection, "pool", None), most=settings.DB_POOL)
    share(settings.PROCESS)


def count_answer(request: HttpRequest, response: HttpResponseBase, *, seconds: float) -> None:
    """One answer of Django's. What the async door asks on the way to its own answer is counted there."""
    if request.path_info in UNCOUNTED or request.META.get("studio.inner"):
        return
    count_request(route=route_of(request), method=request.method or "", status=response.status_code, seconds=seconds)


def route_of(request: HttpRequest) -> str:
    """The name of the route; `admin` for all of the admin, `static` for files, `unknown` for what is not there."""
    match = request.resolver_match
    if match is None:
        return "static" if request.path_info.startswith(settings.STATIC_URL) else UNKNOWN
    if match.route.startswith(("admin/", "^admin/")):
        return "admin"
    return match.url_name or UNKNOWN
