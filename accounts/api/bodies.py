"""What an error looks like on the wire. Knows neither Django nor its REST framework: the async door uses it too."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson

from accounts.errors import Kind, QuotaExceeded, StudioError

PROBLEM_TYPE = "application/problem+json"

STATUS_OF_KIND: dict[Kind, int] = {
    "invalid": 400,
    "unauthenticated": 401,
    "denied": 403,
    "missing": 404,
    "conflict": 409,
    "mismatch": 422,
    "limited": 429,
    "unavailable": 503,
}
DEFAULT_RETRY_S = 5


def status_of(error: StudioError) -> int:
    """The HTTP status of a refusal."""
    return STATUS_OF_KIND[error.kind]


def problem_body(
    status: int,
    code: str,
    detail: str,
    *,
    instance: str = "",
    request_id: str = "",
    errors: Mapping[str, list[str]] | None = None,
    limit: str | None = None,
) -> dict[str, Any]:
    """The members of RFC 9457, our `code` and `request_id`, `errors` by field and `limit` where there are any."""
    body: dict[str, Any] = {
        "type": f"urn:qwenstudio:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
        "request_id": request_id,
    }
    if errors:
        body["errors"] = dict(errors)
    if limit:
        body["limit"] = limit
    return body


def problem_bytes(body: Mapping[str, Any]) -> bytes:
    """A problem as the bytes of its JSON."""
    return orjson.dumps(body)


def problem_headers(error: StudioError) -> dict[str, str]:
    """The headers that a refusal carries besides its body (`RateLimit*` in the syntax of the IETF's draft 11)."""
    if error.kind == "unauthenticated":
        return {"WWW-Authenticate": 'Bearer realm="QwenStudio"'}
    if error.kind not in ("limited", "unavailable") and error.retry_after_s is None:
        return {}
    retry_s = error.retry_after_s or DEFAULT_RETRY_S
    headers = {"Retry-After": str(retry_s)}
    if isinstance(error, QuotaExceeded):
        headers["RateLimit"] = f'"{error.limit}";r=0;t={retry_s}'
        if error.quota is not None and error.window_s is not None:
            headers["RateLimit-Policy"] = f'"{error.limit}";q={error.quota};w={error.window_s}'
    return headers
