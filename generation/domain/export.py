"""The errand of an export: its file is made, or its week is over.

A worker that is killed leaves a file without a name, which the next one removes before it begins anew.
"""

from __future__ import annotations

import logging
import os
from uuid import UUID

from django.db.models import Sum

from accounts.domain.errands import MAX_ATTEMPTS, ClaimedErrand, Interrupted, Lease, LeaseLost, errand
from accounts.domain.exports import begin_export, expire_export, fail_export, finish_export
from accounts.domain.media import delete_files, open_atomic
from accounts.enums import ErrandKind
from accounts.tenancy import current_tenant
from generation.domain.bundle import Bundle
from generation.domain.pace import NoRoom, check_room, clear_unfinished
from generation.models import Image, InputFile

log = logging.getLogger(__name__)


@errand(ErrandKind.EXPORT)
def export_tenant(claimed: ClaimedErrand) -> None:
    """Make the export that the errand names, or let it expire. Runs in the tenant's scope."""
    if claimed.ref is None:
        raise ValueError("the errand names no export")
    path = export_path(current_tenant(), claimed.ref)
    if claimed.data.get("expire"):
        delete_files([path])
        expire_export(claimed.ref)
        return
    try:
        _make(claimed.ref, path, lease=Lease(claimed))
    except (LeaseLost, Interrupted):
        raise
    except NoRoom as error:
        fail_export(claimed.ref, str(error))
    except Exception:
        if claimed.attempt >= MAX_ATTEMPTS:
            fail_export(claimed.ref, "it went wrong on our side; the operators of this studio can see why")
        raise


def export_path(tenant: UUID, export: UUID) -> str:
    """Where its file lies, under `STUDIO_MEDIA`."""
    return f"{tenant}/exports/{export}.zip"


def _make(export: UUID, path: str, *, lease: Lease) -> None:
    sums = Image.objects.aggregate(bytes=Sum("bytes"))
    inputs = InputFile.objects.aggregate(bytes=Sum("bytes"))
    total = Image.objects.count()
    if not begin_export(export, total=total):
        return
    clear_unfinished(path)
    check_room(int(sums["bytes"] or 0) + int(inputs["bytes"] or 0))
    with open_atomic(path) as file:
        done = Bundle(file, export=export, lease=lease).write_all()
        size = file.seek(0, os.SEEK_END)
    lease.keep()
    finish_export(export, file=path, size=size, done=done)
    log.info("export is ready", extra={"export": str(export), "bytes": size, "images": done})
