"""What every view of the API stands on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, NoReturn, TypeVar

from django.http import Http404
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.domain.callers import Caller

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


class NoSuchRoute(APIView):
    """Whatever no route matches: the same problem for every method, with or without credentials."""

    content_negotiation_class = AlwaysJSON
    authentication_classes = ()
    permission_classes = ()
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> NoReturn:
        raise Http404
