"""Refusals: problems (RFC 9457), one shape for all of them under `/api/`; OpenAI's errors under `/v1/`."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.db import OperationalError
from django.http import Http404, HttpResponse
from rest_framework import exceptions
from rest_framework.response import Response

from accounts.api.bodies import problem_bytes, refusal_body, refusal_headers, status_of
from accounts.errors import StudioError, Unavailable
from accounts.logcontext import log_fields
from accounts.meters import count_refusal

log = logging.getLogger(__name__)

# Codes for what the framework itself refuses.
_CODES = {
    400: "invalid",
    401: "not_signed_in",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
}


def answer_exception(error: Exception, context: dict[str, Any]) -> Response:
    """The framework's hook: every exception of an API view as a refusal; what nobody expected is logged and a 500."""
    request = context.get("request")
    path = request.path if request is not None else ""
    if isinstance(error, OperationalError):
        log.warning("database does not answer: %s", error)
        error = Unavailable("the database does not answer; try again", retry_after_s=5)
    if isinstance(error, StudioError):
        return _answer(
            status_of(error, path),
            error.code,
            error.message,
            path=path,
            errors=error.fields,
            limit=error.limit,
            headers=refusal_headers(error, path=path),
        )
    status, code, detail, errors, headers = _of_framework(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("unexpected error", exc_info=error)
        # Django's own hook for whoever watches for crashes; the test client raises the error again.
        got_request_exception.send(sender=answer_exception, request=getattr(request, "_request", request))
    return _answer(status, code, detail, path=path, errors=errors, headers=headers)


def problem_response(error: StudioError, *, path: str = "") -> HttpResponse:
    """The same answer outside of the framework: for middleware and plain views."""
    count_refusal(error.code)
    status = status_of(error, path)
    body, media_type = refusal_body(
        status,
        error.code,
        error.message,
        path=path,
        request_id=_request_id(),
        errors=error.fields,
        limit=error.limit,
    )
    response = HttpResponse(
        problem_bytes(body), status=status, content_type=media_type, headers=refusal_headers(error, path=path)
    )
    response.problem_code = error.code  # type: ignore[attr-defined]  # for the access log
    return response


def _answer(
    status: int,
    code: str,
    detail: str,
    *,
    path: str,
    errors: dict[str, list[str]],
    headers: dict[str, str],
    limit: str | None = None,
) -> Response:
    count_refusal(code)
    body, media_type = refusal_body(
        status, code, detail, path=path, request_id=_request_id(), errors=errors, limit=limit
    )
    response = Response(body, status=status, headers=headers, content_type=media_type)
    response.problem_code = code  # type: ignore[attr-defined]  # for the access log, whatever the body's shape
    return response


def _of_framework(error: Exception) -> tuple[int, str, str, dict[str, list[str]], dict[str, str]]:
    """Status, code, detail, errors by field and headers for an exception of Django or its REST framework."""
    if isinstance(error, Http404):
        return 404, "not_found", "not found", {}, {}
    if isinstance(error, PermissionDenied):
        return 403, "not_allowed", str(error) or "you may not do this", {}, {}
    if isinstance(error, RequestDataTooBig):
        return 413, "body_too_large", str(error), {}, {}
    if isinstance(error, BadRequest | SuspiciousOperation):
        return 400, "invalid", str(error) or "the request cannot be understood", {}, {}
    if isinstance(error, exceptions.ValidationError):
        fields = _by_field(error.detail)
        first = next(((name, texts[0]) for name, texts in fields.items() if texts), ("", "invalid"))
        return 400, "invalid", ": ".join(word for word in first if word), fields, {}
    if isinstance(error, exceptions.APIException):
        headers: dict[str, str] = {}
        if isinstance(error, exceptions.MethodNotAllowed):
            return 405, _CODES[405], str(error.detail), {}, headers
        if getattr(error, "wait", None):
            headers["Retry-After"] = str(int(error.wait) + 1)  # type: ignore[attr-defined]  # Throttled has it
        code = getattr(error, "problem_code", None) or _CODES.get(error.status_code, "invalid")
        return error.status_code, code, str(error.detail), {}, headers
    return 500, "internal", "something went wrong on our side; the request id helps to find it in the log", {}, {}


def _by_field(detail: Any, prefix: str = "") -> dict[str, list[str]]:
    """Nested validation errors with dotted names: `{"loras": {0: {"name": […]}}}` gives `loras.0.name`."""
    if isinstance(detail, dict):
        pairs = [(str(name), value) for name, value in detail.items()]
    elif isinstance(detail, list) and any(isinstance(item, dict | list) for item in detail):
        pairs = [(str(index), value) for index, value in enumerate(detail) if value]
    else:
        return {prefix or "body": [str(text) for text in (detail if isinstance(detail, list) else [detail])]}
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        key = "body" if name == "non_field_errors" else name
        found.update(_by_field(value, f"{prefix}.{key}" if prefix else key))
    return found


def _request_id() -> str:
    return log_fields().get("request_id", "")
