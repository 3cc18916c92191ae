"""Refused streams in the audit log, as Django's side notes refused requests."""

from __future__ import annotations

import asyncio
import logging
import re

from django.db import DatabaseError, connection

from accounts.domain.denials import record_denial
from accounts.domain.keys import SHOWN_CHARS
from accounts.errors import InvalidKey, StudioError
from accounts.logcontext import bind_log
from qwenstudio.door.callers import Credential
from qwenstudio.door.http import Request

log = logging.getLogger(__name__)

_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


async def note_refused_stream(request: Request, error: StudioError, credential: Credential | None) -> None:
    """One event a minute for each caller; in a thread, because the ORM's connections are Django's side's."""
    wrong_key = isinstance(error, InvalidKey) and credential is not None
    if wrong_key or (error.kind == "denied" and error.tenant is not None):
        await asyncio.to_thread(_note, request, error, credential)


def _note(request: Request, error: StudioError, credential: Credential | None) -> None:
    prefix = (request.key or "")[:SHOWN_CHARS]
    wrong_key = isinstance(error, InvalidKey)
    try:
        with bind_log(request_id=request.id):
            record_denial(
                "key.refused" if wrong_key else "denied",
                tenant=error.tenant,
                user=credential.user if credential else None,
                key=error.key,
                address=request.address,
                credential=prefix,
                target="" if wrong_key else f"{request.method} {_ID.sub('<id>', request.path)}",
                detail={"code": error.code, **({"prefix": prefix} if wrong_key else {})},
            )
    except DatabaseError:  # the answer stands; only its note is lost
        log.warning("a refusal could not be noted", exc_info=True)
    finally:
        connection.close()
