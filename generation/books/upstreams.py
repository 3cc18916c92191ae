"""Rows of upstreams: read as the gateway takes them, and checked by the very same reading."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from accounts.domain.reseal import Resealed, reseal_others
from accounts.domain.sealed import Unreadable, reseal, seal, unseal
from generation.chat.targets import OPTIONAL_FIELDS, Upstream
from generation.chat.wire.bounds import Times
from generation.models import Upstream as Row

log = logging.getLogger(__name__)

OPTIONAL = tuple(sorted(OPTIONAL_FIELDS))


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


def check_takes(takes: Sequence[str] | None) -> None:
    """Raises `ValueError` for a field that is not an optional one."""
    if unknown := sorted(set(takes or ()) - OPTIONAL_FIELDS):
        raise ValueError(f"takes: there is no optional field {unknown[0]!r}; there are {', '.join(OPTIONAL)}")


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


def reseal_credentials() -> Resealed:
    """Seal all of them under the newest key. A row that is changed meanwhile comes before or after it."""
    found = Resealed()
    for slug in list(Row.objects.exclude(credential="").values_list("slug", flat=True)):
        with transaction.atomic():
            row = Row.objects.select_for_update().filter(slug=slug).exclude(credential="").first()
            if row is None:
                continue
            found.seen += 1
            try:
                sealed = reseal(row.credential)
            except Unreadable as error:
                found.unreadable += 1
                log.error("the credential of upstream %s: %s", slug, error)
                continue
            if sealed != row.credential:
                Row.objects.filter(slug=slug).update(credential=sealed)
                found.resealed += 1
    return found


reseal_others["upstreams"] = reseal_credentials
