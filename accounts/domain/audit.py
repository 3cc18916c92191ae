"""The audit log: who, what, when, from where, with which result. Never a prompt, never a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from accounts.logcontext import log_fields
from accounts.models import AuditEvent
from accounts.tenancy import across_tenants, current_scope


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts at this point, and from which address; `session` is the key of a browser's."""

    user: UUID | None = None
    key: UUID | None = None
    address: str | None = None
    session: str | None = None


_actor: ContextVar[Actor] = ContextVar("audit_actor", default=Actor())  # noqa: B039  (frozen)


def current_actor() -> Actor:
    """The actor in force here; an empty one outside of requests."""
    return _actor.get()


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Events recorded inside the block name this actor; the doors enter it once per request."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def record(
    action: str,
    *,
    target: str = "",
    result: str = "ok",
    detail: Mapping[str, Any] | None = None,
    tenant: UUID | None = None,
    personal: bool = False,
) -> AuditEvent:
    """Write one event in the transaction of what it tells about; the tenant is the one in scope unless given.

    Outside of any tenant (sign-ins, staff) the event belongs to the installation; so does a `personal` one, which is a
    person's own business (password, second factor, sessions), whichever tenant they look at meanwhile.
    """
    scope = current_scope()
    actor = _actor.get()
    outside = personal or (not scope.across and scope.tenant is None)
    with across_tenants() if outside else nullcontext():
        return AuditEvent.objects.create(
            tenant_id=tenant or (None if personal else scope.tenant),
            action=action,
            result=result,
            target=target[:120],
            detail=dict(detail or {}),
            user=actor.user,
            key=actor.key,
            address=actor.address,
            request_id=log_fields().get("request_id", "")[:40],
        )
