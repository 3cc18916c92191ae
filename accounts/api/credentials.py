"""An API key in the headers of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCHEMES = ("bearer", "token")


def key_of(headers: Mapping[str, Any]) -> str | None:
    """The key in WSGI's names of `Authorization: Bearer|Token …` or `X-Api-Key`; `None` when neither was sent.

    Another scheme of `Authorization` (a proxy's own Basic password) is not ours and counts as absent.
    """
    scheme, _, secret = str(headers.get("HTTP_AUTHORIZATION", "")).strip().partition(" ")
    if scheme.lower() in SCHEMES:
        return secret.strip()
    found = headers.get("HTTP_X_API_KEY")
    return None if found is None else str(found).strip()
