"""Reading a tenant's audit log: filters, pages, and the whole of it as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db.models import QuerySet
from django.utils.dateparse import parse_date

from accounts.domain.audit import record
from accounts.domain.callers import Caller
from accounts.domain.csv import csv_text
from accounts.domain.pages import Page, read_page
from accounts.domain.roles import Right
from accounts.errors import InvalidField
from accounts.models import ApiKey, AuditEvent, User
from accounts.models.user import normal_email

RESULTS = ("ok", "denied", "refused", "failed")
CHUNK = 500
CSV_HEADER = (
    "time", "action", "result", "person", "person_id", "key", "key_id", "target", "address", "request", "detail",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filters:
    """What of the log is asked for; empty means everything. `day` is a UTC day, `person` an e-mail or an id."""

    action: str = ""
    person: str = ""
    result: str = ""
    day: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One event with the names of whom it names. `target_name` is empty where there is none to know."""

    row: AuditEvent
    person: str
    key: str
    target_name: str


def list_events(*, by: Caller, filters: Filters, cursor: str | None, limit: int) -> Page[Event]:
    """The caller's tenant's events, newest first. Raises `NotAllowed`, `InvalidField`."""
    by.require(Right.SEE_AUDIT)
    page = read_page(_filtered(filters), cursor=cursor, limit=limit)
    return Page(results=_with_names(page.results), next=page.next, previous=page.previous)


def export_events(*, by: Caller, filters: Filters) -> Iterator[str]:
    """The same as CSV, all of them, while the client reads. Raises, before it begins, `NotAllowed`, `InvalidField`."""
    by.require(Right.SEE_AUDIT)
    rows = _filtered(filters)
    used = {name: value for name in ("action", "person", "result", "day") if (value := getattr(filters, name))}
    record("audit.exported", detail={"filters": used})
    return csv_text(CSV_HEADER, _lines(rows), bom=True)


def actions_of() -> list[str]:
    """The actions that the tenant's log has, for a choice of them."""
    return list(AuditEvent.objects.order_by("action").values_list("action", flat=True).distinct())


def _filtered(filters: Filters) -> QuerySet[AuditEvent]:
    rows: QuerySet[AuditEvent] = AuditEvent.objects.all()
    if filters.action:
        rows = rows.filter(action=_checked("action", filters.action))
    if filters.result:
        if filters.result not in RESULTS:
            raise InvalidField(f"result must be one of {', '.join(RESULTS)}", field="result")
        rows = rows.filter(result=filters.result)
    if filters.person:
        rows = rows.filter(user=_person_id(_checked("person", filters.person)))
    if filters.day:
        since = _day("day", filters.day)
        rows = rows.filter(created_at__gte=since, created_at__lt=since + timedelta(days=1))
    return rows


def _checked(name: str, text: str) -> str:
    if len(text) > 254 or not text.isprintable():
        raise InvalidField(f"{name} is no text that is looked for here", field=name)
    return text


def _person_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        # One answer whether nobody has the address or somebody elsewhere: no event here is theirs.
        return User.objects.filter(email=normal_email(text)).values_list("pk", flat=True).first() or UUID(int=0)


def _day(name: str, text: str) -> datetime:
    try:
        found: date | None = parse_date(text)
    except ValueError:
        found = None
    if found is None or not 2000 <= found.year <= 9000:
        raise InvalidField(f"{name} must be a day, such as 2026-01-31", field=name)
    return datetime.combine(found, time.min, tzinfo=UTC)


def _with_names(rows: Sequence[AuditEvent]) -> list[Event]:
    """With the people and keys that they name: two more statements, however many events."""
    targets = [row.target.partition(":") for row in rows]
    users = {row.user for row in rows if row.user} | _ids(targets, "user")
    keys = {row.key for row in rows if row.key} | _ids(targets, "key")
    people = {user.pk: user.email for user in User.objects.filter(pk__in=users)}
    named = {key.pk: f"{key.name} ({key.prefix}…)" for key in ApiKey.objects.filter(pk__in=keys)}
    everybody = {**people, **named}
    return [
        Event(
            row=row,
            person=people.get(row.user, "") if row.user else "",
            key=named.get(row.key, "") if row.key else "",
            target_name=next((everybody.get(found, "") for found in _ids([target], kind)), ""),
        )
        for row, target in zip(rows, targets, strict=True)
        for kind in [target[0]]
    ]


def _ids(targets: Sequence[tuple[str, str, str]], kind: str) -> set[UUID]:
    found = set()
    for name, _, text in targets:
        if name == kind and name in ("user", "key"):
            try:
                found.add(UUID(text))
            except ValueError:
                continue
    return found


def _lines(rows: QuerySet[AuditEvent]) -> Iterator[list[Any]]:
    """Newest first, a piece at a time: memory does not grow with the log."""
    cursor: str | None = None
    while True:
        page = read_page(rows, cursor=cursor, limit=CHUNK)
        for event in _with_names(page.results):
            row = event.row
            yield [
                row.created_at, row.action, row.result, event.person, row.user, event.key, row.key, row.target,
                row.address, row.request_id, orjson.dumps(row.detail).decode(),
            ]  # fmt: skip
        if page.next is None:
            return
        cursor = page.next
