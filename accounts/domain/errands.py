"""Errands: durable other work with lease and fence.

An errand is inserted in the transaction that wants it, so a crash or a flushed Redis loses none. Workers claim one at a
time; the finish says `WHERE fence = …`, so an errand whose lease ran out is finished by its new owner only. Handlers
may run more than once and must bear that.

Slow kinds are claimed apart from the quick ones, so that an export of hours holds up no e-mail. Their handlers call
`Lease.keep` while they work: it renews the lease, and ends them when it is lost or when their process is to end.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.domain.audit import record
from accounts.domain.sql import execute, fetch_one
from accounts.enums import ErrandKind
from accounts.errors import NotFound
from accounts.models import Errand
from accounts.tenancy import across_tenants, in_tenant

log = logging.getLogger(__name__)

LEASE_S = 300
MAX_ATTEMPTS = 8
RENEW_S = 30  # how often `Lease.keep` asks the database
BACK_OFF_S = 10  # doubled by every failed attempt
MAX_BACK_OFF_S = 3600
UNKNOWN_S = 3600  # how long a kind of errand that this release does not know is left to another one


SLOW = (
    ErrandKind.EXPORT,
    ErrandKind.DELETE_TENANT,
    ErrandKind.DELETE_PICTURES,
    ErrandKind.ZIP,
    ErrandKind.DELETE_SELECTED,
    ErrandKind.DELETE_EXPIRED,
)


class LeaseLost(Exception):
    """Another worker has the errand now: whatever is half done is that one's to do again."""


class Interrupted(Exception):
    """The process is to end: the errand goes back as it was, without having used an attempt."""


@dataclass(frozen=True, slots=True)
class ClaimedErrand:
    """One errand under our lease."""

    id: UUID
    tenant: UUID | None
    kind: str
    ref: UUID | None
    data: dict[str, Any]
    attempt: int
    fence: int


Handler = Callable[[ClaimedErrand], None]
Outcome = Literal["done", "retry", "failed", "lost"]

_handlers: dict[str, Handler] = {}

# Called after the commit of a transaction that added errands: whoever can wake a worker registers here.
on_errand_added: list[Callable[[], object]] = []

# Whether this process is to end: the worker registers its own question here.
is_ending: list[Callable[[], bool]] = []

# Lost leases count as attempts, so an errand that kills its worker ends as failed too.
_CLAIM_SQL = """
UPDATE accounts_errand SET fence = fence + 1, attempt = attempt + 1,
       lease_until = now() + make_interval(secs => %(lease_s)s)
 WHERE id = (
   SELECT id FROM accounts_errand
    WHERE failed_at IS NULL AND due_at <= now() AND (lease_until IS NULL OR lease_until < now()) AND attempt < %(most)s
      AND (%(slow)s::boolean IS NULL OR (kind = ANY(%(kinds)s)) = %(slow)s)
      AND (kind = ANY(%(known)s) OR due_at < now() - make_interval(secs => %(unknown_s)s))
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, tenant_id AS tenant, kind, ref, data, attempt, fence
"""
_GIVE_UP_SQL = """
UPDATE accounts_errand SET failed_at = now(), lease_until = NULL,
       error = CASE error WHEN '' THEN 'the worker was lost during the last attempt' ELSE error END
 WHERE failed_at IS NULL AND attempt >= %(most)s AND lease_until < now()
"""
_RENEW_SQL = """
UPDATE accounts_errand SET lease_until = now() + make_interval(secs => %(lease_s)s)
 WHERE id = %(id)s AND fence = %(fence)s
"""
_GIVE_BACK_SQL = """
UPDATE accounts_errand SET lease_until = NULL, attempt = attempt - 1 WHERE id = %(id)s AND fence = %(fence)s
"""
_DONE_SQL = "DELETE FROM accounts_errand WHERE id = %(id)s AND fence = %(fence)s"
_RETRY_SQL = """
UPDATE accounts_errand SET lease_until = NULL, error = %(error)s,
       failed_at = CASE WHEN attempt >= %(most)s THEN now() END,
       due_at = CASE WHEN attempt >= %(most)s THEN due_at ELSE now() + make_interval(secs => %(wait_s)s) END
 WHERE id = %(id)s AND fence = %(fence)s
"""


def errand(kind: ErrandKind) -> Callable[[Handler], Handler]:
    """Register the handler of a kind: `@errand(ErrandKind.DELETE_FILES)`; it raises to be called again later."""

    def register(handler: Handler) -> Handler:
        if kind.value in _handlers and _handlers[kind.value] is not handler:
            raise ValueError(f"errand {kind.value} has two handlers")
        _handlers[kind.value] = handler
        return handler

    return register


def add_errand(
    *,
    kind: ErrandKind,
    ref: UUID | None = None,
    data: Mapping[str, Any] | None = None,
    tenant: UUID | None,
    due_at: datetime | None = None,
) -> UUID:
    """Insert an errand in the current transaction and wake a worker after its commit; returns its id.

    Without a tenant the errand is the installation's own.
    """
    # The web role's policy lets an errand without a tenant pass only under the staff role.
    with across_tenants() if tenant is None else nullcontext():
        row = Errand.objects.create(
            tenant_id=tenant, kind=kind.value, ref=ref, data=dict(data or {}), due_at=due_at or timezone.now()
        )
    transaction.on_commit(_wake, robust=True)
    return row.id


class Lease:
    """A claimed errand's lease, for handlers that work long: call `keep` often, it asks only every `RENEW_S`."""

    def __init__(self, claimed: ClaimedErrand) -> None:
        self._claimed = claimed
        self._asked_at = time.monotonic()

    def keep(self) -> bool:
        """Renew the lease where it is time to; whether it was. Raises `LeaseLost` and `Interrupted`."""
        if any(ending() for ending in is_ending):
            raise Interrupted
        if time.monotonic() - self._asked_at < RENEW_S:
            return False
        self._asked_at = time.monotonic()
        with across_tenants():
            if not execute(_RENEW_SQL, id=self._claimed.id, fence=self._claimed.fence, lease_s=LEASE_S):
                raise LeaseLost
        return True


def claim_errand(worker: str, *, slow: bool | None = None) -> ClaimedErrand | None:
    """Take the errand that has been due longest, under a lease of `LEASE_S`; `None` when there is nothing to do.

    `slow` asks for the slow kinds only, or for the others only. A kind that this release does not know is left to the
    other lane's; after an hour nobody does it, and it fails here, where staff see it.
    """
    with across_tenants(), transaction.atomic():
        execute(_GIVE_UP_SQL, most=MAX_ATTEMPTS)
        kinds = [kind.value for kind in SLOW]
        row = fetch_one(
            _CLAIM_SQL,
            lease_s=LEASE_S,
            most=MAX_ATTEMPTS,
            slow=slow,
            kinds=kinds,
            known=list(_handlers),
            unknown_s=UNKNOWN_S,
        )
    if row is None:
        return None
    claimed = ClaimedErrand(**{**row, "data": json.loads(row["data"])})  # Django's connection leaves jsonb as text
    log.info("errand claimed", extra={"errand": str(claimed.id), "kind": claimed.kind, "worker": worker})
    return claimed


def retry_errand(errand_id: UUID) -> Errand:
    """Let a failed errand begin anew, with all its tries. For staff; raises `NotFound`."""
    with transaction.atomic():
        row = _lock_failed(errand_id)
        row.failed_at, row.attempt, row.lease_until, row.due_at = None, 0, None, Now()
        row.save(update_fields=["failed_at", "attempt", "lease_until", "due_at"])
        record("errand.retried", target=f"errand:{row.pk}", detail={"kind": row.kind}, tenant=row.tenant_id)
        transaction.on_commit(_wake, robust=True)
    return row


def drop_errand(errand_id: UUID) -> Errand:
    """Give a failed errand up for good: what it was to do never happens. For staff; raises `NotFound`."""
    with transaction.atomic():
        row = _lock_failed(errand_id)
        record("errand.dropped", target=f"errand:{row.pk}", detail={"kind": row.kind}, tenant=row.tenant_id)
        Errand.objects.filter(pk=row.pk).delete()
    return row


def _lock_failed(errand_id: UUID) -> Errand:
    row = Errand.objects.select_for_update().filter(pk=errand_id, failed_at__isnull=False).first()
    if row is None:
        raise NotFound("no such failed errand")
    return row


def run_errand(claimed: ClaimedErrand) -> Outcome:
    """Run one claimed errand in its tenant's scope and write down how it went."""
    try:
        handler = _handlers[claimed.kind]
        with across_tenants() if claimed.tenant is None else in_tenant(claimed.tenant):
            handler(claimed)
    except LeaseLost:
        return "lost"
    except Interrupted:
        with across_tenants():
            return "retry" if execute(_GIVE_BACK_SQL, id=claimed.id, fence=claimed.fence) else "lost"
    except Exception as error:  # whatever a handler raises is written into the row and tried again
        log.exception("errand failed", extra={"errand": str(claimed.id), "kind": claimed.kind})
        return _write_failure(claimed, f"{type(error).__name__}: {error}")
    with across_tenants():
        return "done" if execute(_DONE_SQL, id=claimed.id, fence=claimed.fence) else "lost"


def _write_failure(claimed: ClaimedErrand, error: str) -> Outcome:
    wait_s = min(MAX_BACK_OFF_S, BACK_OFF_S * 2 ** (claimed.attempt - 1))
    text = error.replace("\x00", "")[:500]  # PostgreSQL takes no NUL
    with across_tenants():
        kept = execute(_RETRY_SQL, id=claimed.id, fence=claimed.fence, error=text, wait_s=wait_s, most=MAX_ATTEMPTS)
    if not kept:
        return "lost"
    return "failed" if claimed.attempt >= MAX_ATTEMPTS else "retry"


def _wake() -> None:
    for hook in on_errand_added:
        hook()
