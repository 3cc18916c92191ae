"""What many operations say about themselves, here and in generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers


class Shape(serializers.Serializer[Any]):
    """The JSON of an answer: described, never used to read or write."""


PROBLEM = {"$ref": "#/components/schemas/Problem"}  # accounts/api/schema.py puts it there
REFUSALS = {
    400: "Malformed JSON, an unknown field, or a value out of range; the message names the field and the bound.",
    401: "No, bad, expired or revoked key.",
    403: "Known, but not allowed: scope, role or address.",
    404: "Absent, or another tenant's: the two answers are identical.",
    409: "Not in this state; or the first request with this `Idempotency-Key` still runs.",
    413: "The body is too large.",
    415: "Not `application/json`.",
    422: "The same `Idempotency-Key` came with another body.",
    429: "Rate, quota or queue length, with `Retry-After`, `RateLimit` and `RateLimit-Policy`.",
    503: "The database does not answer, with `Retry-After`. Nothing was stored.",
}
ALWAYS = (401, 403, 429, 503)
BODY = (400, 413, 415)


def refusals(*statuses: int) -> dict[Any, Any]:
    """Problem answers for these statuses and for those that every operation may give."""
    return {
        (status, "application/problem+json"): OpenApiResponse(PROBLEM, description=REFUSALS[status])
        for status in sorted({*statuses, *ALWAYS})
    }


OPENAI_ERROR = {"$ref": "#/components/schemas/OpenAIError"}  # likewise


def openai_refusals(*statuses: int, words: Mapping[int, str] = REFUSALS) -> dict[Any, Any]:
    """The same in OpenAI's shape, for what stands under `/v1/`."""
    return {
        (status, "application/json"): OpenApiResponse(OPENAI_ERROR, description=words.get(status, "Our mistake."))
        for status in sorted({*statuses, *ALWAYS})
    }


def header(name: str, kind: Any, text: str, **more: Any) -> OpenApiParameter:
    """A request header."""
    return OpenApiParameter(name, kind, OpenApiParameter.HEADER, description=text, **more)


def answer_header(name: str, text: str, statuses: list[int]) -> OpenApiParameter:
    """An answer's header."""
    return OpenApiParameter(
        name, OpenApiTypes.STR, OpenApiParameter.HEADER, description=text, response=[str(status) for status in statuses]
    )


RETRY_AFTER = answer_header("Retry-After", "Seconds to wait before the next try.", [429, 503])
PAGE = [
    OpenApiParameter("cursor", OpenApiTypes.STR, description="From `next` or `previous`."),
    OpenApiParameter("limit", OpenApiTypes.INT, description="1 to 100, 30 without it."),
]
