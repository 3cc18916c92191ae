"""What the middleware writes into the audit log about requests that were refused."""

from __future__ import annotations

import logging

from django.db import DatabaseError
from django.http.response import HttpResponseBase

from accounts.domain.denials import record_denial
from accounts.domain.keys import SHOWN_CHARS, key_is_wellformed
from accounts.errors import InvalidKey, StudioError
from accounts.web.requests import StudioRequest

log = logging.getLogger(__name__)


def note_wrong_key(request: StudioRequest, error: InvalidKey, *, secret: str) -> None:
    """A key that is unknown, expired or revoked. One that cannot be a key at all costs no query, so no event either."""
    if key_is_wellformed(secret):
        prefix = secret[:SHOWN_CHARS]
        record_denial(
            "key.refused",
            tenant=error.tenant,
            address=request.client_address,
            credential=prefix,
            detail={"code": error.code, "prefix": prefix},
        )


def note_refusal(request: StudioRequest, response: HttpResponseBase) -> None:
    """A 403 of a caller whom we know, or of a credential whose tenant lets nobody in."""
    caller, error = request.caller, request.caller_error
    tenant = caller.tenant if caller else error.tenant if error else None
    if response.status_code != 403 or tenant is None:
        return
    user = caller.user if caller else request.person.pk if request.person else None
    key = caller.key if caller else error.key if error else None
    try:
        record_denial(
            "denied",
            tenant=tenant,
            user=user,
            key=key,
            address=request.client_address,
            target=_what(request),
            detail={"code": _code(response, error)},
        )
    except DatabaseError:  # the answer stands; only its note is lost
        log.warning("a refusal could not be noted", exc_info=True)


def _what(request: StudioRequest) -> str:
    """The method and the route, without ids."""
    match = request.resolver_match
    return f"{request.method} /{match.route if match else ''}"


def _code(response: HttpResponseBase, error: StudioError | None) -> str:
    found = getattr(response, "problem_code", None)
    return str(found or (error.code if error else "not_allowed"))
