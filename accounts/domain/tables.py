"""What an export says about people, keys, limits and history: tables as names, rows and fields; no secrets in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Model, QuerySet

from accounts.models import (
    ApiKey,
    AuditEvent,
    Export,
    Invitation,
    LedgerEntry,
    MemberBudget,
    Membership,
    Tenant,
)

CHUNK = 200  # rows at once: the longest prompts would make 50 MB of them


@dataclass(frozen=True, slots=True)
class Table:
    """One table of an export. `fields` are the ORM's names; in the file a field may have another one."""

    name: str
    rows: Callable[[], QuerySet[Any]]
    fields: tuple[str, ...]
    names: tuple[str, ...] = ()
    change: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None = None

    @property
    def header(self) -> tuple[str, ...]:
        """The fields' names in the file."""
        return self.names or self.fields

    def read(self) -> Iterator[list[tuple[Any, ...]]]:
        """All rows in the order of their ids, a piece at a time: memory does not grow with the table."""
        last: Any = None
        while True:
            rows = self.rows().order_by("pk")
            found = list((rows.filter(pk__gt=last) if last else rows).values_list("pk", *self.fields)[:CHUNK])
            if not found:
                return
            last = found[-1][0]
            yield [self.change(row[1:]) if self.change else row[1:] for row in found]


def _of(model: type[Model]) -> Callable[[], QuerySet[Any]]:
    return lambda: model._default_manager.all()  # made where it is called: a tenant's manager filters by the scope


def account_tables(tenant: UUID) -> list[Table]:
    """The tables of accounts, read in the tenant's scope."""
    return [
        Table(
            "members",
            lambda: Membership.objects.filter(tenant_id=tenant),
            ("user_id", "user__email", "user__name", "role", "created_at"),
            ("user", "email", "name", "role", "joined_at"),
        ),
        Table(
            "invitations",
            _of(Invitation),
            ("id", "email", "role", "invited_by", "created_at", "expires_at", "accepted_at", "accepted_by",
             "revoked_at"),
        ),
        Table(
            "keys",
            _of(ApiKey),
            ("id", "user_id", "name", "prefix", "scopes", "networks", "limits", "created_at", "expires_at",
             "revoked_at", "last_used_at", "last_used_ip"),
            ("id", "user", "name", "prefix", "scopes", "networks", "limits", "created_at", "expires_at",
             "revoked_at", "last_used_at", "last_used_ip"),
        ),
        Table("budgets", _of(MemberBudget), ("user_id", "limits"), ("user", "limits")),
        Table(
            "ledger",
            _of(LedgerEntry),
            ("id", "event_id", "kind", "metric", "amount", "ref", "user", "key", "reason", "charged_on", "created_at"),
        ),
        Table(
            "audit",
            _of(AuditEvent),
            ("id", "created_at", "action", "result", "target", "user", "key", "address", "request_id", "detail"),
        ),
        Table("exports", _of(Export), ("id", "requested_by", "status", "created_at", "finished_at", "bytes")),
    ]  # fmt: skip


def settings_of(tenant: UUID) -> dict[str, Any]:
    """The tenant's own settings. What staff note about it is theirs."""
    row = Tenant.objects.select_related("plan").get(pk=tenant)
    return {
        "id": row.pk,
        "name": row.name,
        "created_at": row.created_at,
        "plan": row.plan.slug,
        "limits": row.limits,
        "networks": row.networks,
        "keeps_chats": row.keeps_chats,
        "logo": bool(row.logo),
        "stored_bytes": row.stored_bytes,
    }
