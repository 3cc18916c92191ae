"""Receipts: how a picture was made, signed by this installation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

from generation.errors import FileNotFound
from generation.models import Receipt

_SALT = "generation.receipt"


def sign_receipt(body: Mapping[str, Any]) -> str:
    """HMAC-SHA-256 in hexadecimal over the body as canonical JSON (sorted keys, no blanks)."""
    return _sign(body, settings.SECRET_KEY)


def find_receipt(image: UUID) -> dict[str, Any]:
    """`{receipt, signature}` of an image; raises `FileNotFound`. Runs in the tenant's scope."""
    row = Receipt.objects.filter(image_id=image).values("body", "signature").first()
    if row is None:
        raise FileNotFound
    return {"receipt": row["body"], "signature": row["signature"]}


def receipt_is_ours(body: Mapping[str, Any], signature: str) -> bool:
    """Whether this installation signed exactly this body, also with a secret that it had before."""
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return any(constant_time_compare(_sign(body, secret), signature) for secret in secrets)


def _sign(body: Mapping[str, Any], secret: str) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return salted_hmac(_SALT, text, secret=secret, algorithm="sha256").hexdigest()
