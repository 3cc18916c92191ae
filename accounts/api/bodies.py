"""What an error looks like on the wire. Knows neither Django nor its REST framework: the async door uses it too."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson

from accounts.api.openai.errors import is_openai, openai_body, openai_status, retry_headers
from accounts.errors import Kind, QuotaExceeded, StudioError

PROBLEM_TYPE = "application/problem+json"
JSON_TYPE = "application/json"

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


def status_of(error: StudioError, path: str = "") -> int:
    """The HTTP status of a refusal; OpenAI's where the path is."""
    status = STATUS_OF_KIND[error.kind]
    return openai_status(error.code, status) if is_openai(path) else status


def refusal_body(
    status: int,
    code: str,
    detail: str,
    *,
    path: str,
    request_id: str = "",
    errors: Mapping[str, list[str]] | None = None,
    limit: str | None = None,
) -> tuple[dict[str, Any], str]:
    """What a refusal says under this path, and its media type: OpenAI's error under `/v1/`, else a problem."""
    if is_openai(path):
        return openai_body(status, code, detail, fields=errors), JSON_TYPE
    body = problem_body(status, code, detail, instance=path, request_id=request_id, errors=errors, limit=limit)
    return body, PROBLEM_TYPE


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


def refusal_headers(error: StudioError, *, path: str) -> dict[str, str]:
    """The headers of a refusal under this path."""
    return problem_headers(error) | (retry_headers(error) if is_openai(path) else {})


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
