"""Looking at one's tenant's generations. A page costs the same number of statements however long it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_datetime

from accounts.domain.pages import DEFAULT_LIMIT, Page, parse_flag, read_page, time_is_plain
from accounts.domain.sql import fetch_all, fetch_one
from accounts.errors import InvalidField
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
MAX_QUERY_CHARS = 200
MAX_PAGE_CHARS = 500_000
"""Of prompts in one page: a hundred of the longest would be an answer of 26 MB. Such a page is shorter, and goes on."""

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


def list_generations(
    *,
    q: str | None = None,
    status: str | None = None,
    model: str | None = None,
    starred: str | bool | None = None,
    created_after: str | datetime | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page[dict[str, Any]]:
    """The tenant's generations, newest first; filters as they stand in a query string. Raises `InvalidField`."""
    rows: QuerySet[Generation] = Generation.objects.all()
    if q:
        rows = rows.filter(prompt__icontains=_check_query("q", q))
    if status:
        rows = rows.filter(_status_filter(status))
    if model:
        rows = rows.filter(model_id=_check_query("model", model))
    wanted = starred if isinstance(starred, bool) else parse_flag("starred", starred)
    if wanted is not None:
        rows = rows.filter(starred=wanted)
    if created_after:
        rows = rows.filter(created_at__gt=_read_time("created_after", created_after))
    page = read_page(rows.values(*GENERATION_COLUMNS), cursor=cursor, limit=limit, weigh=_text_of, most=MAX_PAGE_CHARS)
    return Page(results=present_rows(page.results), next=page.next, previous=page.previous)


def list_active(user: UUID | None) -> list[dict[str, Any]]:
    """What a member has under way, oldest first."""
    rows = Generation.objects.filter(user=user, status__in=(Status.QUEUED, Status.RUNNING)).order_by("created_at", "id")
    return present_rows(list(rows.values(*GENERATION_COLUMNS)[:MAX_ACTIVE]))


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


def _text_of(row: Mapping[str, Any]) -> int:
    return len(row["prompt"]) + len(row["negative_prompt"])


def _status_filter(status: str) -> Q:
    if status not in Status.values:
        raise InvalidField(f"status must be one of {', '.join(Status.values)}", field="status")
    between = Q(status=Status.QUEUED, done__gt=0)  # between two turns: people see it running
    if status == Status.RUNNING:
        return Q(status=Status.RUNNING) | between
    if status == Status.QUEUED:
        return Q(status=Status.QUEUED, done=0)
    return Q(status=status)


def _check_query(name: str, text: str) -> str:
    if len(text) > MAX_QUERY_CHARS:
        raise InvalidField(f"{name} is too long, max {MAX_QUERY_CHARS} chars", field=name)
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidField(f"{name} holds characters that no text here can have", field=name)
    return text


def _read_time(name: str, value: str | datetime) -> datetime:
    try:
        time = value if isinstance(value, datetime) else parse_datetime(value.replace(" ", "+"))
    except ValueError:
        time = None
    if time is None or not time_is_plain(time):
        raise InvalidField(f"{name} must be a time with its zone, such as 2026-01-31T12:00:00Z", field=name)
    return time
