"""Usage from the ledger: sums that are right, pages that hang together, and nobody else's."""

from __future__ import annotations

import csv
import io
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.domain.csv import BOM
from accounts.domain.usage import UsageFilter, narrow_usage, read_day
from accounts.domain.usagechart import Sums, report_usage
from accounts.domain.usagerows import read_groups, read_usage, write_usage
from accounts.errors import InvalidField, NotAllowed, NotFound
from accounts.ids import uuid7
from accounts.models import ApiKey, LedgerEntry
from accounts.tenancy import in_tenant
from tests.accounts.ledgers import day, worked
from tests.factories import Person, make_key


def wanted(person: Person, **fields: Any) -> UsageFilter:
    return narrow_usage(by=person.caller, **fields)


@pytest.fixture
def house(alice: Person, bob: Person, mallory: Person) -> Person:
    """Alice and Bob of one tenant have worked on three days with two models; Mallory elsewhere."""
    worked(alice, images=4, gpu_ms=4000, ago=0)
    worked(alice, images=1, gpu_ms=500, ago=0, key=alice.key, model="turbo")
    worked(bob, images=2, gpu_ms=700, ago=1, key=bob.key)
    worked(bob, images=3, gpu_ms=900, ago=40)
    worked(mallory, images=50, gpu_ms=50_000)
    return alice


def rows(person: Person, group_by: str, **fields: Any) -> list[dict[str, Any]]:
    with in_tenant(person.tenant.pk):
        return read_usage(wanted(person, **fields), groups=read_groups(group_by), cursor=None, limit=100).results


def test_by_day_member_key_and_model(house: Person, bob: Person) -> None:
    assert rows(house, "day") == [
        {"day": str(day(0)), "images": 5, "gpu_ms": 4500, "tokens": 0},
        {"day": str(day(1)), "images": 2, "gpu_ms": 700, "tokens": 0},
    ]
    by_member = {row["member"]["name"]: row["images"] for row in rows(house, "member")}
    assert by_member == {"alice": 5, "bob": 2}
    by_key = {row["key"] and row["key"]["id"]: row["images"] for row in rows(house, "key")}
    assert by_key == {None: 4, str(house.key.pk): 1, str(bob.key.pk): 2}
    assert {row["model"]: row["gpu_ms"] for row in rows(house, "model")} == {"demo": 4700, "turbo": 500}
    assert [(row["day"], row["model"], row["images"]) for row in rows(house, "model,day")] == [
        (str(day(0)), "demo", 4), (str(day(0)), "turbo", 1), (str(day(1)), "demo", 2)
    ]  # fmt: skip


def test_filters_narrow(house: Person, bob: Person) -> None:
    assert [row["images"] for row in rows(house, "day", member=bob.user.pk)] == [2]
    assert [row["images"] for row in rows(house, "day", key=house.key.pk)] == [1]
    assert [row["images"] for row in rows(house, "day", model="turbo")] == [1]
    assert [row["images"] for row in rows(house, "day", first=day(60))] == [5, 2, 3]
    assert [row["images"] for row in rows(house, "day", first=day(1), last=day(1))] == [2]
    assert rows(house, "day", model="nothing") == []


def test_members_see_their_own_only(house: Person, bob: Person) -> None:
    assert [row["images"] for row in rows(bob, "day", first=day(60))] == [2, 3]
    assert [row["images"] for row in rows(bob, "day", key=bob.key.pk)] == [2]
    assert [row["images"] for row in rows(bob, "day", member=bob.user.pk)] == [2]
    with in_tenant(bob.tenant.pk):
        for other in ({"member": house.user.pk}, {"key": house.key.pk}, {"member": uuid7()}, {"key": uuid7()}):
            with pytest.raises(NotFound):
                wanted(bob, **other)


def test_foreign_and_unknown_ids_are_the_same(house: Person, mallory: Person) -> None:
    with in_tenant(house.tenant.pk):
        for name, foreign in (("member", mallory.user.pk), ("key", mallory.key.pk)):
            messages = set()
            for id in (foreign, uuid7()):
                with pytest.raises(NotFound) as refused:
                    wanted(house, **{name: id})
                messages.add(refused.value.message)
            assert len(messages) == 1


def test_a_key_needs_the_scope_and_shows_its_members_own(house: Person, bob: Person) -> None:
    with in_tenant(house.tenant.pk):
        narrowed = narrow_usage(by=house.key_caller)  # an owner's key without the scope admin
        assert (narrowed.member, narrowed.everybody) == (house.user.pk, False)
    from accounts.domain.callers import caller_of_key

    _, secret = make_key(house.tenant, house.user, scopes=["images:read"])
    with in_tenant(house.tenant.pk), pytest.raises(NotAllowed):
        narrow_usage(by=caller_of_key(secret, address=None))


@pytest.mark.parametrize(
    ("first", "last", "field"),
    [(date(2026, 2, 2), date(2026, 2, 1), "from"), (date(2025, 1, 1), date(2026, 6, 1), "from")],
)
def test_days_that_are_none(alice: Person, first: date, last: date, field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        narrow_usage(by=alice.caller, first=first, last=last)
    assert refused.value.field == field


@pytest.mark.parametrize("text", ["2026-13-01", "yesterday", "20260101", "2026-01-01T00", "1999-01-01", "\x00"])
def test_texts_that_are_no_day(text: str) -> None:
    with pytest.raises(InvalidField):
        read_day(text, name="from")


@pytest.mark.parametrize("text", ["hour", "day,day", "day,", "day;drop"])
def test_groups_that_are_none(text: str) -> None:
    with pytest.raises(InvalidField):
        read_groups(text)


@pytest.mark.parametrize("group_by", ["day", "member", "key", "model", "day,member,key,model"])
def test_pages_hang_together_both_ways(house: Person, bob: Person, group_by: str) -> None:
    for ago in range(12):
        worked(house, images=1, ago=ago, model=f"m{ago % 5}", key=house.key if ago % 2 else None)
        worked(bob, images=1, ago=ago, model=f"m{ago % 3}")
    groups = read_groups(group_by)
    with in_tenant(house.tenant.pk):
        whole = read_usage(wanted(house), groups=groups, cursor=None, limit=100).results
        seen: list[Any] = []
        pages = []
        cursor = None
        while True:
            page = read_usage(wanted(house), groups=groups, cursor=cursor, limit=2)
            assert (page.previous is None) == (cursor is None)
            pages.append(page)
            seen += page.results
            cursor = page.next
            if cursor is None:
                break
        assert seen == whole and len(whole) >= 2
        for earlier, later in pairwise(pages):
            back = read_usage(wanted(house), groups=groups, cursor=later.previous, limit=2)
            assert back.results == earlier.results


@pytest.mark.parametrize("cursor", ["x", "W10", "WzAsMV0", "WzAsIngiLCJ5Il0", "/////", "é"])
def test_cursors_that_are_none_of_ours(house: Person, cursor: str) -> None:
    with in_tenant(house.tenant.pk), pytest.raises(InvalidField):
        read_usage(wanted(house), groups=("day",), cursor=cursor, limit=2)


def test_report_has_the_most_first_and_the_rest_together(house: Person) -> None:
    for number in range(8):
        worked(house, images=number + 1, model=f"m{number}", ago=2)
    with in_tenant(house.tenant.pk):
        report = report_usage(wanted(house), by="model", metric="images")
    assert [row.name for row in report.rows[:3]] == ["m7", "m6", "demo"]
    assert report.groups == len(report.rows) == 10
    assert report.total == Sums(images=36 + 7, gpu_ms=5200)
    assert report.day(day(2)) == Sums(images=36)
    # m7 8, m6 7, demo elsewhere, m5 6, m4 5: the five that used most; 10 of the others are together
    assert {place: sums.images for place, sums in report.by_day[day(2)].items()} == {1: 8, 2: 7, 4: 6, 5: 5, 0: 10}
    assert report.models == ["demo", *(f"m{number}" for number in range(8)), "turbo"]
    assert len(report.days) == 30


def test_credit_is_no_usage(house: Person) -> None:
    with in_tenant(house.tenant.pk):
        LedgerEntry.objects.create(
            event_id="x", kind="credit", metric="images", amount=-100, ref=uuid7(), charged_on=day(0)
        )
        assert report_usage(wanted(house), by="", metric="images").total.images == 7


def test_statements_do_not_grow(house: Person) -> None:
    def count() -> tuple[int, int]:
        with in_tenant(house.tenant.pk):
            with CaptureQueriesContext(connection) as report:
                report_usage(wanted(house), by="member", metric="images")
            with CaptureQueriesContext(connection) as page:
                read_usage(wanted(house), groups=("day", "member", "key"), cursor=None, limit=100)
        return len(report), len(page)

    before = count()
    for number in range(20):
        worked(house, images=1, ago=number % 9, model=f"m{number}")
    assert count() == before


def test_csv_says_the_same_and_no_cell_is_a_formula(house: Person, bob: Person) -> None:
    with in_tenant(house.tenant.pk):
        ApiKey.objects.filter(pk=bob.key.pk).update(name='=HYPERLINK("http://example.com")')
        text = "".join(write_usage(wanted(house, first=day(60))))
    assert text.startswith(BOM)
    found = list(csv.DictReader(io.StringIO(text.removeprefix(BOM))))
    assert sum(int(row["images"]) for row in found) == 10
    assert [row["day"] for row in found] == sorted((row["day"] for row in found), reverse=True)
    [bobs] = [row for row in found if row["key_id"] == str(bob.key.pk)]
    assert bobs["key"] == '\'=HYPERLINK("http://example.com")' and bobs["member"] == "bob"
    assert bobs["day"] == str(day(1)) and bobs["model"] == "demo"


def test_csv_of_a_long_period_is_read_week_by_week(house: Person) -> None:
    with in_tenant(house.tenant.pk), CaptureQueriesContext(connection) as queries:
        lines = list(write_usage(wanted(house, first=day(27), last=day(0))))
    assert len(lines) == 4
    ledger = [query for query in queries if "accounts_ledgerentry" in query["sql"]]
    assert len(ledger) == 4
    assert day(0) - timedelta(days=27) == day(27)
