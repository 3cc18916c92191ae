"""The outermost layer of the WSGI side: a request id, one access log line, the security headers."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from accounts.domain.addresses import is_trusted_proxy
from accounts.ids import uuid7
from accounts.logcontext import bind_log
from qwenstudio import notify
from qwenstudio.headers import security_headers
from qwenstudio.logs import hide_tokens
from qwenstudio.metrics.requests import count_answer

access_log = logging.getLogger("qwenstudio.access")

_CLIENT_ID = re.compile(r"[\w.:-]{1,64}")  # anything else would let a client write into our log lines
_QUIET = ("/static/", "/healthz", "/metrics")  # logged at debug level


class RequestMiddleware:
    """Binds the request id to every log line written meanwhile, and answers with it.

    The id is always ours; a client's own `X-Request-ID` is logged beside it and never forwarded.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        # The async front answers some routes itself and hands the rest on with the id that it has made.
        request_id = request.META.get("studio.request_id") or uuid7().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        forget_foreign_scheme(request)
        with bind_log(request_id=request_id, client_request_id=_client_id(request)):
            response = self.get_response(request)
            response.headers["X-Request-ID"] = request_id
            for name, value in security_headers(request.path_info).items():
                response.headers.setdefault(name, value)
            count_answer(request, response, seconds=time.perf_counter() - started)
            _log_access(request, response, started=started)
        notify.count_finished()
        return response


def forget_foreign_scheme(request: HttpRequest) -> None:
    """Whether the client came over TLS (`request.is_secure()`) only a trusted proxy may tell."""
    if not is_trusted_proxy(request.META.get("REMOTE_ADDR", ""), trusted=settings.STUDIO_TRUSTED_PROXIES):
        request.META.pop("HTTP_X_FORWARDED_PROTO", None)


def _client_id(request: HttpRequest) -> str | None:
    sent = request.headers.get("X-Request-ID", "")
    return sent if _CLIENT_ID.fullmatch(sent) else None


def _log_access(request: HttpRequest, response: HttpResponseBase, *, started: float) -> None:
    # The path without its query: prompts that people search for stay out of the log.
    fields = {
        "method": request.method,
        "path": hide_tokens(request.path_info),
        "status": response.status_code,
        "ms": round((time.perf_counter() - started) * 1000, 1),
        "bytes": len(response.content) if isinstance(response, HttpResponse) else None,
        **_who_and_why(request, response),
    }
    level = logging.DEBUG if request.path_info.startswith(_QUIET) else logging.INFO
    access_log.log(level, "%(method)s %(path)s %(status)s", fields, extra=fields)


def _who_and_why(request: HttpRequest, response: HttpResponseBase) -> dict[str, str]:
    """The key's id, and the code of a refusal: what `manage.py daily` counts by."""
    caller = getattr(request, "caller", None)
    key = caller.key if caller is not None else None
    found = {"key": key, "code": getattr(response, "problem_code", None)}
    return {name: str(value) for name, value in found.items() if value}
