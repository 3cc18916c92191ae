"""Exports: everything that a tenant has, as one file that waits a week to be fetched.

Here are the rows and their rules; the file is written by an errand (`generation/domain/export.py`), because pictures
are generation's. A tenant has one export under way at most, and one file: a new one takes the old one's place.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.domain.audit import record
from accounts.domain.callers import Caller
from accounts.domain.errands import add_errand
from accounts.domain.mail import queue_mail
from accounts.domain.pages import Page, read_page
from accounts.domain.roles import Right
from accounts.enums import ErrandKind, ExportStatus
from accounts.errors import ExportUnderWay, NotFound
from accounts.models import Errand, Export, Tenant, User

KEPT = timedelta(days=7)
UNDER_WAY = (ExportStatus.WAITING, ExportStatus.RUNNING)
PATH = "/team/organisation/"


def request_export(*, by: Caller) -> Export:
    """Ask for an export. Raises `NotAllowed`, `ExportUnderWay`."""
    by.require(Right.EXPORT_TENANT)
    with transaction.atomic():
        Tenant.objects.select_for_update().get(pk=by.tenant)  # two clicks at once are counted one after the other
        for other in Export.objects.filter(status__in=UNDER_WAY):
            if _has_errand(other.pk):
                raise ExportUnderWay
            fail_export(other.pk, "it was interrupted too often")
        export: Export = Export.objects.create(tenant_id=by.tenant, requested_by=by.user)
        add_errand(kind=ErrandKind.EXPORT, ref=export.pk, tenant=by.tenant)
        record("export.asked", target=f"export:{export.pk}")
    return export


def list_exports(*, by: Caller, cursor: str | None, limit: int) -> Page[Export]:
    """The tenant's, newest first. Raises `NotAllowed`, `InvalidField`."""
    by.require(Right.EXPORT_TENANT)
    return read_page(Export.objects.all(), cursor=cursor, limit=limit)


def get_export(*, by: Caller, export_id: UUID) -> Export:
    """One of them. Raises `NotAllowed`, `NotFound`."""
    by.require(Right.EXPORT_TENANT)
    export: Export | None = Export.objects.filter(pk=export_id).first()
    if export is None:
        raise NotFound("no such export")
    return export


def export_url(export: Export) -> str | None:
    """Where its file is served, while it is there."""
    return f"{settings.STUDIO_URL}/files/exports/{export.pk}" if _is_there(export) else None


def fetch_export(*, by: Caller, export_id: UUID) -> Export:
    """One whose file is there, to be sent. Raises `NotAllowed`, `NotFound`."""
    export = get_export(by=by, export_id=export_id)
    if not _is_there(export):
        raise NotFound("no such export")
    record("export.fetched", target=f"export:{export.pk}")
    return export


# ---- the errand's side: in the tenant's scope, under the worker's role


def begin_export(export_id: UUID, *, total: int) -> bool:
    """Whether there is still something to do."""
    rows = Export.objects.filter(pk=export_id, status__in=UNDER_WAY)
    return bool(rows.update(status=ExportStatus.RUNNING, done=0, total=total))


def note_progress(export_id: UUID, *, done: int) -> None:
    """How many of the pictures are in the file."""
    Export.objects.filter(pk=export_id).update(done=done)


def finish_export(export_id: UUID, *, file: str, size: int, done: int) -> None:
    """The file is there: note it, tell who asked, and let the older ones expire."""
    now = timezone.now()
    with transaction.atomic():
        export: Export = Export.objects.select_for_update().get(pk=export_id)
        export.status, export.file, export.bytes, export.done = ExportStatus.READY, file, size, done
        export.finished_at, export.expires_at = now, now + KEPT
        export.save()
        older = Export.objects.filter(status=ExportStatus.READY).exclude(pk=export_id)
        for expired in (export, *older):
            due_at = export.expires_at if expired.pk == export_id else now
            add_errand(
                kind=ErrandKind.EXPORT, ref=expired.pk, data={"expire": True}, tenant=export.tenant_id, due_at=due_at
            )
        record("export.ready", target=f"export:{export_id}", detail={"bytes": size, "images": done})
        _tell_asker(export)


def fail_export(export_id: UUID, reason: str) -> None:
    """It cannot be made."""
    rows = Export.objects.filter(pk=export_id, status__in=UNDER_WAY)
    if rows.update(status=ExportStatus.FAILED, error=reason[:200], finished_at=timezone.now()):
        record("export.failed", target=f"export:{export_id}", result="failed", detail={"reason": reason[:200]})


def expire_export(export_id: UUID) -> None:
    """Its file is gone."""
    rows = Export.objects.filter(pk=export_id).exclude(status=ExportStatus.FAILED)
    rows.update(file="", status=ExportStatus.EXPIRED)


def _is_there(export: Export) -> bool:
    ready = export.status == ExportStatus.READY
    return ready and export.expires_at is not None and export.expires_at > timezone.now()


def _has_errand(export_id: UUID) -> bool:
    return Errand.objects.filter(kind=ErrandKind.EXPORT, ref=export_id, failed_at=None).exists()


def _tell_asker(export: Export) -> None:
    asker = None if export.requested_by is None else User.objects.filter(pk=export.requested_by).first()
    if asker is None or export.expires_at is None:
        return
    tenant = Tenant.objects.get(pk=export.tenant_id)
    context = {
        "tenant": tenant.name,
        "until": f"{export.expires_at:%Y-%m-%d}",
        "link": f"{settings.STUDIO_URL}{PATH}",
    }
    queue_mail("export_ready", to=asker.email, language=asker.language, context=context, tenant=tenant.pk)
