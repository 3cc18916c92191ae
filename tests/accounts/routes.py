"""Routes that only tests have: one for every way in which an answer can be made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path, re_path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.permissions import ANYBODY_KNOWN
from accounts.api.serializers import StrictSerializer
from accounts.api.views import NoSuchRoute, StudioView
from accounts.domain.audit import current_actor
from accounts.domain.left import usage_left
from accounts.enums import Scope
from accounts.errors import NotFound, QuotaExceeded
from accounts.logcontext import log_fields
from accounts.models import ApiKey
from accounts.tenancy import current_scope

PAGE = "{% for key in keys %}{{ key.name }};{% endfor %}"


def lazy_page(request: HttpRequest) -> TemplateResponse:
    """A page whose rows are read when it is rendered, after the view has returned."""
    return TemplateResponse(request, engines["django"].from_string(PAGE), {"keys": ApiKey.objects.order_by("name")})


def lazy_without_managers(request: HttpRequest) -> TemplateResponse:
    """The same with nothing but the database's policies."""
    keys = ApiKey._base_manager.order_by("name")
    return TemplateResponse(request, engines["django"].from_string(PAGE), {"keys": keys})


def streamed_csv(request: HttpRequest) -> StreamingHttpResponse:
    """Rows that are read while the client reads, one query each."""

    def lines() -> Iterator[str]:
        yield "name\n"
        for offset in range(ApiKey._base_manager.count()):
            yield ApiKey._base_manager.order_by("name")[offset].name + "\n"

    return StreamingHttpResponse(lines(), content_type="text/csv")


def who(request: HttpRequest) -> JsonResponse:
    """What the middleware found out."""
    caller = request.caller  # type: ignore[attr-defined]
    error = request.caller_error  # type: ignore[attr-defined]
    scope, actor = current_scope(), current_actor()
    return JsonResponse(
        {
            "caller": caller
            and {"tenant": str(caller.tenant), "user": str(caller.user), "key": caller.key and str(caller.key)},
            "error": error and error.code,
            "tenant": scope.tenant and str(scope.tenant),
            "across": scope.across,
            "actor": [actor.user and str(actor.user), actor.key and str(actor.key), actor.address],
            "log": log_fields(),
        }
    )


def database_down(request: HttpRequest) -> HttpResponse:
    raise OperationalError("no connection")


class Echo(StudioView):
    """Answers what it got."""

    required_scopes: ClassVar[dict[str, str]] = {
        "GET": Scope.IMAGES_READ,
        "POST": Scope.IMAGES_WRITE,
        "PUT": ANYBODY_KNOWN,
    }

    def get(self, request: Request) -> Response:
        return Response({"tenant": self.caller.tenant, "left": [left.limit for left in usage_left(self.caller)]})

    def post(self, request: Request) -> Response:
        return Response({"data": request.data, "sha256": request.body_sha256})

    def put(self, request: Request) -> Response:
        return Response({"role": self.caller.role})

    def delete(self, request: Request) -> Response:
        raise AssertionError("no scope is named for DELETE, so it is closed")


class Small(Echo):
    """Takes small bodies only."""

    max_body_bytes = 64


class Named(StrictSerializer):
    name = serializers.CharField(max_length=5)
    made = serializers.CharField(read_only=True)


class Strict(StudioView):
    """Takes one field."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": ANYBODY_KNOWN}

    def post(self, request: Request) -> Response:
        form = Named(data=request.data)
        form.is_valid(raise_exception=True)
        return Response(form.validated_data)


class Raises(StudioView):
    """Raises what its address names."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": ANYBODY_KNOWN}

    def get(self, request: Request, what: str) -> Response:
        errors: dict[str, Any] = {
            "missing": NotFound("no such thing"),
            "quota": QuotaExceeded("used up", limit="images_per_day", retry_after_s=60, quota=10, window_s=86_400),
            "database": OperationalError("connection refused"),
            "crash": ZeroDivisionError("secret detail"),
        }
        raise errors[what]


urlpatterns = [
    path("lazy/", lazy_page),
    path("lazy-raw/", lazy_without_managers),
    path("csv/", streamed_csv),
    path("who/", who),
    path("admin/who/", who),
    path("healthz", who),
    path("api/who", who),
    path("api/v1/echo", Echo.as_view()),
    path("api/v1/small", Small.as_view()),
    path("api/v1/strict", Strict.as_view()),
    path("api/v1/raises/<str:what>", Raises.as_view()),
    re_path("^api/", NoSuchRoute.as_view()),
]
