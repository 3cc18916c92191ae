"""Wrong keys through the middleware: the place waits, right keys and other places do not."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.domain import places
from accounts.domain.keys import new_secret, revoke_key
from accounts.tenancy import in_tenant
from tests.factories import Person

pytestmark = pytest.mark.urls("tests.accounts.routes")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(places, "WRONG_KEYS", 3)
    places.local.clear()
    yield
    places.local.clear()


def ask(secret: str, address: str = "127.0.0.1", **headers: str) -> Any:
    return Client(REMOTE_ADDR=address).get("/api/v1/echo", headers={"Authorization": f"Bearer {secret}", **headers})


def test_wrong_keys_wait_and_right_ones_do_not(alice: Person, mallory: Person) -> None:
    with in_tenant(mallory.tenant.pk):
        revoke_key(by=mallory.caller, key_id=mallory.key.pk)
    wrong = [new_secret(), "qs_live_malformed", mallory.secret, new_secret(), "sk-1", mallory.secret]
    answers = [ask(secret) for secret in wrong]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429, 429]
    late = answers[3]
    assert late["Content-Type"] == "application/problem+json"
    assert late.json()["code"] == "too_many_wrong_keys"
    assert 0 < int(late["Retry-After"]) <= places.WINDOW_S
    assert "WWW-Authenticate" not in late
    # The same place with a right key, whose answers are no different from before; and another place with a wrong one.
    for _ in range(5):
        assert ask(alice.secret).status_code == 200
    assert ask(new_secret()).status_code == 429, "a right key takes nothing off the count"
    assert ask(new_secret(), "192.0.2.1").status_code == 401
    assert alice.client.get("/api/v1/echo").status_code == 200, "nor do people wait"


def test_right_keys_are_not_counted(alice: Person, redis: Any) -> None:
    ask(alice.secret)
    assert not redis.keys("qs:places:*")


def test_a_forged_header_is_no_other_place(settings: Any, db: None) -> None:
    codes = [ask(new_secret(), **{"X-Forwarded-For": f"192.0.2.{n}"}).status_code for n in range(4)]
    assert codes == [401, 401, 401, 429]
    settings.STUDIO_TRUSTED_PROXIES = [ipaddress.ip_network("127.0.0.0/8")]
    codes = [ask(new_secret(), **{"X-Forwarded-For": f"192.0.2.{n}, 198.51.100.1"}).status_code for n in range(4)]
    assert codes == [401, 401, 401, 429]
    assert ask(new_secret(), **{"X-Forwarded-For": "198.51.100.2"}).status_code == 401


def test_malformed_keys_cost_no_query_however_many(db: None) -> None:
    with CaptureQueriesContext(connection) as queries:
        for _ in range(5):
            ask("qs_live_malformed")
    assert len(queries) == 0
