"""Rows of upstreams: read as the gateway takes them, and checked by the very same reading."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from accounts.domain.sealed import Unreadable, seal, unseal
from generation.chat.targets import OPTIONAL_FIELDS, Upstream
from generation.chat.wire.bounds import Times

log = logging.getLogger(__name__)


def read_upstream(row: Mapping[str, Any], *, credential: str | None = None) -> Upstream:
    """An upstream by its columns. Raises `ValueError` for what cannot be one.

    `credential` stands for the sealed one. A sealed one that no key of this installation opens is as good as none: the
    upstream will refuse, and staff find why in the log.
    """
    return Upstream(
        id=row["slug"],
        kind=row["kind"],
        base_url=row["base_url"],
        name=row["slug"],
        credential=open_credential(row) if credential is None else credential,
        times=Times(connect=row["connect_s"], first_byte=row["first_byte_s"], idle=row["idle_s"], total=row["total_s"]),
        loading_s=row["loading_s"],
        concurrency=row["concurrency"],
        weight=row["weight"],
        fields=OPTIONAL_FIELDS if row["takes"] is None else OPTIONAL_FIELDS & frozenset(row["takes"]),
        link_local=row["link_local"],
        health_path=row["health_path"],
    )


def seal_credential(text: str) -> str:
    """A credential as its column holds it; nothing for none."""
    return seal(text) if text else ""


def open_credential(row: Mapping[str, Any]) -> str:
    """The credential in a row."""
    if not row["credential"]:
        return ""
    try:
        return str(unseal(row["credential"]))
    except (Unreadable, ImproperlyConfigured) as error:
        log.error("the credential of upstream %s cannot be read: %s", row["slug"], error)
        return ""
