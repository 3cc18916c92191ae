"""Event streams where the async door is not in front of Django (`qwenstudio/door/streams.py` is the real thing)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from accounts.api.views import CountedView
from accounts.enums import Scope
from generation.api import descriptions as describe
from generation.api.sse import PREAMBLE, render_event, state_event
from generation.domain.gallery import get_generation, list_active


class GenerationEventsView(CountedView):
    """The stream of one generation, where the async door is not in front: the present state, and come again."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": Scope.IMAGES_READ.value}

    @extend_schema(**describe.GENERATION_EVENTS)
    def get(self, request: Request, generation: UUID) -> HttpResponse:
        """One event; a client of event streams asks again after two seconds, so it works, only slower."""
        return answer_stream([get_generation(generation)])


class CallerEventsView(CountedView):
    """The stream of all the caller's work, where the async door is not in front."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": Scope.IMAGES_READ.value}

    @extend_schema(**describe.CALLER_EVENTS)
    def get(self, request: Request) -> HttpResponse:
        """One event for each generation under way."""
        return answer_stream(list_active(self.caller.user))


def answer_stream(bodies: Iterable[Mapping[str, Any]]) -> HttpResponse:
    """A stream that has said all it knows."""
    content = b"".join([PREAMBLE, *(render_event(*state_event(body)) for body in bodies)])
    return HttpResponse(content, content_type="text/event-stream; charset=utf-8")
