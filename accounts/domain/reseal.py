"""Sealing anew, under the newest of `STUDIO_ENCRYPTION_KEYS`, whatever an older one has sealed, so that it may go.

Sealed are the e-mails that wait (or have failed), second factors, and what others have said here. What a session holds
of a factor that is being set up lives for minutes and is not looked for: with its key gone, the page shows another
secret.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from allauth.mfa.models import Authenticator
from django.db import models, transaction

from accounts.domain.sealed import Unreadable, reseal
from accounts.enums import ErrandKind
from accounts.models import Errand
from accounts.tenancy import across_tenants

log = logging.getLogger(__name__)

BATCH = 200  # keys of rows that are read at once
# What else is sealed: accounts does not know its tables.
reseal_others: dict[str, Callable[[], Resealed]] = {}
SEALED_IN_FACTORS = ("secret", "seed")  # of an app, of the recovery codes


@dataclass(slots=True)
class Resealed:
    """How many rows of one kind were looked at, were sealed anew, and cannot be read with any of the keys."""

    seen: int = 0
    resealed: int = 0
    unreadable: int = 0


def reseal_everything() -> dict[str, Resealed]:
    """Go through all that is sealed, under the worker's role; may run beside everything else, and again.

    Each row is a transaction of its own, in which it is locked: whoever sends the mail or spends a code meanwhile comes
    before or after it, and nothing that they write is lost.
    """
    with across_tenants():
        mails = Errand.objects.filter(kind=ErrandKind.SEND_MAIL)
        return {
            "mails": _reseal_rows(mails, lambda data: data | {"sealed": reseal(data["sealed"])}),
            "factors": _reseal_rows(Authenticator.objects.all(), _reseal_factor),
            **{name: reseal_these() for name, reseal_these in reseal_others.items()},
        }


def _reseal_factor(data: dict[str, Any]) -> dict[str, Any]:
    return data | {name: reseal(data[name]) for name in SEALED_IN_FACTORS if name in data}


def _reseal_rows(rows: models.QuerySet[Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> Resealed:
    found = Resealed()
    for pk in _keys_of(rows):
        with transaction.atomic():
            row = rows.select_for_update().filter(pk=pk).first()
            if row is None:
                continue  # sent, or taken away, in between
            found.seen += 1
            try:
                data = change(row.data)
            except Unreadable as error:
                found.unreadable += 1
                log.error("%s %s: %s", row._meta.verbose_name, pk, error)
                continue
            if data != row.data:
                rows.filter(pk=pk).update(data=data)
                found.resealed += 1
    return found


def _keys_of(rows: models.QuerySet[Any]) -> Iterator[Any]:
    last: Any = None
    while True:
        after = rows if last is None else rows.filter(pk__gt=last)
        keys = list(after.order_by("pk").values_list("pk", flat=True)[:BATCH])
        yield from keys
        if len(keys) < BATCH:
            return
        last = keys[-1]
