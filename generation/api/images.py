"""/api/v1/images: ask for pictures, look at them, cancel, retry, remove."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.pagination import page_body
from accounts.api.views import CountedView, check_parameters, read_object
from accounts.domain.pages import parse_limit
from accounts.enums import Scope
from generation.api import descriptions as describe
from generation.api.base import answer_submitted, read_idempotency_key
from generation.api.forms import PARSERS, read_request
from generation.domain.cancel import cancel_generation
from generation.domain.gallery import get_generation
from generation.domain.history import FILTERS, list_generations, read_filters
from generation.domain.remove import remove_generation
from generation.domain.request import parse_request
from generation.domain.retry import retry_generation
from generation.domain.star import star_generation
from generation.domain.submit import submit_generation

READ, WRITE = Scope.IMAGES_READ.value, Scope.IMAGES_WRITE.value


class ImagesView(CountedView):
    """Submit and list."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": READ, "POST": WRITE}
    parser_classes = PARSERS
    max_body_bytes = settings.PICTURE_BODY_BYTES

    @extend_schema(**describe.LIST)
    def get(self, request: Request) -> Response:
        """The tenant's generations, newest first."""
        check_parameters(request, *FILTERS, "cursor", "limit")
        query = request.query_params
        filters = read_filters(query, by=self.caller)
        page = list_generations(filters, cursor=query.get("cursor"), limit=parse_limit(query.get("limit")))
        return Response(page_body(request, page))

    @extend_schema(**describe.SUBMIT)
    def post(self, request: Request) -> Response:
        """Ask for pictures: answered at once, drawn in turn."""
        submitted = submit_generation(
            caller=self.caller,
            request=parse_request(read_request(request)),
            idempotency_key=read_idempotency_key(request),
            body_sha256=getattr(request, "body_sha256", None),
        )
        return answer_submitted(submitted.id, get_generation(submitted.id), replayed=submitted.replayed)


class ImageView(CountedView):
    """One generation."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": READ, "PATCH": WRITE, "DELETE": WRITE}

    @extend_schema(**describe.READ)
    def get(self, request: Request, generation: UUID) -> Response:
        """As it is now."""
        check_parameters(request)
        return Response(get_generation(generation))

    @extend_schema(**describe.CHANGE)
    def patch(self, request: Request, generation: UUID) -> Response:
        """Star it, or take the star away."""
        star_generation(generation, data=read_object(request))
        return Response(get_generation(generation))

    @extend_schema(**describe.REMOVE)
    def delete(self, request: Request, generation: UUID) -> Response:
        """Remove the generation, its images and their files for good."""
        remove_generation(generation)
        return Response(status=204)


class CancelView(CountedView):
    """Cancel."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": WRITE}

    @extend_schema(**describe.CANCEL)
    def post(self, request: Request, generation: UUID) -> Response:
        """A waiting one ends now, a running one within a second and a step."""
        cancel_generation(generation)
        return Response(get_generation(generation))


class RetryView(CountedView):
    """Retry."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": WRITE}

    @extend_schema(**describe.RETRY)
    def post(self, request: Request, generation: UUID) -> Response:
        """The same request once more, as a generation of its own."""
        submitted = retry_generation(generation, self.caller)
        return answer_submitted(submitted.id, get_generation(submitted.id), replayed=submitted.replayed)


class VaryView(CountedView):
    """Vary."""

    required_scopes: ClassVar[dict[str, str]] = {"POST": WRITE}

    @extend_schema(**describe.VARY)
    def post(self, request: Request, generation: UUID) -> Response:
        """The same request with another seed, as a generation of its own."""
        submitted = retry_generation(generation, self.caller, vary=True)
        return answer_submitted(submitted.id, get_generation(submitted.id), replayed=submitted.replayed)
