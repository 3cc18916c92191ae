"""Pages by key set: every row once, in both directions, and cursors that are not ours are refused."""

from __future__ import annotations

import base64
import contextlib
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from django.http import QueryDict
from hypothesis import given
from hypothesis import strategies as st

from accounts.api.pagination import page_body
from accounts.domain.pages import Cursor, Page, decode_cursor, parse_limit, read_page
from accounts.errors import InvalidField
from accounts.ids import uuid7
from accounts.models import AuditEvent
from accounts.tenancy import in_tenant
from tests.factories import Person


@pytest.fixture
def events(alice: Person) -> list[str]:
    """25 events, newest first; some of them at the same moment."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with in_tenant(alice.tenant.pk):
        for number in range(25):
            AuditEvent.objects.create(
                tenant=alice.tenant,
                action="page",
                target=f"{number}",
                created_at=start + timedelta(seconds=number // 4),
            )
        rows = AuditEvent.objects.filter(action="page").order_by("-created_at", "-id")
        return list(rows.values_list("target", flat=True))


@pytest.mark.parametrize("limit", [1, 4, 7, 25, 100])
@pytest.mark.parametrize("dicts", [True, False])
def test_every_row_comes_once_there_and_back(limit: int, dicts: bool, events: list[str], alice: Person) -> None:
    def page(cursor: str | None) -> Page[str]:
        rows = AuditEvent.objects.filter(action="page")
        found = read_page(rows.values() if dicts else rows, cursor=cursor, limit=limit)
        names = [row["target"] if dicts else row.target for row in found.results]
        return Page(names, found.next, found.previous)

    with in_tenant(alice.tenant.pk):
        pages = [page(None)]
        assert pages[0].previous is None
        while pages[-1].next:
            pages.append(page(pages[-1].next))
        assert [name for found in pages for name in found.results] == events
        back = pages[-1]
        for expected in reversed(pages[:-1]):
            assert back.previous is not None
            back = page(back.previous)
            assert back.results == expected.results
        assert back.previous is None


def test_heavy_rows_make_short_pages_and_none_is_lost(events: list[str], alice: Person) -> None:
    def page(cursor: str | None) -> Page[str]:
        rows = AuditEvent.objects.filter(action="page")
        found = read_page(rows, cursor=cursor, limit=10, weigh=lambda row: len(row.target), most=6)
        return Page([row.target for row in found.results], found.next, found.previous)

    with in_tenant(alice.tenant.pk):
        pages = [page(None)]
        while pages[-1].next:
            pages.append(page(pages[-1].next))
        assert [name for found in pages for name in found.results] == events
        assert all(3 <= sum(len(name) for name in found.results) <= 6 for found in pages[:-1])
        back = [pages[-1]]
        while back[-1].previous:
            back.append(page(back[-1].previous))
        assert [name for found in reversed(back) for name in found.results] == events


@pytest.mark.parametrize("text", ["", "x", "!!!", "e30", "W10", "WyJ4IiwieSIsMF0", "bnVsbA", "MQ", "ä", "a" * 5000])
def test_foreign_cursors_are_refused(text: str) -> None:
    with pytest.raises(InvalidField) as refused:
        decode_cursor(text)
    assert list(refused.value.fields) == ["cursor"]


@pytest.mark.parametrize("zone", ["+00:00:01.500000", "+23:00", "-23:59"])
def test_zones_that_are_none_are_refused(zone: str) -> None:
    """Python reads such times, PostgreSQL does not."""
    packed = orjson.dumps([f"2026-01-01T00:00:00{zone}", str(uuid7()), 0])
    with pytest.raises(InvalidField):
        decode_cursor(base64.urlsafe_b64encode(packed).decode())


@given(st.text(max_size=80))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidField):
        assert decode_cursor(text).encode()


@given(st.datetimes(timezones=st.just(UTC)), st.booleans())
def test_cursors_come_back(time: datetime, back: bool) -> None:
    cursor = Cursor(time=time, id=uuid7(), back=back)
    assert decode_cursor(cursor.encode()) == cursor


@pytest.mark.parametrize(("text", "limit"), [(None, 30), ("", 30), ("1", 1), ("100", 100)])
def test_limits(text: str | None, limit: int) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize("text", ["0", "101", "-1", "1.5", "x", "٣", "1" * 5000])
def test_bad_limits_name_the_bound(text: str) -> None:
    with pytest.raises(InvalidField, match="1 to 100"):
        parse_limit(text)


def test_addresses_keep_the_query() -> None:
    class Request:
        GET = QueryDict("status=failed&q=a%26b&cursor=old")
        path = "/api/v1/images"

    body = page_body(Request(), Page(results=[1], next="new", previous=None), lambda row: {"id": row})  # type: ignore[arg-type]
    assert body == {
        "results": [{"id": 1}],
        "next": "http://127.0.0.1:8000/api/v1/images?status=failed&q=a%26b&cursor=new",
        "previous": None,
    }
