"""The errand at the end of a tenant: everything that is its own goes, from the disk, the tables and Redis.

It comes twice for a tenant that an owner wants deleted. At once, to cancel what waits and runs; and when the days of
grace are over, to remove. A tenant that was kept meanwhile is left alone. Everything is done in small transactions and
may be done again: a worker that is killed in the middle is followed by another one, which goes on.
"""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from graphlib import TopologicalSorter
from typing import Literal
from uuid import UUID

from django.apps import apps
from django.db import models, transaction

from accounts.domain.audit import record
from accounts.domain.errands import ClaimedErrand, Lease, errand
from accounts.domain.media import media_path
from accounts.domain.sql import execute, fetch_one
from accounts.enums import ErrandKind
from accounts.models import AuditEvent, LedgerEntry
from accounts.tenancy import across_tenants, in_tenant
from generation.domain.cancel import cancel_generation
from generation.enums import Status
from generation.errors import AlreadyFinished, GenerationNotFound
from generation.models import Generation
from generation.queue.progress import forget_tenant

log = logging.getLogger(__name__)

BATCH = 2000  # rows in one transaction
# No role of the application deletes from these; the owner's function does (`accounts.rls.allow_erasing`).
APPEND_ONLY = (LedgerEntry, AuditEvent)

State = Literal["kept", "closing", "due", "gone"]

_STATE_SQL = """
SELECT delete_after IS NOT NULL AS closing, coalesce(delete_after <= now(), false) AS due
  FROM accounts_tenant WHERE id = %(tenant)s
"""


class StillRunning(Exception):
    """A worker has not let go of a generation yet; the errand comes again."""


@errand(ErrandKind.DELETE_TENANT)
def delete_tenant(claimed: ClaimedErrand) -> None:
    """Cancel a closing tenant's work, and remove it when its time has come. Raises `StillRunning`, `LeaseLost`."""
    tenant, lease = claimed.ref, Lease(claimed)
    if tenant is None:
        raise ValueError("the errand names no tenant")
    state = state_of_tenant(tenant)
    if state == "kept":
        return
    if state != "gone":
        running = stop_work(tenant, lease=lease)
        if state == "closing":
            return
        if running:
            raise StillRunning(f"{running} generations are being drawn")
        _erase(tenant, lease=lease)
    # Also after a tenant is gone: whoever was killed between the two leaves files.
    remove_folder(tenant)
    forget_tenant(tenant)


def state_of_tenant(tenant: UUID) -> State:
    """Whether a tenant is to be deleted, by the database's clock."""
    with in_tenant(tenant):
        row = fetch_one(_STATE_SQL, tenant=tenant)
    if row is None:
        return "gone"
    return "due" if row["due"] else "closing" if row["closing"] else "kept"


def stop_work(tenant: UUID, *, lease: Lease) -> int:
    """Cancel what a tenant has waiting and running; returns how many a worker still has in hand."""
    with in_tenant(tenant):
        active = Generation.objects.filter(status__in=(Status.QUEUED, Status.RUNNING))
        for identity in list(active.values_list("pk", flat=True)):
            lease.keep()
            with suppress(AlreadyFinished, GenerationNotFound):
                cancel_generation(identity)
        return active.count()


def tenant_tables() -> list[tuple[str, str]]:
    """(table, column that names the tenant) of every model that has one, those that point to others first.

    The tenant's own row is not among them: it goes last. A model that comes later is found by itself.
    """
    named = {model._meta.db_table: model for model in apps.get_models(include_auto_created=True) if _column(model)}
    order: TopologicalSorter[str] = TopologicalSorter()
    for table, model in named.items():
        order.add(table)
        for field in model._meta.concrete_fields:
            parent = field.remote_field.model._meta.db_table if isinstance(field, models.ForeignKey) else ""
            if parent in named and parent != table:
                order.add(parent, table)
    return [(table, _column(named[table])) for table in order.static_order()]


def remove_folder(tenant: UUID) -> None:
    """Delete every file of a tenant. Raises OSError."""
    folder = media_path(str(tenant))
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _column(model: type[models.Model]) -> str:
    """The column by which a model's rows name their tenant, or nothing."""
    fields = {field.name: field for field in model._meta.concrete_fields}
    return str(fields["tenant"].column) if "tenant" in fields and model._meta.managed else ""


def _erase(tenant: UUID, *, lease: Lease) -> None:
    remove_folder(tenant)
    counts: dict[str, int] = {}
    append_only = {model._meta.db_table for model in APPEND_ONLY}
    # Workers see all tenants, and tables that belong to none name this one too.
    for table, column in tenant_tables():
        if table not in append_only:
            counts[table] = _delete_rows(table, column, tenant, lease=lease)
    counts["history"] = _delete_history(tenant, lease=lease)
    with across_tenants(), transaction.atomic():
        # Django's history of the admin knows it by name.
        execute("DELETE FROM django_admin_log WHERE object_id = %(tenant)s", tenant=str(tenant))
        # Not by the ORM, which would first look for what points here, in tables that nobody may delete from.
        execute("DELETE FROM accounts_tenant WHERE id = %(tenant)s", tenant=tenant)
        # The installation's event, the only thing that remains: that there was one, not what it was called.
        record("tenant.deleted", target=f"tenant:{tenant}", detail={name: n for name, n in counts.items() if n})
    log.info("a tenant was deleted", extra={"tenant": str(tenant), "rows": sum(counts.values())})


def _delete_rows(table: str, column: str, tenant: UUID, *, lease: Lease) -> int:
    sql = (
        f"DELETE FROM {table} WHERE ctid = ANY(ARRAY("  # noqa: S608  (names of our own models)
        f"SELECT ctid FROM {table} WHERE {column} = %(tenant)s LIMIT %(most)s))"
    )
    total = 0
    while True:
        lease.keep()
        with across_tenants():
            deleted = execute(sql, tenant=tenant, most=BATCH)
        total += deleted
        if not deleted:
            return total


def _delete_history(tenant: UUID, *, lease: Lease) -> int:
    total = 0
    while True:
        lease.keep()
        with across_tenants():
            row = fetch_one("SELECT erase_history(%(tenant)s, %(most)s) AS erased", tenant=tenant, most=BATCH)
        erased = int(row["erased"]) if row else 0
        total += erased
        if not erased:
            return total
