"""Refusals in the audit log: one event for each caller, action and minute, however often they try.

The event's id is made of just these, so that the database itself lets the second one of a minute pass by, whichever
process writes it. Who has no credential of ours is counted by place, and all places share `STRANGERS` events a minute:
whoever has many addresses cannot fill the table either.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from uuid import UUID

from accounts.domain.audit import current_actor
from accounts.domain.places import place_of
from accounts.logcontext import log_fields
from accounts.models import AuditEvent
from accounts.tenancy import across_tenants, in_tenant

STRANGERS = 60
REMEMBERED = 10_000
_written: set[UUID] = set()  # by this process: who is refused a thousand times a minute costs one statement


def record_denial(
    action: str,
    *,
    tenant: UUID | None,
    user: UUID | None = None,
    key: UUID | None = None,
    address: str | None = None,
    credential: str = "",
    target: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Note that somebody was refused, in the tenant's log or (without one) in the installation's.

    The caller is the key, else the person, else what `credential` says of a key that is none, else the place.
    """
    caller = str(key or user or (credential if tenant else "") or _slot_of(address))
    event = AuditEvent(
        id=_id_of(str(tenant), action, caller),
        tenant_id=tenant,
        action=action,
        result="denied",
        target=target[:120],
        detail=dict(detail or {}),
        user=user,
        key=key,
        address=address or current_actor().address,
        request_id=log_fields().get("request_id", "")[:40],
    )
    if event.id in _written:
        return
    with across_tenants() if tenant is None else in_tenant(tenant):
        AuditEvent.objects.bulk_create([event], ignore_conflicts=True)
    if len(_written) >= REMEMBERED:
        _written.clear()
    _written.add(event.id)


def _slot_of(address: str | None) -> str:
    return str(sha256(place_of(address).encode()).digest()[0] % STRANGERS)


def _id_of(*words: str) -> UUID:
    """A UUIDv7 whose time is the minute's beginning and whose other bits are the words'."""
    minute = int(time.time()) // 60
    bits = sha256("\n".join([*words, str(minute)]).encode()).digest()
    value = (minute * 60_000) << 80 | int.from_bytes(bits[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)
