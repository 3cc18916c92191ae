"""What the submitting routes have in common: the key that keeps a request from being done twice, and the 202."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import InvalidRequest

IDEMPOTENCY_CHARS = 255


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
