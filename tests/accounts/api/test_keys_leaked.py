"""Keys that end themselves, and keys that somebody has found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from accounts.domain import places
from accounts.domain.keys import new_secret
from accounts.models import AuditEvent, KeyDirectory, KeySecret
from accounts.tenancy import in_tenant
from tests.accounts.api.keycalls import KEYS, LEAKED, post, reread, using, works
from tests.factories import Person, make_key
from tests.mails import waiting_mails
from tests.openapi import check, read_schema


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    places.local.clear()
    yield
    places.local.clear()


def test_a_key_ends_itself_whatever_its_scopes(alice: Person) -> None:
    key, secret = make_key(alice.tenant, alice.user, scopes=["usage:read"], limits={"requests_per_minute": 1})
    client = using(secret)
    assert client.get("/api/v1/me").status_code == 200
    assert client.get("/api/v1/me").status_code == 429, "and its minute is over"
    answer = post(client, f"{KEYS}/self/revoke")
    check(read_schema(), "post", f"{KEYS}/self/revoke", answer)
    assert (answer.status_code, answer.json()["state"], answer["Cache-Control"]) == (200, "revoked", "no-store")
    assert post(client, f"{KEYS}/self/revoke").status_code == 401
    assert reread(alice, key).revoked_at is not None
    with in_tenant(alice.tenant.pk):
        event = AuditEvent.objects.get(action="key.revoked_itself")
    assert (event.key, event.target, event.address) == (key.pk, f"key:{key.pk}", "127.0.0.1")
    assert [(mail["name"], mail["to"]) for mail in waiting_mails()] == [("key_revoked_itself", alice.user.email)]


def test_a_session_has_no_key_to_end(alice: Person) -> None:
    answer = post(alice.client, f"{KEYS}/self/revoke")
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


@pytest.mark.parametrize("way", ["body", "Authorization", "X-Api-Key"])
def test_whoever_finds_a_key_ends_it(alice: Person, mallory: Person, way: str) -> None:
    schema = read_schema()
    answers = set()
    for secret in (alice.secret, alice.secret, new_secret()):  # known, revoked by the first report, unknown
        headers = {} if way == "body" else {way: f"Bearer {secret}" if way == "Authorization" else secret}
        answer = post(Client(), LEAKED, {"key": secret} if way == "body" else None, headers=headers)
        check(schema, "post", LEAKED, answer)
        named = {name: value for name, value in answer.headers.items() if name != "X-Request-ID"}
        answers.add((answer.status_code, answer.content, str(sorted(named.items()))))
    assert len(answers) == 1 and answers.pop()[:2] == (202, b'{"status":"received"}')
    key = reread(alice, alice.key)
    assert key.revoked_at is not None and key.last_used_ip is None, "reporting a key is no use of it"
    assert not works(alice.secret) and works(mallory.secret)
    with in_tenant(alice.tenant.pk):
        event = AuditEvent.objects.get(action="key.leaked")
        assert not KeySecret.objects.exists()
    assert (event.user, event.key, event.address) == (None, None, "127.0.0.1")
    assert event.detail == {"name": "test key", "prefix": alice.secret[:14]}
    [mail] = waiting_mails()
    assert (mail["name"], mail["to"]) == ("key_leaked", alice.user.email)
    assert mail["subject"] == "Your API key test key was found and has been revoked"
    assert f"({alice.secret[:14]}…)" in mail["body"] and "http://127.0.0.1:8000/keys/" in mail["body"]
    assert alice.secret not in mail["body"]


def test_the_key_in_the_body_is_meant_not_the_reporters(alice: Person, mallory: Person) -> None:
    assert post(mallory.api, LEAKED, {"key": alice.secret}).status_code == 202
    assert works(mallory.secret) and not works(alice.secret)
    with in_tenant(alice.tenant.pk):
        assert AuditEvent.objects.get(action="key.leaked").user is None


def test_old_secret_of_a_rotation_ends_the_whole_key(alice: Person) -> None:
    new = post(alice.client, f"{KEYS}/{alice.key.pk}/rotate").json()["secret"]
    post(Client(), LEAKED, {"key": alice.secret})
    assert not works(new) and not works(alice.secret)


@pytest.mark.parametrize("body", [{}, {"key": ""}, {"key": "qs_live_x"}, {"key": 5}, {"key": "x", "name": "y"}])
def test_what_cannot_be_a_key_is_said(db: None, body: dict[str, Any]) -> None:
    answer = post(Client(), LEAKED, body)
    assert answer.status_code == 400
    assert set(answer.json()["errors"]) <= {"key", "name"}


def test_reports_are_counted_by_place(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LEAKED_KEYS", 2)
    answers = [post(Client(), LEAKED, {"key": new_secret()}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[2].json()["code"] == "too_many_reports"
    assert 0 < int(answers[2]["Retry-After"]) <= places.WINDOW_S
    elsewhere = post(Client(REMOTE_ADDR="192.0.2.9"), LEAKED, {"key": alice.secret})
    assert elsewhere.status_code == 202 and not works(alice.secret)


def test_network_and_suspension_keep_no_leaked_key_alive(alice: Person) -> None:
    from accounts.domain.tenants import suspend_tenant

    _, secret = make_key(alice.tenant, alice.user, networks=["192.0.2.0/24"])
    suspend_tenant(alice.tenant, reason="test")
    assert post(Client(), LEAKED, {"key": secret}).status_code == 202
    assert not KeyDirectory.objects.filter(sha256=hashlib.sha256(secret.encode()).hexdigest()).exists()
