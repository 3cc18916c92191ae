"""Refusals in the audit log: noted, and never more than one for a caller, action and minute."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.domain import denials
from accounts.domain.denials import STRANGERS, record_denial
from accounts.domain.keys import new_secret, revoke_key
from accounts.domain.tenants import suspend_tenant
from accounts.models import ApiKey, AuditEvent
from accounts.tenancy import across_tenants, in_tenant
from tests.at_once import at_once
from tests.factories import Person, make_key
from tests.qwenstudio.doors import running_door
from tests.qwenstudio.exchange import Exchange, make_scope


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A minute that does not end in the middle of a test."""
    now = [1_800_000_000.0]
    monkeypatch.setattr(denials.time, "time", lambda: now[0])
    monkeypatch.setattr(denials, "_written", set())
    return now


def events(action: str) -> list[dict[str, Any]]:
    with across_tenants():
        rows = AuditEvent.objects.filter(action=action).order_by("id")
        return list(rows.values("tenant_id", "user", "key", "target", "detail", "result", "address"))


def test_a_refused_caller_is_noted_once_a_minute(bob: Person, alice: Person, clock: list[float]) -> None:
    for _ in range(5):
        assert bob.api.post("/api/v1/images/", {}).status_code in (404, 405)
        assert bob.client.post(f"/keys/{alice.key.pk}/revoke/").status_code == 404  # no denial: it is not there
    assert events("denied") == []
    _, secret = make_key(alice.tenant, bob.user, scopes=["images:read"])
    reader = Client(headers={"Authorization": f"Bearer {secret}"})
    for _ in range(5):
        assert reader.post("/api/v1/images", {}, content_type="application/json").status_code == 403
    (event,) = events("denied")
    assert (event["tenant_id"], event["user"]) == (bob.tenant.pk, bob.user.pk)
    assert (event["target"], event["detail"]) == ("POST /api/v1/images", {"code": "not_allowed"})
    assert (event["result"], event["address"]) == ("denied", "127.0.0.1")
    clock[0] += 60
    assert reader.post("/api/v1/images", {}, content_type="application/json").status_code == 403
    assert len(events("denied")) == 2


def test_refused_keys_are_noted_where_they_belong(alice: Person, mallory: Person) -> None:
    with in_tenant(alice.tenant.pk):
        ApiKey.objects.filter(pk=alice.key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    with in_tenant(mallory.tenant.pk):
        revoke_key(by=mallory.caller, key_id=mallory.key.pk)
    for secret in (alice.secret, alice.secret, mallory.secret, new_secret(), "qs_live_nonsense"):
        assert Client(headers={"X-Api-Key": secret}).get("/api/v1/me").status_code == 401
    found = events("key.refused")
    # The expired one is its tenant's; revoked and unknown ones are nobody's, and come from one place.
    assert [event["tenant_id"] for event in found] == [alice.tenant.pk, None] or [
        event["tenant_id"] for event in found
    ] == [None, alice.tenant.pk]
    mine = next(event for event in found if event["tenant_id"])
    assert mine["detail"] == {"code": "invalid_api_key", "prefix": alice.secret[:14]}
    assert alice.secret not in str(found)


def test_key_of_a_suspended_tenant_and_of_another_network(alice: Person) -> None:
    _, inside = make_key(alice.tenant, alice.user, networks=["192.0.2.0/24"])
    assert Client(headers={"X-Api-Key": inside}).get("/api/v1/me").status_code == 403
    (event,) = events("denied")
    assert event["tenant_id"] == alice.tenant.pk and event["key"] is not None
    suspend_tenant(alice.tenant, reason="unpaid")
    assert alice.api.get("/api/v1/me").status_code == 403
    assert alice.client.get("/studio/").status_code == 403
    codes = sorted(event["detail"]["code"] for event in events("denied"))
    assert codes == ["not_allowed", "tenant_suspended", "tenant_suspended"]


def test_strangers_do_not_fill_the_table(db: None) -> None:
    for number in range(300):
        address = f"10.{number % 250}.{number // 250}.1"
        record_denial("key.refused", tenant=None, address=address, credential=f"qs_live_{number}")
    assert 30 < len(events("key.refused")) <= STRANGERS


def test_a_thousand_refusals_cost_one_statement(alice: Person) -> None:
    record_denial("denied", tenant=alice.tenant.pk, user=alice.user.pk)
    with CaptureQueriesContext(connection) as queries:
        for _ in range(1000):
            record_denial("denied", tenant=alice.tenant.pk, user=alice.user.pk)
    assert len(queries) == 0 and len(events("denied")) == 1


def test_refused_streams_are_noted_too(alice: Person, bob: Person) -> None:
    _, blind = make_key(alice.tenant, bob.user, scopes=["usage:read"])
    with in_tenant(alice.tenant.pk):
        ApiKey.objects.filter(pk=alice.key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))

    async def scene() -> list[int]:
        async with running_door() as door:
            found = []
            for secret in (blind, blind, alice.secret, new_secret()):
                exchange = Exchange(make_scope("GET", "/api/v1/events", headers={"X-Api-Key": secret}))
                found.append((await exchange.run(door)).status)
            return found

    assert asyncio.run(scene()) == [403, 403, 401, 401]
    (denied,) = events("denied")
    assert (denied["tenant_id"], denied["target"]) == (alice.tenant.pk, "GET /api/v1/events")
    assert {event["tenant_id"] for event in events("key.refused")} == {alice.tenant.pk, None}


def test_parallel_refusals_are_one_event(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing(set[object]):
        """As if each were another process, which has written nothing yet."""

        def __contains__(self, item: object) -> bool:
            return False

    monkeypatch.setattr(denials, "_written", Nothing())

    def refuse() -> None:
        record_denial("denied", tenant=alice.tenant.pk, user=alice.user.pk, address="192.0.2.1")

    assert at_once([refuse] * 6) == {"done": 6}
    assert len(events("denied")) == 1


def test_pages_that_are_refused_are_noted_too(bob: Person) -> None:
    assert bob.client.get("/admin/login/").status_code == 403
    (event,) = events("denied")
    assert (event["user"], event["key"], event["target"]) == (bob.user.pk, None, "GET /admin/login/")
