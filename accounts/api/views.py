"""What every view of the API stands on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NoReturn, TypeVar

from django.http import Http404
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.api.rates import Rate, count_request
from accounts.domain.callers import Caller
from accounts.errors import InvalidRequest

R = TypeVar("R", bound=BaseRenderer)


class AlwaysJSON(BaseContentNegotiation):
    """Answers JSON whatever `Accept` says: a 406 helps nobody, and errors need a renderer too."""

    def select_parser(self, request: Request, parsers: Iterable[Any]) -> Any:
        wanted = (request.content_type or "application/json").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == wanted), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[R], format_suffix: str | None = None
    ) -> tuple[R, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type or "application/json"


class StudioView(APIView):
    """A view of the API: fetch, call one domain function, answer.

    `required_scopes` names the scope for each method; the request runs in the caller's tenant.
    """

    content_negotiation_class = AlwaysJSON
    required_scopes: ClassVar[dict[str, str]] = {}

    @property
    def caller(self) -> Caller:
        """Who is calling; permissions have made sure that there is somebody."""
        caller = self.request.auth
        if not isinstance(caller, Caller):
            raise TypeError("StudioView.caller needs the permission HasScope")
        return caller


class CountedView(StudioView):
    """A route that counts its requests, and tells the caller how many are left."""

    rate: Rate | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Before any work: a method that there is, credentials, and a place in the caller's minute."""
        if not hasattr(self, str(request.method).lower()):
            raise MethodNotAllowed(str(request.method))  # not a matter of scopes, so before them
        super().initial(request, *args, **kwargs)
        self.rate = count_request(self.caller)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """The rest of the caller's minute goes into the headers; a refusal for another limit keeps its own."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        for name, value in (self.rate.headers() if self.rate else {}).items():
            answer.headers.setdefault(name, value)
        answer.headers.setdefault("Cache-Control", "no-store")
        return answer


def read_object(request: Request) -> Mapping[str, Any]:
    """The body, which must be a JSON object."""
    if not isinstance(request.data, dict):
        raise InvalidRequest("the body must be a JSON object", field="body")
    return request.data


def check_parameters(request: Request, *allowed: str) -> None:
    """Refuse query parameters that the route does not know: a misspelt filter would silently show everything."""
    unknown = sorted(set(request.query_params) - set(allowed))
    if unknown:
        raise InvalidRequest(
            f"unknown query parameter {unknown[0][:60]!r}, this route knows {', '.join(allowed) or 'none'}",
            field=unknown[0][:60],
        )


class NoSuchRoute(APIView):
    """Whatever no route matches: the same problem for every method, with or without credentials."""

    content_negotiation_class = AlwaysJSON
    authentication_classes = ()
    permission_classes = ()
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> NoReturn:
        raise Http404
