"""Removing generations for good: their rows now, their files by an errand of the same transaction. The ledger stays.

Zips that hold one of their pictures go with them (`withdraw.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from accounts.domain.errands import ClaimedErrand, add_errand, errand
from accounts.domain.media import delete_files
from accounts.domain.stored import move_stored
from accounts.enums import ErrandKind
from accounts.tenancy import current_tenant
from generation.domain.inputends import release_inputs
from generation.domain.withdraw import withdraw_zips
from generation.enums import FINAL
from generation.errors import GenerationNotFound, NotFinished
from generation.models import Generation, Idempotency, Image, Receipt


@dataclass(frozen=True, slots=True)
class Removed:
    """What became of several: those that were deleted, and how many were left because they have not ended."""

    ids: tuple[UUID, ...]
    left: int


def remove_generation(id: UUID) -> None:
    """Delete an ended generation with its images and receipts, and take them off the tenant's storage.

    Raises `GenerationNotFound`, `NotFinished`.
    """
    with transaction.atomic():
        _lock_keys([id])
        row = Generation.objects.select_for_update().filter(pk=id).first()
        if row is None:
            raise GenerationNotFound
        if row.status not in FINAL:
            raise NotFinished("this generation has not ended yet: cancel it first")
        _remove([id])


def remove_ended(ids: Sequence[UUID]) -> Removed:
    """The same for several, in one transaction; what has not ended stays, what is gone already is fine.

    Some hundred at once: the transaction holds their rows, and the tenant's, while it runs.
    """
    with transaction.atomic():
        _lock_keys(ids)
        rows = Generation.objects.select_for_update().filter(pk__in=ids).order_by("pk")  # nobody waits in a ring
        found = list(rows.values_list("pk", "status"))
        ended = [id for id, status in found if status in FINAL]
        if ended:
            _remove(ended)
    return Removed(tuple(ended), len(found) - len(ended))


def _lock_keys(ids: Sequence[UUID]) -> None:
    """Before the generations, as everybody (`submit.py`): one that is given up at this moment frees its key first."""
    list(Idempotency.objects.select_for_update().filter(generation_id__in=ids).order_by("pk").values_list("pk"))


def _remove(ids: Sequence[UUID]) -> None:
    images = list(
        Image.objects.filter(generation_id__in=ids).values_list("file", "thumbnail", "bytes", "thumbnail_bytes")
    )
    Receipt.objects.filter(image__generation_id__in=ids).delete()
    Image.objects.filter(generation_id__in=ids).delete()
    Idempotency.objects.filter(generation_id__in=ids).delete()
    input_bytes, input_files = release_inputs(ids)
    Generation.objects.filter(pk__in=ids).delete()
    paths = [path for file, thumbnail, _, _ in images for path in (file, thumbnail)] + input_files
    if images:
        paths += withdraw_zips(ids)
    if paths:
        freed = input_bytes + sum(large + small for _, _, large, small in images)
        move_stored(tenant=current_tenant(), size=-freed)
        add_errand(kind=ErrandKind.DELETE_FILES, ref=ids[0], data={"paths": paths}, tenant=current_tenant())


@errand(ErrandKind.DELETE_FILES)
def delete_generation_files(claimed: ClaimedErrand) -> None:
    """Delete the named files; those that are gone already are fine."""
    own = f"{claimed.tenant}/"
    paths = [path for path in claimed.data["paths"] if str(path).startswith(own)]
    if len(paths) < len(claimed.data["paths"]):
        raise ValueError("an errand names files outside of its tenant's folder")
    delete_files(paths)
