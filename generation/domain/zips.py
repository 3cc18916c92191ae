"""The errand of a zip: its file is made piece by piece, or its day is over.

Pictures are stored as they are, compressed already. Memory does not grow with their number or size. A worker that is
killed leaves a file without a name, which the next one removes before it begins anew. A picture that is deleted while
the zip is made does not stay in it: the zip is made once more without it.
"""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from uuid import UUID

from django.db.models import Sum

from accounts.domain.errands import MAX_ATTEMPTS, ClaimedErrand, Interrupted, Lease, LeaseLost, errand
from accounts.domain.media import delete_files, media_path, open_atomic
from accounts.enums import ErrandKind
from accounts.tenancy import current_tenant
from generation.domain.pace import NoRoom, Pace, check_room, clear_unfinished
from generation.domain.selections import begin_zip, expire_zip, fail_selection, finish_zip, note_progress
from generation.models import Image, Selection

log = logging.getLogger(__name__)

CHUNK = 200  # generations whose images are looked up at once
MOST_TRIES = 5  # of a zip whose pictures are deleted while it is made


@dataclass(slots=True)
class Written:
    """What is in a zip: how many pictures, and of which generations."""

    images: int = 0
    generations: dict[UUID, None] = field(default_factory=dict)  # each once, in their order


@errand(ErrandKind.ZIP)
def make_zip(claimed: ClaimedErrand) -> None:
    """Make the zip that the errand names, or let it expire. Runs in the tenant's scope."""
    if claimed.ref is None:
        raise ValueError("the errand names no zip")
    path = zip_path(current_tenant(), claimed.ref)
    if claimed.data.get("expire"):
        _drop(path)
        expire_zip(claimed.ref)
        return
    try:
        _make(claimed.ref, path, lease=Lease(claimed))
    except (LeaseLost, Interrupted):
        raise
    except NoRoom as error:
        fail_selection(claimed.ref, str(error))
    except Exception:
        if claimed.attempt >= MAX_ATTEMPTS:
            fail_selection(claimed.ref, "it went wrong on our side; the operators of this studio can see why")
            _drop(path)
        raise


def zip_path(tenant: UUID, selection: UUID) -> str:
    """Where its file lies, under `STUDIO_MEDIA`: in a folder of its own."""
    return f"{tenant}/zips/{selection}/pictures.zip"


def _make(selection: UUID, path: str, *, lease: Lease) -> None:
    for _ in range(MOST_TRIES):
        row = begin_zip(selection)
        if row is None or _write(row, path, lease=lease):
            return
        _drop(path)
    fail_selection(selection, "its pictures were deleted while it was made")


def _write(row: Selection, path: str, *, lease: Lease) -> bool:
    """One try; False where a picture was deleted after it had been written."""
    clear_unfinished(path)
    sums = Image.objects.filter(generation_id__in=row.ids).aggregate(bytes=Sum("bytes"))
    check_room(int(sums["bytes"] or 0))
    with open_atomic(path) as file:
        pace = Pace(file, lease=lease, note=lambda done: note_progress(row.pk, done=done))
        written = write_pictures(file, row.ids, pace=pace)
        size = file.seek(0, os.SEEK_END)
    lease.keep()
    images, ids = written.images, list(written.generations)
    if not images:
        _drop(path)
        fail_selection(row.pk, "its pictures were deleted")
        return True
    if not finish_zip(row.pk, file=path, size=size, done=images, ids=ids):
        return False
    log.info("zip is ready", extra={"selection": str(row.pk), "bytes": size, "images": images})
    return True


def write_pictures(file: BinaryIO, generations: Sequence[UUID], *, pace: Pace) -> Written:
    """Write the zip of these generations' pictures; returns what is in it."""
    written = Written()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True, strict_timestamps=False) as bundle:
        for image in _images(generations):
            path = media_path(image["file"])
            with suppress(FileNotFoundError):  # one that was removed meanwhile is no fault
                bundle.write(path, name_of(image))
                written.images += 1
                written.generations[image["generation_id"]] = None
            pace.keep(written.images)
    return written


def name_of(image: dict[str, Any]) -> str:
    """A picture's name in the zip: when it was asked for, which one it is; names sort by time."""
    generation: UUID = image["generation_id"]
    when = image["generation__created_at"]
    ending = os.path.splitext(image["file"])[1]
    return f"{when:%Y%m%d-%H%M%S}-{generation.hex[-12:]}-{image['index'] + 1}{ending}"


def _images(generations: Sequence[UUID]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(generations), CHUNK):
        rows = Image.objects.filter(generation_id__in=generations[start : start + CHUNK])
        rows = rows.order_by("generation__created_at", "generation_id", "index")
        yield from rows.values("generation_id", "generation__created_at", "index", "file")


def _drop(path: str) -> None:
    delete_files([path])
    with suppress(OSError):  # no such folder; or somebody has put something into it
        media_path(path).parent.rmdir()
