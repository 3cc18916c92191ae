"""Ledgers that tests read: work that was done on chosen days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from accounts.enums import EntryKind, Metric
from accounts.ids import uuid7
from accounts.models import ApiKey, LedgerEntry
from accounts.tenancy import in_tenant
from tests.factories import Person


def day(ago: int) -> date:
    """The UTC day so many days ago."""
    return datetime.now(UTC).date() - timedelta(days=ago)


def worked(
    person: Person, *, images: int, gpu_ms: int = 0, ago: int = 0, key: ApiKey | None = None, model: str = "demo"
) -> UUID:
    """A finished piece of work: twice its cost set aside, half of it given back."""
    ref = uuid7()
    amounts: dict[Metric, int] = {Metric.IMAGES: images, Metric.GPU_MS: gpu_ms}
    rows: list[Any] = []
    for metric, amount in amounts.items():
        for kind, signed in ((EntryKind.RESERVE, 2 * amount), (EntryKind.SETTLE, -amount)):
            rows.append(
                LedgerEntry(
                    id=uuid7(),
                    tenant_id=person.tenant.pk,
                    event_id=f"{ref}:{kind.value}:{metric.value}",
                    kind=kind,
                    metric=metric,
                    amount=signed,
                    ref=ref,
                    user=person.user.pk,
                    key=key.pk if key else None,
                    label=model,
                    charged_on=day(ago),
                )
            )
    with in_tenant(person.tenant.pk):
        LedgerEntry.objects.bulk_create(rows)
    return ref
