"""Writing the ledger: whoever writes an event a second time is refused, with all that it came with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from uuid import UUID

from accounts.domain.sql import execute
from accounts.enums import EntryKind, Metric
from accounts.errors import AlreadySettled
from accounts.ids import uuid7

# Skips an event that is there already: fewer rows than asked for means somebody was faster.
_ENTRIES_SQL = """
INSERT INTO accounts_ledgerentry
       (id, tenant_id, event_id, kind, metric, amount, ref, "user", key, reason, label, charged_on, created_at)
SELECT e.id, %(tenant)s, e.event_id, %(kind)s, e.metric, e.amount, %(ref)s, %(user)s, %(key)s, %(reason)s, %(label)s,
       %(charged_on)s, now()
  FROM unnest(%(ids)s::uuid[], %(events)s::text[], %(metrics)s::text[], %(amounts)s::bigint[])
       AS e (id, event_id, metric, amount)
ON CONFLICT (tenant_id, event_id) DO NOTHING
"""


def write_entries(
    *,
    kind: EntryKind,
    step: str,
    ref: UUID,
    tenant: UUID,
    user: UUID | None,
    key: UUID | None,
    charged_on: date,
    amounts: Mapping[Metric, int],
    reason: str = "",
    label: str = "",
) -> None:
    """Raises `AlreadySettled` where one of the events is in the ledger already."""
    written = execute(
        _ENTRIES_SQL,
        tenant=tenant,
        kind=kind.value,
        ref=ref,
        user=user,
        key=key,
        charged_on=charged_on,
        reason=reason,
        label=label,
        ids=[uuid7() for _ in amounts],
        events=[f"{ref}:{step}:{Metric(metric).value}" for metric in amounts],
        metrics=[Metric(metric).value for metric in amounts],
        amounts=list(amounts.values()),
    )
    if written != len(amounts):
        raise AlreadySettled(f"{ref} has been charged or refunded before")
