"""What the routes of generation have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import StudioView
from generation.api.rates import Rate, count_request
from generation.errors import InvalidRequest

IDEMPOTENCY_CHARS = 255


class GenerationView(StudioView):
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


def read_idempotency_key(request: Request) -> str | None:
    """`Idempotency-Key`, quoted (as its draft wants it) or bare; None where it is absent. Raises `InvalidRequest`."""
    sent = request.headers.get("Idempotency-Key")
    if sent is None:
        return None
    key = sent.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 1 <= len(key) <= IDEMPOTENCY_CHARS or not key.isascii() or not key.isprintable():
        raise InvalidRequest(
            f"Idempotency-Key must have 1 to {IDEMPOTENCY_CHARS} printable ASCII characters", field="Idempotency-Key"
        )
    return key


def answer_submitted(generation: UUID, body: Mapping[str, Any], *, replayed: bool) -> Response:
    """202 with the address of what was accepted."""
    headers = {"Location": f"{settings.STUDIO_URL}/api/v1/images/{generation}"}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return Response(body, status=202, headers=headers)
