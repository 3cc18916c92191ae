"""Sign-in: password, one-time link, refusals, politeness."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.contrib.auth import base_user
from django.db import connection, connections
from django.test import Client

from accounts.domain.signin import make_sign_in_link
from accounts.models import TokenDirectory
from accounts.web import signin
from accounts.web.throttle import PER_PERSON
from accounts.web.turnstile import Turnstile
from tests.factories import Person

PASSWORD = "correct horse battery staple"
SQL = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def alice_with_password(alice: Person) -> Person:
    alice.user.set_password(PASSWORD)
    alice.user.save(update_fields=["password"])
    return alice


def post(client: Client, email: str, password: str = PASSWORD, **fields: str) -> Any:
    return client.post("/sign-in/", {"email": email, "password": password, **fields})


def test_a_crowd_at_the_door_leaves_threads_for_pages(
    alice_with_password: Person, admin_sql: SQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two passwords are looked at, two people wait, the fifth is asked to come back; no failure is counted."""
    real, go, inside, door = signin.authenticate, threading.Event(), threading.Semaphore(0), Turnstile()

    def slowly(*words: Any, **named: Any) -> Any:
        inside.release()
        assert go.wait(60)
        return real(*words, **named)

    monkeypatch.setattr(signin, "authenticate", slowly)
    monkeypatch.setattr(signin, "turnstile", door)

    def enter() -> int:
        try:
            return int(post(Client(), alice_with_password.user.email).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(enter) for _ in range(4)]
        try:
            assert inside.acquire(timeout=60) and inside.acquire(timeout=60)
            until = time.monotonic() + 60
            while door._inside._value:
                assert time.monotonic() < until, "the four have not come in"
                time.sleep(0.01)
            fifth = post(Client(), alice_with_password.user.email, "wrong")
            assert fifth.status_code == 503
            assert not inside.acquire(blocking=False), "two at work"
            assert fifth["Retry-After"] == "3" and "Many people are signing in" in fifth.text
            assert Client().get("/sign-in/").status_code == 200
        finally:
            go.set()
        assert [one.result(60) for one in asked] == [302] * 4
    assert post(Client(), alice_with_password.user.email).status_code == 302, "the door is free again"
    refused = "SELECT count(*) FROM accounts_auditevent WHERE action = 'sign_in' AND result = 'refused'"
    assert admin_sql.execute(refused).fetchone() == (0,)


def test_nobody_holds_a_connection_while_a_password_is_looked_at(
    alice_with_password: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three sign-ins at once would otherwise hold all connections of a process for as long as hashing takes."""
    held: list[bool] = []

    def watch(name: str) -> None:
        real = getattr(base_user, name)

        def hashing(*words: Any, **named: Any) -> Any:
            held.append(connection.connection is not None)
            return real(*words, **named)

        monkeypatch.setattr(base_user, name, hashing)

    watch("check_password")
    watch("make_password")
    assert post(Client(), alice_with_password.user.email).status_code == 302
    assert post(Client(), alice_with_password.user.email, "wrong").status_code == 400
    assert post(Client(), "nobody@example.com").status_code == 400
    assert held == [False, False, False]


def test_password_signs_in_and_rotates_the_session(alice_with_password: Person, admin_sql: SQL) -> None:
    client = Client()
    client.get("/sign-in/")
    answer = post(client, alice_with_password.user.email.upper(), next="/gallery/")
    assert (answer.status_code, answer["Location"]) == (302, "/gallery/")
    session = client.cookies["studio_session"].value
    assert client.get("/studio/").status_code == 200
    events = "SELECT result, target, tenant_id FROM accounts_auditevent WHERE action = 'sign_in'"
    assert admin_sql.execute(events).fetchall() == [("ok", f"user:{alice_with_password.user.pk}", None)]

    client.post("/sign-out/")
    client.cookies["studio_session"] = session
    assert client.get("/studio/").status_code == 302  # the old session is gone, not only its cookie


def test_known_and_unknown_get_one_answer(alice_with_password: Person) -> None:
    known = post(Client(), alice_with_password.user.email, "wrong")
    unknown = post(Client(), "nobody@example.com", "wrong")
    assert known.status_code == unknown.status_code == 400
    strip = [alice_with_password.user.email, "nobody@example.com"]
    texts = []
    for answer, email in zip((known, unknown), strip, strict=True):
        text = answer.content.decode().replace(email, "EMAIL")
        for cut in ("csrfmiddlewaretoken", "X-CSRFToken", "data-csrf"):
            assert cut in text
        texts.append([line for line in text.splitlines() if "csrf" not in line.lower()])
    assert texts[0] == texts[1]
    assert "do not match" in known.content.decode()


def test_wrong_passwords_wait_but_lock_nobody_out(alice_with_password: Person) -> None:
    email = alice_with_password.user.email
    bad = Client(REMOTE_ADDR="192.0.2.7")
    for _ in range(PER_PERSON):
        assert post(bad, email, "wrong").status_code == 400
    refused = post(bad, email)  # even the right one, from there
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 300
    assert post(Client(REMOTE_ADDR="192.0.2.8"), email).status_code == 302


@pytest.mark.parametrize("path", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"])
def test_next_stays_here(alice_with_password: Person, path: str) -> None:
    assert post(Client(), alice_with_password.user.email, next=path)["Location"] == "/"


def test_link_signs_in_once_and_only_on_a_click(alice: Person) -> None:
    path = make_sign_in_link(alice.user, "/gallery/").split("/", 3)[3]
    client = Client()
    assert client.get(f"/{path}").status_code == 200
    assert TokenDirectory.objects.filter(used_at=None).count() == 1
    assert client.post(f"/{path}")["Location"] == "/gallery/"
    assert client.get("/gallery/").status_code == 200
    assert Client().post(f"/{path}").status_code == 410
    assert Client().post("/sign-in/link/unknown/").status_code == 410


def test_a_new_password_ends_the_links(alice: Person) -> None:
    path = make_sign_in_link(alice.user, "/gallery/").split("/", 3)[3]
    alice.user.set_password(PASSWORD)
    alice.user.save(update_fields=["password"])
    assert Client().post(f"/{path}").status_code == 410


def test_pages_lead_to_the_sign_in_and_back() -> None:
    answer = Client().get("/gallery/?q=tree")
    assert (answer.status_code, answer["Location"]) == (302, "/sign-in/?next=/gallery/%3Fq%3Dtree")


def test_suspended_and_homeless_people_are_told(alice: Person, mallory: Person, admin_sql: SQL) -> None:
    admin_sql.execute("UPDATE accounts_tenant SET suspended_at = now() WHERE id = %s", [alice.tenant.pk])
    answer = alice.client.get("/studio/")
    assert answer.status_code == 403
    assert b"suspended" in answer.content
    admin_sql.execute("DELETE FROM accounts_membership WHERE user_id = %s", [mallory.user.pk])
    assert b"belong to no organisation" in mallory.client.get("/studio/").content


def test_language_is_remembered(alice: Person) -> None:
    answer = alice.client.post("/language/", {"language": "zh-hans", "next": "/keys/"})
    assert answer["Location"] == "/keys/"
    assert "API 密钥" in alice.client.get("/keys/").content.decode()
    alice.user.refresh_from_db()
    assert alice.user.language == "zh-hans"
    alice.client.post("/language/", {"language": "xx"})
    assert 'lang="zh-hans"' in alice.client.get("/keys/").content.decode()
