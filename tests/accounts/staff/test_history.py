"""Ledger and audit log: to be read, filtered and taken home as a file in which no cell is a formula."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.test import Client

from accounts.domain.audit import record
from accounts.ids import uuid7
from accounts.models import AuditEvent, LedgerEntry
from accounts.staff import history
from accounts.tenancy import across_tenants, in_tenant
from tests.factories import Person, make_tenant

SQL = psycopg.Connection[tuple[Any, ...]]
AUDIT, LEDGER = "/admin/accounts/auditevent/", "/admin/accounts/ledgerentry/"
OLD = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)


@pytest.fixture
def events(alice: Person, mallory: Person) -> None:
    """Four events beside those that making people has left."""
    with in_tenant(alice.tenant.pk):
        for action, result, user in (
            ("key.rotated", "ok", alice.user.pk), ("key.expired", "ok", None), ("image.denied", "refused", None),
        ):  # fmt: skip
            AuditEvent.objects.create(tenant=alice.tenant, action=action, result=result, user=user, created_at=OLD)
    with in_tenant(mallory.tenant.pk):
        AuditEvent.objects.create(
            tenant=mallory.tenant, action="key.rotated", user=mallory.user.pk, created_at=OLD + timedelta(minutes=2)
        )


def actions(client: Client, url: str = AUDIT, **query: str) -> list[str]:
    """The actions in the file with these filters; each is shown by the list too."""
    rows = export(client, url, **query)
    shown = client.get(url, query).content.decode()
    assert all(row["action"] in shown for row in rows)
    return [row["action"] for row in rows]


def export(client: Client, url: str, **query: str) -> list[dict[str, str]]:
    answer = client.get(f"{url}export.csv", query)
    assert answer.status_code == 200
    assert answer.streaming
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"].startswith("attachment; filename=")
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.usefixtures("events")
def test_filters(staff: Client, alice: Person, mallory: Person) -> None:
    day = {"day": "2026-01-31"}
    assert sorted(actions(staff, **day)) == ["image.denied", "key.expired", "key.rotated"]
    assert actions(staff, day="2026-02-01") == ["key.rotated"]
    assert sorted(actions(staff, **day, what="key.")) == ["key.expired", "key.rotated"]
    assert actions(staff, **day, what="key.rotated") == ["key.rotated"]
    assert actions(staff, **day, result="not") == ["image.denied"]
    assert len(actions(staff, **day, result="ok")) == 2
    assert actions(staff, **day, by=alice.user.email) == ["key.rotated"]
    assert actions(staff, what="key.rotated", of=str(mallory.tenant.pk)) == ["key.rotated"]
    assert len(actions(staff, **day, of="A")) == 3
    assert actions(staff, day="nonsense") == actions(staff, day="9999-12-31") == []
    assert actions(staff, of="nobody") == actions(staff, by=str(uuid7())) == []
    rows = export(staff, AUDIT, **day, by=alice.user.email)
    assert (rows[0]["person"], rows[0]["tenant"], rows[0]["result"]) == (alice.user.email, "A", "ok")
    assert staff.get(f"{AUDIT}export.csv", {"nonsense": "1"})["Location"] == AUDIT


@pytest.mark.usefixtures("events")
def test_search_by_request_address_and_key(staff: Client, alice: Person) -> None:
    request = alice.client.post(f"/keys/{alice.key.pk}/revoke/")["X-Request-ID"]
    assert actions(staff, q=request) == ["key.revoked"]
    assert actions(staff, q="image.denied") == ["image.denied"]
    assert "key.rotated" in actions(staff, q=alice.user.email)
    assert actions(staff, q="mallory", what="key.rotated") == []


def test_ledger(staff: Client, alice: Person, mallory: Person) -> None:
    ref = uuid7()
    for person, amount in ((alice, -5), (mallory, 7)):
        with in_tenant(person.tenant.pk):
            LedgerEntry.objects.create(
                tenant=person.tenant, event_id=f"{ref}:x:images", kind="credit", metric="images", amount=amount,
                ref=ref,
                user=person.user.pk, reason="=HYPERLINK(1)", charged_on=OLD.date(),
            )  # fmt: skip
    rows = export(staff, LEDGER, of="A")
    assert [(row["amount"], row["person"], row["reason"]) for row in rows] == [
        ("-5", alice.user.email, "'=HYPERLINK(1)")
    ]
    assert len(export(staff, LEDGER, q=str(ref))) == 2
    assert len(export(staff, LEDGER, kind__exact="refund")) == 0


def test_no_cell_is_a_formula_and_names_survive(staff: Client, admin_sql: SQL) -> None:
    tenant, _ = make_tenant('=cmd|"/c calc"!A1')
    with in_tenant(tenant.pk):
        record("key.made", target="@SUM(1)\n+1", detail={"name": "图"})
    row = next(row for row in export(staff, AUDIT) if row["action"] == "key.made")
    assert row["tenant"] == '\'=cmd|"/c calc"!A1'
    assert row["target"].startswith("'@SUM")
    assert "图" in row["detail"]


def test_it_is_streamed_page_by_page_and_recorded(staff: Client, admin_sql: SQL, monkeypatch: Any) -> None:
    monkeypatch.setattr(history, "PAGE", 3)
    with across_tenants():
        for number in range(11):
            # Of equal times none is lost or said twice.
            AuditEvent.objects.create(action=f"many.{number}", created_at=OLD + timedelta(seconds=number // 4))
    found = [row["action"] for row in export(staff, AUDIT, what="many.")]
    assert sorted(found) == sorted(f"many.{number}" for number in range(11))
    told = admin_sql.execute("SELECT action, detail FROM accounts_auditevent WHERE action LIKE '%.exported'").fetchall()
    assert told == [("auditevent.exported", {"filters": "what=many."})]


def test_who_may_not_look_may_not_export(alice: Person) -> None:
    assert alice.client.get(f"{AUDIT}export.csv").status_code == 302
    alice.user.is_staff = True
    alice.user.save()
    assert alice.client.get(f"{AUDIT}export.csv").status_code == 403


def test_nobody_changes_history(staff: Client, alice: Person, admin_sql: SQL) -> None:
    event = admin_sql.execute("SELECT id FROM accounts_auditevent LIMIT 1").fetchone()
    assert event is not None
    url = f"{AUDIT}{event[0]}"
    assert staff.get(f"{url}/change/").status_code == 200
    assert staff.post(f"{url}/change/", {"action": "x"}).status_code == 403
    assert staff.post(f"{url}/delete/", {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [str(event[0])], "post": "yes"}
    staff.post(AUDIT, chosen)
    assert admin_sql.execute("SELECT 1 FROM accounts_auditevent WHERE id = %s", [event[0]]).fetchone() == (1,)


def test_rows_have_titles_and_short_ids_that_lead_on(staff: Client, alice: Person) -> None:
    with in_tenant(alice.tenant.pk):
        record("key.changed", target=f"key:{alice.key.pk}")
        event = AuditEvent.objects.get(action="key.changed")
    found = staff.get("/admin/accounts/auditevent/?action=key.changed").content.decode()
    key = str(alice.key.pk)
    assert f'key <a href="/admin/search/?q={key}" title="{key}">…{key[-8:]}</a>' in found
    page = staff.get(f"/admin/accounts/auditevent/{event.pk}/change/").content.decode()
    assert f"key.changed, {event.created_at:%Y-%m-%d %H:%M:%S} UTC" in page
    assert "1 audit event" in found


def test_times_say_that_they_are_utc(staff: Client, alice: Person) -> None:
    made = alice.tenant.created_at
    page = staff.get("/admin/accounts/tenant/").content.decode()
    assert f"{made:%Y-%m-%d %H:%M} UTC" in page
