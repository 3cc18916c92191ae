"""Looking at one's tenant's generations: one, those under way, their images. Lists are in `history.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from accounts.domain.sql import fetch_all, fetch_one
from generation.domain.present import (
    GENERATION_COLUMNS,
    GENERATION_SQL,
    IMAGES_SQL,
    PLACE_SQL,
    present_generation,
    read_place,
)
from generation.enums import Status
from generation.errors import GenerationNotFound
from generation.models import Generation

MAX_ACTIVE = 200

_IMAGE_SQL = """
SELECT id, generation_id, index, file, thumbnail, format, sha256, bytes, width, height, created_at
  FROM generation_image WHERE id = %(id)s
"""


def get_generation(id: UUID) -> dict[str, Any]:
    """One generation's JSON; raises `GenerationNotFound`."""
    rows = fetch_all(GENERATION_SQL, ids=[id])
    if not rows:
        raise GenerationNotFound
    return present_rows(rows)[0]


def list_active(user: UUID | None) -> list[dict[str, Any]]:
    """What a member has under way, oldest first."""
    rows = Generation.objects.filter(user=user, status__in=(Status.QUEUED, Status.RUNNING)).order_by("created_at", "id")
    return present_rows(list(rows.values(*GENERATION_COLUMNS)[:MAX_ACTIVE]))


def asker_of(id: UUID) -> UUID | None:
    """Who asked for a generation; the JSON does not tell, because not every member may know who the others are."""
    return Generation.objects.filter(pk=id).values_list("user", flat=True).first()


def find_image(id: UUID) -> dict[str, Any] | None:
    """One of the tenant's images, with its paths under `STUDIO_MEDIA`; None where there is no such."""
    return fetch_one(_IMAGE_SQL, id=id)


def present_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows (`GENERATION_COLUMNS`) as JSON, with their images and places: two more statements, however many rows."""
    if not rows:
        return []
    images: dict[UUID, list[dict[str, Any]]] = {}
    for image in fetch_all(IMAGES_SQL, ids=[row["id"] for row in rows]):
        images.setdefault(image["generation_id"], []).append(image)
    waiting = [row["id"] for row in rows if row["status"] == Status.QUEUED]
    places = {row["id"]: read_place(row) for row in fetch_all(PLACE_SQL, ids=waiting)} if waiting else {}
    return [present_generation(row, images.get(row["id"], []), places.get(row["id"])) for row in rows]
