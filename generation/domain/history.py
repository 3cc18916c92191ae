"""The history: a tenant's generations, newest first, narrowed to what somebody looks for.

A page costs the same number of statements however long the history is, and little time however deep it lies.
`docs/history.md` has what was measured, and why searching is done as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import BigIntegerField, ExpressionWrapper, F, Q, QuerySet, Value
from django.db.models.functions import Cast, Coalesce, Lower, StrIndex
from django.db.models.lookups import GreaterThan
from django.utils.dateparse import parse_datetime

from accounts.domain.callers import Caller
from accounts.domain.pages import DEFAULT_LIMIT, Page, parse_flag, read_page, time_is_plain
from accounts.domain.roles import Right
from accounts.errors import InvalidField, NotFound
from accounts.ids import read_id
from accounts.models import Membership
from generation.domain.gallery import present_rows
from generation.domain.present import GENERATION_COLUMNS
from generation.domain.request import MAX_IMAGES
from generation.domain.searchtext import terms_of
from generation.engine.request import MAX_SEED
from generation.enums import Status
from generation.models import Generation

FILTERS = ("q", "status", "model", "starred", "created_after", "created_before", "size", "seed", "member")
MAX_QUERY_CHARS = 200
MAX_SIDE = 65_536
MAX_PAGE_CHARS = 500_000
"""Of prompts in one page: a hundred of the longest would be an answer of 26 MB. Such a page is shorter, and goes on."""
_SIDES = 2 * MAX_SIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What the history is narrowed to; all of it holds."""

    q: str = ""
    status: str = ""
    model: str = ""
    starred: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    size: tuple[int, int] | None = None
    seed: int | None = None
    member: UUID | None = None


EVERYTHING = Filters()


def read_filters(query: Mapping[str, str], *, by: Caller) -> Filters:
    """The filters of a query string. Raises `InvalidField`, and `NotFound` for a member whom the caller may not see."""
    return Filters(
        q=_read_text("q", query.get("q")),
        status=_read_status(query.get("status")),
        model=_read_text("model", query.get("model")),
        starred=parse_flag("starred", query.get("starred")),
        created_after=_read_time("created_after", query.get("created_after")),
        created_before=_read_time("created_before", query.get("created_before")),
        size=_read_size(query.get("size")),
        seed=_read_seed(query.get("seed")),
        member=_read_member(query.get("member"), by),
    )


def list_generations(
    filters: Filters = EVERYTHING, *, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page[dict[str, Any]]:
    """A page of the tenant's generations as JSON, newest first. Raises `InvalidField` for a cursor that is none."""
    rows = narrow(filters).values(*GENERATION_COLUMNS)
    page = read_page(rows, cursor=cursor, limit=limit, weigh=_text_of, most=MAX_PAGE_CHARS)
    return Page(results=present_rows(page.results), next=page.next, previous=page.previous)


def list_ids(filters: Filters = EVERYTHING, *, most: int) -> list[UUID]:
    """The ids of what the filters find, newest first, at most so many."""
    return list(narrow(filters).order_by("-created_at", "-id").values_list("pk", flat=True)[:most])


def narrow(filters: Filters) -> QuerySet[Generation]:
    """The tenant's generations that the filters leave."""
    rows: QuerySet[Generation] = Generation.objects.all()
    for term in terms_of(filters.q):
        # No LIKE: under row-level security the planner may not ask the table's statistics about it, takes every
        # pattern for a rare one, and reads the whole history for a word that each line holds. Of this comparison it
        # believes that every third row passes, so it goes through the history from its newest end until a page is full.
        text = Coalesce(F("folded"), Lower("prompt"))  # rows of before are folded by the sweep
        rows = rows.filter(GreaterThan(StrIndex(text, Value(term)), 0))
    if filters.status:
        rows = rows.filter(_with_status(filters.status))
    if filters.model:
        rows = rows.filter(model_id=filters.model)
    if filters.starred is not None:
        rows = rows.filter(starred=filters.starred)
    if filters.created_after is not None:
        rows = rows.filter(created_at__gt=filters.created_after)
    if filters.created_before is not None:
        rows = rows.filter(created_at__lt=filters.created_before)
    if filters.size is not None:
        # One comparison: of two the planner thinks that they have nothing to do with each other, expects next to no
        # rows, and reads the whole history for a size that every tenth picture has.
        width, height = filters.size
        sides = Cast("width", BigIntegerField()) * _SIDES + F("height")
        rows = rows.alias(sides=ExpressionWrapper(sides, BigIntegerField())).filter(sides=width * _SIDES + height)
    if filters.seed is not None:
        first = max(0, filters.seed - MAX_IMAGES + 1)  # image i has the seed + i
        rows = rows.filter(seed__range=(first, filters.seed), n__gt=Value(filters.seed) - F("seed"))
    if filters.member is not None:
        rows = rows.filter(user=filters.member)
    return rows


def _text_of(row: Mapping[str, Any]) -> int:
    return len(row["prompt"]) + len(row["negative_prompt"])


def _with_status(status: str) -> Q:
    between = Q(status=Status.QUEUED, done__gt=0)  # between two turns: people see it running
    if status == Status.RUNNING:
        return Q(status=Status.RUNNING) | between
    if status == Status.QUEUED:
        return Q(status=Status.QUEUED, done=0)
    return Q(status=status)


def _read_text(name: str, text: str | None) -> str:
    if not text:
        return ""
    if len(text) > MAX_QUERY_CHARS:
        raise InvalidField(f"{name} is too long, max {MAX_QUERY_CHARS} chars", field=name)
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidField(f"{name} holds characters that no text here can have", field=name)
    return text


def _read_status(text: str | None) -> str:
    if text and text not in Status.values:
        raise InvalidField(f"status must be one of {', '.join(Status.values)}", field="status")
    return text or ""


def _read_time(name: str, text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        time = parse_datetime(text.replace(" ", "+"))
    except ValueError:
        time = None
    if time is None or not time_is_plain(time):
        raise InvalidField(f"{name} must be a time with its zone, such as 2026-01-31T12:00:00Z", field=name)
    return time


def _read_size(text: str | None) -> tuple[int, int] | None:
    if not text:
        return None
    sides = text.lower().replace("×", "x").split("x")
    found: Sequence[int] = [int(side) for side in sides if _is_number(side.strip(), most=5)]
    if len(sides) != 2 or len(found) != 2 or not all(1 <= side <= MAX_SIDE for side in found):
        raise InvalidField("size must be width x height, such as 1024x768", field="size")
    return found[0], found[1]


def _read_seed(text: str | None) -> int | None:
    if not text:
        return None
    if not _is_number(text, most=19) or int(text) > MAX_SEED:
        raise InvalidField(f"seed must be a whole number from 0 to {MAX_SEED}", field="seed")
    return int(text)


def _is_number(text: str, *, most: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= most


def _read_member(text: str | None, by: Caller) -> UUID | None:
    """Who may see the members may ask for each of them, those who have left too; everybody for themselves."""
    if not text:
        return None
    member = read_id(text)
    if member == by.user:
        return member
    if by.has(Right.SEE_MEMBERS) and (
        Membership.objects.filter(tenant_id=by.tenant, user_id=member).exists()
        or Generation.objects.filter(user=member).exists()
    ):
        return member
    raise NotFound("no such member")
